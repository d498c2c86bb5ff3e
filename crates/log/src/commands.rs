//! The embedded command log: memory. What it held at a crash was never answered.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use stonechat_model::{LogKey, Position, TimeUs, limits};
use stonechat_proto::internal::v1::CounterRow;
use stonechat_rows::{Put, Rows, tables};
use tokio::sync::Notify;

use crate::{CommandItem, CommandLog, CommandSource, LogError};

/// The counter of generations.
const GENERATION: &str = "generation";

/// Counts up the generation of positions; to be called once at each start, before the log is made.
pub async fn next_generation(rows: &dyn Rows) -> Result<u64, LogError> {
    let key = tables::counter(GENERATION);
    loop {
        let present = rows.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let before = present.map(|row| row.version);
        let next = before.unwrap_or(0) + 1;
        let value = prost::Message::encode_to_vec(&CounterRow { value: next }).into();
        let put = Put { key: key.clone(), value, version: next, ttl: None };
        if rows.compare_and_set(put, before).await? {
            return Ok(next);
        }
    }
}

/// A command log in this process's memory.
pub struct EmbeddedCommandLog {
    generation: u64,
    clock: Arc<dyn Fn() -> TimeUs + Send + Sync>,
    bounds: QueueBounds,
    /// The offset of the next command, one count for all partitions: positions of different partitions then hardly
    /// differ, which lets the rows take nearly every put for the newest without reading.
    next: AtomicU64,
    partitions: Vec<Arc<Partition>>,
    /// Partitions that nobody owns.
    free: Arc<Free>,
}

/// What a partition holds at most.
#[derive(Debug, Clone, Copy)]
pub struct QueueBounds {
    /// Undecided commands.
    pub records: usize,
    /// Undecided bytes.
    pub bytes: usize,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self { records: limits::LOG_QUEUE_RECORDS, bytes: limits::LOG_QUEUE_BYTES }
    }
}

#[derive(Default)]
struct Free {
    partitions: Mutex<BTreeSet<u32>>,
    changed: Notify,
}

#[derive(Default)]
struct Partition {
    queue: Mutex<Queue>,
    appended: Notify,
}

#[derive(Default)]
struct Queue {
    /// Everything that is not committed.
    items: VecDeque<CommandItem>,
    bytes: usize,
    /// The time of the newest command; a later one is not before it.
    time_us: TimeUs,
}

impl EmbeddedCommandLog {
    /// A log whose positions are of this generation.
    pub fn new(partitions: u32, generation: u64, clock: Arc<dyn Fn() -> TimeUs + Send + Sync>) -> Arc<Self> {
        Self::bounded(partitions, generation, clock, QueueBounds::default())
    }

    /// A log with its own bounds.
    pub fn bounded(
        partitions: u32,
        generation: u64,
        clock: Arc<dyn Fn() -> TimeUs + Send + Sync>,
        bounds: QueueBounds,
    ) -> Arc<Self> {
        let count = partitions.max(1);
        let free = Arc::new(Free { partitions: Mutex::new((0..count).collect()), changed: Notify::new() });
        let partitions = (0..count).map(|_| Arc::default()).collect();
        Arc::new(Self { generation, clock, bounds, next: AtomicU64::new(0), partitions, free })
    }
}

#[async_trait]
impl CommandLog for EmbeddedCommandLog {
    fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    async fn append(&self, key: &LogKey, payload: Bytes) -> Result<(), LogError> {
        let partition = &self.partitions[key.partition(self.partitions()) as usize];
        {
            let mut queue = partition.queue.lock();
            if queue.items.len() >= self.bounds.records || queue.bytes + payload.len() > self.bounds.bytes {
                metrics::counter!("stonechat_log_full_total").increment(1);
                return Err(LogError::Full);
            }
            // Counted under the partition's lock, so that positions grow within it.
            let position = Position::new(self.generation, self.next.fetch_add(1, Ordering::Relaxed));
            let position = position.ok_or_else(|| LogError::Unavailable("positions are used up".to_owned()))?;
            queue.time_us = queue.time_us.max((self.clock)());
            queue.bytes += payload.len();
            let time_us = queue.time_us;
            queue.items.push_back(CommandItem { position, time_us, payload });
        }
        partition.appended.notify_one();
        Ok(())
    }

    async fn claim(&self) -> Result<Box<dyn CommandSource>, LogError> {
        loop {
            let changed = self.free.changed.notified();
            if let Some(partition) = self.free.partitions.lock().pop_first() {
                let queue = Arc::clone(&self.partitions[partition as usize]);
                let free = Arc::clone(&self.free);
                return Ok(Box::new(EmbeddedSource { partition, queue, free, read: None }));
            }
            changed.await;
        }
    }
}

struct EmbeddedSource {
    partition: u32,
    queue: Arc<Partition>,
    free: Arc<Free>,
    /// The newest position that was read here.
    read: Option<Position>,
}

impl EmbeddedSource {
    fn take(&self, max_items: usize, max_bytes: usize) -> Vec<CommandItem> {
        let queue = self.queue.queue.lock();
        let begin = match self.read {
            Some(read) => queue.items.partition_point(|item| item.position <= read),
            None => 0,
        };
        let mut bytes = 0;
        let fits = |item: &&CommandItem| {
            let is_first = bytes == 0;
            bytes += item.payload.len().max(1);
            is_first || bytes <= max_bytes
        };
        queue.items.range(begin..).take(max_items).take_while(fits).cloned().collect()
    }
}

#[async_trait]
impl CommandSource for EmbeddedSource {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        loop {
            let queue = Arc::clone(&self.queue);
            let appended = queue.appended.notified();
            let items = self.take(max_items, max_bytes);
            if let Some(last) = items.last() {
                self.read = Some(last.position);
                return Ok(Some(items));
            }
            appended.await;
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), LogError> {
        let mut queue = self.queue.queue.lock();
        while queue.items.front().is_some_and(|item| item.position <= position) {
            if let Some(item) = queue.items.pop_front() {
                queue.bytes -= item.payload.len();
            }
        }
        Ok(())
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.free.partitions.lock().insert(self.partition);
        self.free.changed.notify_waiters();
    }
}
