//! The command log and the event stream: two seams, each with an embedded implementation.
//!
//! The **command log** orders commands: by log key into partitions, in each of which a command has one
//! [`Position`]. The **event stream** carries what happened to its consumers, at least once and in order
//! per log. In the embedded mode the command log is memory (what it held at a crash was never answered)
//! and the event stream is rows, written in the same batch as the events. With the feature `cluster` both are
//! topics of Apache Kafka.

mod commands;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "cluster")]
mod kafka;
mod stream;

pub use commands::{EmbeddedCommandLog, QueueBounds, next_generation};
#[cfg(feature = "cluster")]
pub use kafka::{
    GroupProtocol, KafkaCommandLog, KafkaConfig, KafkaEventStream, KafkaSetupError, Misfit, Prepared, prepare,
};
pub use stream::EmbeddedEventStream;

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_model::{LogKey, Position, TimeUs};
use stonechat_rows::{Put, RowsError};

/// Why a log did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Its queue is full: too much waits to be decided.
    #[error("log is full")]
    Full,
    /// It does not answer now; nothing is known of the append.
    #[error("log is unavailable: {0}")]
    Unavailable(String),
    /// It was closed.
    #[error("log is closed")]
    Closed,
    /// The record is larger than [`stonechat_model::limits::LOG_RECORD_BYTES`].
    #[error("record is too large for the log")]
    TooLarge,
    /// The partition is another's by now; what this one did since may be done by the other, too.
    #[error("partition is owned by another")]
    Lost,
    /// The rows beneath the embedded event stream did not answer.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// A command as its owner reads it.
#[derive(Debug, Clone)]
pub struct CommandItem {
    /// Its place.
    pub position: Position,
    /// When it was appended, by the log's clock.
    pub time_us: TimeUs,
    /// An encoded `CommandRecord`.
    pub payload: Bytes,
}

/// The seam of the command log.
#[async_trait]
pub trait CommandLog: Send + Sync + 'static {
    /// How many partitions there are.
    fn partitions(&self) -> u32;

    /// Appends an encoded `CommandRecord` to the partition of its key.
    async fn append(&self, key: &LogKey, payload: Bytes) -> Result<(), LogError>;

    /// Waits until this process owns one more partition. A partition whose source was dropped is given again.
    async fn claim(&self) -> Result<Box<dyn CommandSource>, LogError>;

    /// Gives up every partition, so that others own them at once; to be called when every source is dropped.
    async fn leave(&self) {}
}

/// An owned partition of the command log. Reading begins after the last committed position.
#[async_trait]
pub trait CommandSource: Send {
    /// The partition.
    fn partition(&self) -> u32;

    /// Waits for commands and takes at most `max_items` and about `max_bytes` of them, in order.
    /// `None`: the partition is owned no more.
    async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<CommandItem>>, LogError>;

    /// Everything up to the position is decided, written, delivered and published.
    async fn commit(&mut self, position: Position) -> Result<(), LogError>;
}

/// An event as a consumer reads it.
#[derive(Debug, Clone)]
pub struct StreamItem {
    /// Its place in its partition; grows.
    pub offset: u64,
    /// An encoded `StreamRecord`.
    pub payload: Bytes,
}

/// The seam of the event stream.
#[async_trait]
pub trait EventStream: Send + Sync + 'static {
    /// Rows to be written in the same batch as the events, for a stream that lives in the rows; otherwise none.
    /// `partition` is the command log's, whose one owner is the only caller for it at a time.
    fn enlist(&self, partition: u32, records: &[(LogKey, Bytes)]) -> Vec<Put>;

    /// Makes the records (encoded `StreamRecord`s), whose enlisted rows are written, visible to consumers.
    async fn publish(&self, partition: u32, records: Vec<(LogKey, Bytes)>) -> Result<(), LogError>;

    /// Waits until this process reads one more partition for the consumer of that name.
    async fn claim(&self, consumer: &str) -> Result<Box<dyn StreamSource>, LogError>;

    /// Gives up every partition, so that others read them at once; to be called when every source is dropped.
    async fn leave(&self) {}
}

/// A partition of the event stream, as one consumer reads it. Reading begins after the last committed offset.
#[async_trait]
pub trait StreamSource: Send {
    /// The partition.
    fn partition(&self) -> u32;

    /// Waits for events and takes at most `max_items` of them, in order. `None`: the partition is read no more.
    async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<StreamItem>>, LogError>;

    /// Everything up to the offset was dealt with.
    async fn commit(&mut self, offset: u64) -> Result<(), LogError>;

    /// Nothing followed from anything up to the offset since the last commit. Whether that is remembered is up to
    /// the stream: one that has to write a row for it rather has a few records read again.
    async fn pass(&mut self, _offset: u64) -> Result<(), LogError> {
        Ok(())
    }
}
