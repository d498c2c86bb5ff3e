//! Partitions that cannot be worked on, told once each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_log::{CommandItem, CommandSource, LogError, StreamItem, StreamSource};
use stonechat_model::Position;
use stonechat_telemetry::{Over, Trouble};

/// The partitions that fail, over all attempts to work on them.
pub(crate) struct Troubles {
    /// What is said of one that is well again.
    goes_on: &'static str,
    /// How many there are; where there are none no lock is taken.
    count: AtomicUsize,
    failing: Mutex<HashMap<u32, Trouble>>,
}

impl Troubles {
    /// None yet.
    pub fn new(goes_on: &'static str) -> Self {
        Self { goes_on, count: AtomicUsize::new(0), failing: Mutex::default() }
    }

    /// An attempt failed; `true` when it is the first since one went well.
    pub fn failed(&self, partition: u32) -> bool {
        let mut failing = self.failing.lock();
        let is_first = failing.entry(partition).or_default().failed();
        self.count.store(failing.len(), Ordering::Relaxed);
        is_first
    }

    /// Something was worked off.
    fn went_well(&self, partition: u32) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let over = {
            let mut failing = self.failing.lock();
            let over = failing.remove(&partition).and_then(|trouble| trouble.went_well());
            self.count.store(failing.len(), Ordering::Relaxed);
            over
        };
        if let Some(Over { failures, lasted }) = over {
            tracing::info!(partition, failures, lasted_ms = lasted.as_millis(), "{}", self.goes_on);
        }
    }
}

/// Commands of a partition, whose trouble is over once some are worked off.
pub(crate) struct WatchedCommands {
    source: Box<dyn CommandSource>,
    troubles: Arc<Troubles>,
}

impl WatchedCommands {
    pub fn new(source: Box<dyn CommandSource>, troubles: Arc<Troubles>) -> Self {
        Self { source, troubles }
    }
}

#[async_trait]
impl CommandSource for WatchedCommands {
    fn partition(&self) -> u32 {
        self.source.partition()
    }

    async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        self.source.next_batch(max_items, max_bytes).await
    }

    async fn commit(&mut self, position: Position) -> Result<(), LogError> {
        self.source.commit(position).await?;
        self.troubles.went_well(self.source.partition());
        Ok(())
    }
}

/// Events of a partition, whose trouble is over once some are worked off.
pub(crate) struct WatchedEvents {
    source: Box<dyn StreamSource>,
    troubles: Arc<Troubles>,
}

impl WatchedEvents {
    pub fn new(source: Box<dyn StreamSource>, troubles: Arc<Troubles>) -> Self {
        Self { source, troubles }
    }
}

#[async_trait]
impl StreamSource for WatchedEvents {
    fn partition(&self) -> u32 {
        self.source.partition()
    }

    async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<StreamItem>>, LogError> {
        self.source.next_batch(max_items).await
    }

    async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        self.source.commit(offset).await?;
        self.troubles.went_well(self.source.partition());
        Ok(())
    }

    async fn pass(&mut self, offset: u64) -> Result<(), LogError> {
        self.source.pass(offset).await?;
        self.troubles.went_well(self.source.partition());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_told_once() {
        let troubles = Troubles::new("goes on");
        assert!(troubles.failed(1) && troubles.failed(2));
        assert!(!troubles.failed(1) && !troubles.failed(2));
        troubles.went_well(1);
        assert!(troubles.failed(1) && !troubles.failed(2));
    }
}
