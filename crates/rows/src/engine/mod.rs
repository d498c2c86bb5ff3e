//! The embedded engine: rows in fjall, written by one group-commit thread, read where they are asked for.
//!
//! A batch is written whole or not at all, and is on disk when [`Rows::write`] returns. After a failed commit
//! nothing more is acknowledged until the store is opened again.

mod stored;
mod writer;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions, compaction::filter::Factory};
use stonechat_model::limits;
use tokio::sync::{mpsc, oneshot};

use crate::{Key, KeyPart, Put, Range, Row, Rows, RowsError, tables};
use stored::{DropExpired, Stored, now_s};
use writer::{Job, Keyspaces, Request, Writer, unavailable};

/// A table's memtable; when it is full it is written out as a sorted file.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// What all journals may take on disk before the tables they hold back are written out.
const JOURNAL_BYTES: u64 = 512 << 20;
/// Threads that write out and compact.
const WORKERS: usize = 2;

/// How the engine behaves.
#[derive(Debug, Clone)]
pub struct EmbeddedRowsConfig {
    /// Memory for blocks that were read lately.
    pub cache_bytes: u64,
    /// Bytes written with one sync at most.
    pub commit_bytes: usize,
    /// Batches that wait for the writer; further callers wait.
    pub write_queue: usize,
}

impl Default for EmbeddedRowsConfig {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, commit_bytes: limits::COMMIT_BYTES, write_queue: limits::WRITE_QUEUE }
    }
}

/// Rows in a folder of this machine.
pub struct EmbeddedRows {
    keyspaces: Keyspaces,
    requests: mpsc::Sender<Request>,
}

impl EmbeddedRows {
    /// Opens the rows in a folder, which is made when it is not there. One process at a time uses it.
    pub fn open(path: &Path, config: EmbeddedRowsConfig) -> Result<Arc<Self>, RowsError> {
        std::fs::create_dir_all(path).map_err(|e| unavailable(format!("make {}: {e}", path.display())))?;
        let opening = |e: fjall::Error| unavailable(format!("open {}: {e}", path.display()));
        let database = Database::builder(path.join("rows"))
            .cache_size(config.cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES)
            .with_compaction_filter_factories(Arc::new(filter_of))
            .open()
            .map_err(opening)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let open = |table: &&crate::Table| database.keyspace(table.name, options);
        let keyspaces = tables::ALL.iter().map(open).collect::<Result<_, _>>().map_err(opening)?;
        let keyspaces = Keyspaces(keyspaces);
        let (requests, receiver) = mpsc::channel(config.write_queue);
        let writer =
            Writer { database, keyspaces: keyspaces.clone(), requests: receiver, commit_bytes: config.commit_bytes };
        let thread = std::thread::Builder::new().name("rows-writer".to_owned());
        thread.spawn(move || writer.run()).map_err(|e| unavailable(format!("start the writer: {e}")))?;
        Ok(Arc::new(Self { keyspaces, requests }))
    }

    async fn ask(&self, job: Job) -> Result<bool, RowsError> {
        let (answer, answered) = oneshot::channel();
        let gone = || unavailable("the writer has ended");
        self.requests.send(Request { job, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn filter_of(keyspace: &str) -> Option<Arc<dyn Factory>> {
    let expires = tables::ALL.iter().any(|table| table.name == keyspace && table.expires);
    expires.then(|| Arc::new(DropExpired) as Arc<dyn Factory>)
}

fn check_put(put: &Put) -> Result<(), RowsError> {
    put.key.check()?;
    if put.ttl.is_some() && !put.key.table.expires {
        return Err(RowsError::BadRequest(format!("rows of {} do not expire", put.key.table.name)));
    }
    Ok(())
}

#[async_trait]
impl Rows for EmbeddedRows {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        puts.iter().try_for_each(check_put)?;
        self.ask(Job::Write(puts)).await.map(drop)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        if keys.len() > limits::GET_KEYS {
            return Err(RowsError::BadRequest(format!("at most {} keys at once", limits::GET_KEYS)));
        }
        let now_s = now_s();
        let read = |key: &Key| {
            key.check()?;
            let bytes = self.keyspaces.of(key.table)?.get(key.encode()).map_err(unavailable)?;
            Ok(match bytes {
                Some(bytes) => row(key.clone(), &bytes, now_s)?,
                None => None,
            })
        };
        keys.iter().map(read).collect()
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        if range.limit > limits::RANGE_ROWS {
            return Err(RowsError::BadRequest(format!("at most {} rows at once", limits::RANGE_ROWS)));
        }
        let (from, until) = bounds(&range)?;
        if from >= until {
            return Ok(Vec::new());
        }
        let now_s = now_s();
        let found = self.keyspaces.of(range.table)?.range(from..until);
        let mut rows = Vec::with_capacity(range.limit.min(64));
        let mut take = |item: fjall::Guard| {
            let (key, value) = item.into_inner().map_err(unavailable)?;
            rows.extend(row(Key::decode(range.table, &key)?, &value, now_s)?);
            Ok::<_, RowsError>(rows.len() < range.limit)
        };
        if range.limit == 0 {
            return Ok(rows);
        }
        if range.reverse {
            for item in found.rev() {
                if !take(item)? {
                    break;
                }
            }
        } else {
            for item in found {
                if !take(item)? {
                    break;
                }
            }
        }
        Ok(rows)
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        check_put(&put)?;
        self.ask(Job::CompareAndSet(put, expected)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        keys.iter().try_for_each(Key::check)?;
        self.ask(Job::Delete(keys.to_vec())).await.map(drop)
    }
}

fn row(key: Key, bytes: &[u8], now_s: u32) -> Result<Option<Row>, RowsError> {
    let stored = Stored::decode(bytes)?;
    if stored.is_expired(now_s) {
        return Ok(None);
    }
    Ok(Some(Row { key, value: Bytes::copy_from_slice(stored.value), version: stored.version }))
}

/// The encoded bounds of a range: from the first, until before the second.
fn bounds(range: &Range) -> Result<(Vec<u8>, Vec<u8>), RowsError> {
    let fits = |parts: &[KeyPart], columns: &[crate::Column]| {
        parts.len() <= columns.len() && parts.iter().zip(columns).all(|(part, column)| part.fits(column.kind))
    };
    let clustering = [range.from.as_deref(), range.until.as_deref()];
    let is_whole =
        range.partition.len() == range.table.partition.len() && fits(&range.partition, range.table.partition);
    if !is_whole || !clustering.into_iter().flatten().all(|parts| fits(parts, range.table.clustering)) {
        return Err(RowsError::BadRequest(format!("range is not of the shape of {}", range.table.name)));
    }
    let mut prefix = Vec::with_capacity(64);
    range.partition.iter().for_each(|part| part.encode(&mut prefix));
    let with = |parts: &[KeyPart]| {
        let mut bytes = prefix.clone();
        parts.iter().for_each(|part| part.encode(&mut bytes));
        bytes
    };
    let from = range.from.as_deref().map_or_else(|| prefix.clone(), with);
    let until = match range.until.as_deref() {
        Some(parts) => with(parts),
        None => after_all(&prefix),
    };
    Ok((from, until))
}

/// The least bytes after everything that begins with a prefix.
fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return bytes;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}
