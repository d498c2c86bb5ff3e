//! The command log and the event stream as a node sees them.

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_log::{CommandItem, CommandLog, CommandSource, EventStream, LogError, StreamItem, StreamSource};
use stonechat_model::{LogKey, Position, limits};
use stonechat_rows::Put;

use crate::{
    executor::Node,
    partitioned::{Partitioned, Reader, Record},
};

/// The group of the command log's owners.
pub const OWNERS: &str = "owners";
/// The generation of every position.
const GENERATION: u64 = 3;

/// The command log as one node sees it.
pub struct SimCommandLog {
    /// The log.
    pub log: Partitioned,
    /// The node.
    pub node: Node,
}

struct Source(Reader);

fn position(offset: u64) -> Position {
    Position::new(GENERATION, offset).unwrap_or_default()
}

/// A record as an owner reads it.
pub fn item(offset: u64, record: Record) -> CommandItem {
    // Offset 0 is position 1 of the generation: no position is that of nothing.
    CommandItem { position: position(offset + 1), time_us: record.time_us, payload: record.payload }
}

#[async_trait]
impl CommandLog for SimCommandLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    async fn append(&self, key: &LogKey, payload: Bytes) -> Result<(), LogError> {
        self.log.append(key.partition(self.log.partitions()), vec![payload]).await
    }

    async fn claim(&self) -> Result<Box<dyn CommandSource>, LogError> {
        Ok(Box::new(Source(self.log.claim(self.node, OWNERS).await?)))
    }
}

#[async_trait]
impl CommandSource for Source {
    fn partition(&self) -> u32 {
        self.0.partition()
    }

    async fn next_batch(&mut self, max_items: usize, _: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        let Some(batch) = self.0.next_batch(max_items).await? else { return Ok(None) };
        Ok(Some(batch.into_iter().map(|(offset, record)| item(offset, record)).collect()))
    }

    async fn commit(&mut self, position: Position) -> Result<(), LogError> {
        self.0.commit((position.get() % Position::OFFSETS).saturating_sub(1)).await
    }
}

/// The event stream as one node sees it.
pub struct SimEventStream {
    /// The log beneath.
    pub log: Partitioned,
    /// The node.
    pub node: Node,
    /// The groups that may read it.
    pub groups: &'static [&'static str],
}

struct StreamReader(Reader);

#[async_trait]
impl EventStream for SimEventStream {
    fn enlist(&self, _: u32, _: &[(LogKey, Bytes)]) -> Vec<Put> {
        Vec::new()
    }

    async fn publish(&self, _: u32, records: Vec<(LogKey, Bytes)>) -> Result<(), LogError> {
        // Records of one key keep their order; a failure may come after any of them.
        for (key, payload) in records {
            self.log.append(key.partition(self.log.partitions()), vec![payload]).await?;
        }
        Ok(())
    }

    async fn claim(&self, consumer: &str) -> Result<Box<dyn StreamSource>, LogError> {
        let group = self.groups.iter().find(|group| **group == consumer).copied();
        let group = group.ok_or_else(|| LogError::Unavailable(format!("unknown consumer {consumer}")))?;
        Ok(Box::new(StreamReader(self.log.claim(self.node, group).await?)))
    }
}

#[async_trait]
impl StreamSource for StreamReader {
    fn partition(&self) -> u32 {
        self.0.partition()
    }

    async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<StreamItem>>, LogError> {
        let batch = self.0.next_batch(max_items.min(limits::STREAM_BATCH)).await?;
        let item = |(offset, record): (u64, Record)| StreamItem { offset, payload: record.payload };
        Ok(batch.map(|batch| batch.into_iter().map(item).collect()))
    }

    async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        self.0.commit(offset).await
    }
}
