//! The embedded engine: rows in fjall, written by one group-commit thread, read where they are asked for.
//!
//! A batch is written whole or not at all, and is on disk when [`Rows::write`] returns. After a failed commit
//! nothing more is acknowledged until the store is opened again. A caller that goes away leaves its batch either
//! written or not, never a part of it.

mod commit;
mod purge;
mod read;
mod stored;
mod versions;
mod writer;

use std::{
    hash::{BuildHasher as _, RandomState},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, compaction::filter::Factory, config::FilterPolicy};
use stonechat_model::limits;
use tokio::sync::{mpsc, oneshot};

use crate::{Key, Put, Range, Row, Rows, RowsError, Table, tables};
use commit::{Job, Store};
use stored::{DropExpired, Encoder, StoredKey, Write};
use versions::Versions;
use writer::{Request, Writer};

/// A table's memtable; when it is full it is written out as a sorted file. Smaller ones are quicker to search while
/// they are in memory, larger ones are compacted less often.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// What all journals may take on disk before the tables they hold back are written out.
const JOURNAL_BYTES: u64 = 512 << 20;
/// Threads that write out and compact.
const WORKERS: usize = 2;
/// The keyspace of what is known of all versions of a table.
const CEILINGS: &str = "version_ceilings";

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
///
/// Dropping it waits for what was handed to the writer, so the folder can be opened again afterwards.
pub struct EmbeddedRows {
    /// In the order of [`tables::ALL`].
    keyspaces: Vec<Keyspace>,
    ceilings: Keyspace,
    /// Held while files are written anew; one at a time.
    purging: Arc<tokio::sync::Mutex<()>>,
    /// Taken when this is dropped, so that the writer ends.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    has_failed: Arc<AtomicBool>,
    /// Of hashes of keys.
    seed: u64,
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
        let open = |table: &&Table| database.keyspace(table.name, || options_of(table));
        let keyspaces: Vec<Keyspace> = tables::ALL.iter().map(open).collect::<Result<_, _>>().map_err(opening)?;
        let ceilings = database.keyspace(CEILINGS, KeyspaceCreateOptions::default).map_err(opening)?;
        let versions = Versions::load(&ceilings, &keyspaces)?;
        let store = Store { database, tables: keyspaces.clone(), ceilings: ceilings.clone(), versions };
        let (requests, receiver) = mpsc::channel(config.write_queue);
        let has_failed = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            store,
            requests: receiver,
            commit_bytes: config.commit_bytes,
            has_failed: Arc::clone(&has_failed),
        };
        let thread = std::thread::Builder::new().name("rows-writer".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(|e| unavailable(format!("start the writer: {e}")))?;
        let seed = RandomState::new().hash_one(0);
        let purging = Arc::default();
        Ok(Arc::new(Self {
            keyspaces,
            ceilings,
            purging,
            requests: Some(requests),
            writer: Some(writer),
            has_failed,
            seed,
        }))
    }

    /// Looks at every row there is, whatever table it is in; for those who check that something is gone. Blocks.
    pub fn scan(&self, mut look: impl FnMut(&Row)) -> Result<(), RowsError> {
        for (table, keyspace) in tables::ALL.iter().zip(&self.keyspaces) {
            read::scan(table, keyspace, &mut look)?;
        }
        Ok(())
    }

    async fn ask(&self, job: Job) -> Result<bool, RowsError> {
        let gone = || unavailable("the writer has ended");
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        requests.send(Request { job, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for EmbeddedRows {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("rows writer panicked");
        }
    }
}

#[async_trait]
impl Rows for EmbeddedRows {
    /// A commit failed (a full or broken disk): what the store holds is unknown until the folder is opened again.
    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        if puts.is_empty() {
            return Ok(());
        }
        let mut encoder = Encoder::new(self.seed);
        let writes = puts.iter().map(|put| Write::of(put, &mut encoder)).collect::<Result<_, _>>()?;
        drop(puts);
        self.ask(Job::Write(writes)).await.map(drop)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        read::get(&self.keyspaces, keys)
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        read::range(&self.keyspaces, range).await
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        let write = Write::of(&put, &mut Encoder::new(self.seed))?;
        self.ask(Job::CompareAndSet(write, expected)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        let mut encoder = Encoder::new(self.seed);
        let keys = keys.iter().map(|key| StoredKey::of(key, &mut encoder)).collect::<Result<_, _>>()?;
        self.ask(Job::Delete(keys)).await.map(drop)
    }

    async fn purge(&self) -> Result<(), RowsError> {
        let purging = Arc::clone(&self.purging).lock_owned().await;
        let (keyspaces, ceilings) = (self.keyspaces.clone(), self.ceilings.clone());
        let purge = move || {
            let purged = purge::purge(&keyspaces, &ceilings);
            drop(purging);
            purged
        };
        tokio::task::spawn_blocking(purge).await.map_err(unavailable)?.map_err(unavailable)
    }
}

fn filter_of(keyspace: &str) -> Option<Arc<dyn Factory>> {
    let expires = tables::ALL.iter().any(|table| table.name == keyspace && table.expires);
    expires.then(|| Arc::new(DropExpired) as Arc<dyn Factory>)
}

fn options_of(table: &Table) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    // The stream is read in ranges only, which no filter helps.
    if std::ptr::eq(table, &tables::STREAM) { options.filter_policy(FilterPolicy::disabled()) } else { options }
}

/// An error of the store as callers see it.
fn unavailable(error: impl std::fmt::Display) -> RowsError {
    RowsError::Unavailable(error.to_string())
}
