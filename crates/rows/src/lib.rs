//! Every durable row: tables declared once, written over by domain code, run on any engine.
//!
//! [`Rows`] is the seam. A put carries a version; an engine keeps the row with the greater one, so
//! writers that repeat themselves or come late do no harm. [`tables`] declares the tables.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "cluster")]
pub mod cql;
mod engine;
mod key;
pub mod tables;

pub use engine::{EmbeddedRows, EmbeddedRowsConfig};
pub use key::{Key, KeyPart};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_model::limits;

/// Rows of a partition that are deleted at once.
const DELETED_AT_ONCE: usize = 1_000;

/// A table: its name and key columns.
#[derive(Debug)]
pub struct Table {
    /// Its name, the same in every engine.
    pub name: &'static str,
    /// The columns that say which partition a row is in.
    pub partition: &'static [Column],
    /// The columns that order the rows of a partition.
    pub clustering: &'static [Column],
    /// Whether its rows expire.
    pub expires: bool,
}

/// A key column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
}

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text without NUL, ordered by its bytes.
    Text,
    /// An unsigned number.
    Number,
}

/// A row to be written.
#[derive(Debug, Clone)]
pub struct Put {
    /// Where.
    pub key: Key,
    /// What.
    pub value: Bytes,
    /// Replaces a row of a lower version, never one of a greater. Whether it replaces one of the same is the engine's
    /// to say: writers of one version write the same value.
    pub version: u64,
    /// How long the row is to be had; `None`: for good. Only in tables that expire.
    pub ttl: Option<Duration>,
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub key: Key,
    /// What.
    pub value: Bytes,
    /// The version it was written with.
    pub version: u64,
}

/// A range of the rows of one partition, by the first clustering column or, with none given, the whole partition.
#[derive(Debug, Clone)]
pub struct Range {
    /// The table.
    pub table: &'static Table,
    /// The partition's key parts.
    pub partition: Vec<KeyPart>,
    /// Only rows whose clustering key begins at or after these parts (a prefix compares as equal).
    pub from: Option<Vec<KeyPart>>,
    /// Only rows whose clustering key is before these parts.
    pub until: Option<Vec<KeyPart>>,
    /// Greatest first.
    pub reverse: bool,
    /// At most this many; at most [`limits::RANGE_ROWS`].
    pub limit: usize,
}

impl Put {
    /// Checks that it is of the table's shape and within its limits.
    pub fn check(&self) -> Result<(), RowsError> {
        self.key.check()?;
        if self.ttl.is_some() && !self.key.table.expires {
            return Err(RowsError::BadRequest(format!("rows of {} do not expire", self.key.table.name)));
        }
        if self.value.len() > limits::COMMIT_BYTES {
            return Err(RowsError::BadRequest(format!("row is larger than {} bytes", limits::COMMIT_BYTES)));
        }
        Ok(())
    }
}

impl Range {
    /// Checks that it is of the table's shape and within its limits.
    pub fn check(&self) -> Result<(), RowsError> {
        if self.limit > limits::RANGE_ROWS {
            return Err(RowsError::BadRequest(format!("at most {} rows at once", limits::RANGE_ROWS)));
        }
        let Table { partition, clustering, name, .. } = self.table;
        let fits = |parts: &[KeyPart], columns: &[Column]| {
            parts.len() <= columns.len() && parts.iter().zip(columns).all(|(part, column)| part.fits(column.kind))
        };
        let is_whole = self.partition.len() == partition.len() && fits(&self.partition, partition);
        let mut ends = [&self.from, &self.until].into_iter().flatten();
        if is_whole && ends.all(|parts| fits(parts, clustering)) {
            return Ok(());
        }
        Err(RowsError::BadRequest(format!("range is not of the shape of {name}")))
    }
}

/// Why the rows did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RowsError {
    /// The engine does not answer now, or its queue is full; nothing is known of the write.
    #[error("rows are unavailable: {0}")]
    Unavailable(String),
    /// The request is beyond a limit or not of the table's shape.
    #[error("bad rows request: {0}")]
    BadRequest(String),
    /// What is stored cannot be read.
    #[error("stored row is corrupt: {0}")]
    Corrupt(String),
}

impl RowsError {
    /// Whether the same may be tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The seam: an engine that keeps rows.
#[async_trait]
pub trait Rows: Send + Sync + 'static {
    /// Writes the rows; durable when it returns. An engine with atomic batches writes all or none. One without writes
    /// events and client ids, then the rest, then heads, each acknowledged before the next is begun, and when it fails
    /// any part of one of these steps. Two puts of one key in a batch: the greater version wins,
    /// the later of equal ones.
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError>;

    /// Whether writing failed in a way that only a restart mends: reads go on, and nothing more is written.
    fn has_failed(&self) -> bool {
        false
    }

    /// Reads rows by their keys, in the keys' order; `None` where there is none.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError>;

    /// Reads a range.
    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError>;

    /// Writes a row if the stored version is `expected` (`None`: if there is no row). Says whether it wrote.
    /// Never mixed with [`Rows::write`] on the same table.
    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError>;

    /// Deletes rows for good, whatever their version. Their keys are never written again.
    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError>;

    /// Deletes every row of a partition for good. Nothing is written there again.
    async fn delete_partition(&self, table: &'static Table, partition: Vec<KeyPart>) -> Result<(), RowsError> {
        loop {
            let (from, until, reverse, limit) = (None, None, false, DELETED_AT_ONCE);
            let page = self.range(Range { table, partition: partition.clone(), from, until, reverse, limit }).await?;
            if page.is_empty() {
                return Ok(());
            }
            let keys: Vec<Key> = page.into_iter().map(|row| row.key).collect();
            self.delete(&keys).await?;
        }
    }

    /// Has what was replaced and deleted taken out of the store's files, too. It may take long and cost much; when it
    /// returns it is done, or begun where another process does it. A store that forgets by itself does nothing.
    async fn purge(&self) -> Result<(), RowsError> {
        Ok(())
    }
}
