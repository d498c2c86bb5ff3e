//! The group-commit writer: one thread that takes every batch that waits, writes them as one, syncs once, and
//! answers all of their callers.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Instant,
};

use fjall::{Database, Keyspace, PersistMode};
use tokio::sync::{mpsc, oneshot};

use super::stored::{Stored, encode, now_s};
use crate::{Key, Put, RowsError, Table, tables};

/// A caller's wish.
pub(super) enum Job {
    /// Write these rows, where no greater version stands.
    Write(Vec<Put>),
    /// Write this row if the stored version is this.
    CompareAndSet(Put, Option<u64>),
    /// Delete these rows.
    Delete(Vec<Key>),
}

impl Job {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Write(puts) => puts.iter().map(|put| put.value.len()).sum(),
            Self::CompareAndSet(put, _) => put.value.len(),
            Self::Delete(_) => 0,
        }
    }
}

/// A job and its caller. The answer says whether a compare-and-set wrote.
pub(super) struct Request {
    pub job: Job,
    pub answer: oneshot::Sender<Result<bool, RowsError>>,
}

/// The tables' keyspaces, in the order of [`tables::ALL`].
#[derive(Clone)]
pub(super) struct Keyspaces(pub Vec<Keyspace>);

impl Keyspaces {
    /// A table's place in [`tables::ALL`].
    pub fn index(table: &Table) -> Result<usize, RowsError> {
        let index = tables::ALL.iter().position(|known| std::ptr::eq(*known, table));
        index.ok_or_else(|| RowsError::BadRequest(format!("table {} is not declared", table.name)))
    }

    /// A table's keyspace.
    pub fn of(&self, table: &Table) -> Result<&Keyspace, RowsError> {
        Ok(&self.0[Self::index(table)?])
    }
}

/// An error of the store as callers see it.
pub(super) fn unavailable(error: impl std::fmt::Display) -> RowsError {
    RowsError::Unavailable(error.to_string())
}

/// What will stand at a key after the commit.
struct Pending {
    version: u64,
    /// `None`: deleted.
    stored: Option<Vec<u8>>,
}

/// The writer's thread.
pub(super) struct Writer {
    pub database: Database,
    pub keyspaces: Keyspaces,
    pub requests: mpsc::Receiver<Request>,
    /// Bytes written with one sync at most.
    pub commit_bytes: usize,
}

impl Writer {
    /// Works until the last caller is gone, or until a commit fails: what the store holds is then unknown until
    /// it is opened again, so nothing more is acknowledged.
    pub fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let requests = self.gather(first);
            let started = Instant::now();
            let count = requests.len();
            match self.commit(requests) {
                Ok(()) => {
                    metrics::histogram!("stonechat_rows_commit_seconds").record(started.elapsed().as_secs_f64());
                    metrics::histogram!("stonechat_rows_commit_batches").record(count as f64);
                }
                Err(error) => {
                    tracing::error!(%error, "store failed; nothing more is written until a restart");
                    return self.refuse_all(&error);
                }
            }
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.job.size_bytes();
        let mut requests = vec![first];
        while bytes < self.commit_bytes {
            let Ok(next) = self.requests.try_recv() else { break };
            bytes += next.job.size_bytes();
            requests.push(next);
        }
        requests
    }

    fn refuse_all(&mut self, error: &RowsError) {
        while let Some(request) = self.requests.blocking_recv() {
            // The caller may have gone.
            let _ = request.answer.send(Err(error.clone()));
        }
    }

    fn commit(&self, requests: Vec<Request>) -> Result<(), RowsError> {
        let mut commit = Commit { keyspaces: &self.keyspaces, pending: HashMap::new(), now_s: now_s() };
        let mut answers = Vec::with_capacity(requests.len());
        let mut taken = Ok(());
        for Request { job, answer } in requests {
            // A job that fails may have been taken in part, so then nothing of the commit is written.
            let wrote = commit.take(job).unwrap_or_else(|error| {
                taken = Err(error);
                false
            });
            answers.push((answer, wrote));
        }
        let written = taken.and_then(|()| self.write(commit.pending));
        for (answer, wrote) in answers {
            // The caller may have gone.
            let _ = answer.send(written.clone().map(|()| wrote));
        }
        written
    }

    fn write(&self, pending: HashMap<(usize, Vec<u8>), Pending>) -> Result<(), RowsError> {
        if pending.is_empty() {
            return Ok(());
        }
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), pending.len())
            .durability(Some(PersistMode::SyncData));
        for ((table, key), Pending { stored, .. }) in pending {
            match stored {
                Some(stored) => batch.insert(&self.keyspaces.0[table], key, stored),
                None => batch.remove(&self.keyspaces.0[table], key),
            }
        }
        batch.commit().map_err(unavailable)?;
        metrics::counter!("stonechat_rows_syncs_total").increment(1);
        Ok(())
    }
}

/// A commit as it grows.
struct Commit<'a> {
    keyspaces: &'a Keyspaces,
    pending: HashMap<(usize, Vec<u8>), Pending>,
    now_s: u32,
}

impl Commit<'_> {
    /// Takes a job; says whether it will be written.
    fn take(&mut self, job: Job) -> Result<bool, RowsError> {
        match job {
            Job::Write(puts) => {
                for put in puts {
                    self.put(put)?;
                }
                Ok(true)
            }
            Job::CompareAndSet(put, expected) => {
                let key = (Keyspaces::index(put.key.table)?, put.key.encode());
                if self.present(&key)? != expected {
                    return Ok(false);
                }
                let pending = self.encode(&put);
                self.pending.insert(key, pending);
                Ok(true)
            }
            Job::Delete(keys) => {
                for key in keys {
                    let key = (Keyspaces::index(key.table)?, key.encode());
                    self.pending.insert(key, Pending { version: 0, stored: None });
                }
                Ok(true)
            }
        }
    }

    fn encode(&self, put: &Put) -> Pending {
        let ttl_s = put.ttl.map(|ttl| u64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(u64::MAX));
        Pending { version: put.version, stored: Some(encode(put.version, ttl_s, self.now_s, &put.value)) }
    }

    fn put(&mut self, put: Put) -> Result<(), RowsError> {
        let next = self.encode(&put);
        let table = Keyspaces::index(put.key.table)?;
        match self.pending.entry((table, put.key.encode())) {
            Entry::Occupied(mut entry) => {
                if entry.get().stored.is_none() || entry.get().version <= next.version {
                    entry.insert(next);
                }
            }
            Entry::Vacant(entry) => {
                let stored = stored_version(&self.keyspaces.0[table], &entry.key().1, self.now_s)?;
                if stored.is_none_or(|stored| stored <= next.version) {
                    entry.insert(next);
                }
            }
        }
        Ok(())
    }

    /// The version that stands at a key.
    fn present(&self, key: &(usize, Vec<u8>)) -> Result<Option<u64>, RowsError> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.stored.as_ref().map(|_| pending.version)),
            None => stored_version(&self.keyspaces.0[key.0], &key.1, self.now_s),
        }
    }
}

fn stored_version(keyspace: &Keyspace, key: &[u8], now_s: u32) -> Result<Option<u64>, RowsError> {
    let Some(bytes) = keyspace.get(key).map_err(unavailable)? else { return Ok(None) };
    let stored = Stored::decode(&bytes)?;
    Ok((!stored.is_expired(now_s)).then_some(stored.version))
}
