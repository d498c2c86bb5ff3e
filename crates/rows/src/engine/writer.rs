//! The group-commit writer: one thread that takes every batch that waits, writes them as one, syncs once, and
//! answers all of their callers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::{mpsc, oneshot};

use super::commit::{Commit, Job, Store};
use crate::RowsError;

/// A job and its caller. The answer says whether a compare-and-set wrote.
pub(super) struct Request {
    pub job: Job,
    pub answer: oneshot::Sender<Result<bool, RowsError>>,
}

/// The writer's thread.
pub(super) struct Writer {
    pub store: Store,
    pub requests: mpsc::Receiver<Request>,
    /// Bytes written with one sync at most.
    pub commit_bytes: usize,
    /// Set when a commit failed.
    pub has_failed: Arc<AtomicBool>,
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

    fn commit(&mut self, requests: Vec<Request>) -> Result<(), RowsError> {
        let mut commit = Commit::new(&mut self.store, requests.iter().map(|request| request.job.rows()).sum());
        let mut answers = Vec::with_capacity(requests.len());
        for Request { job, answer } in requests {
            answers.push((answer, commit.take(job)));
        }
        let written = commit.finish();
        if written.is_err() {
            self.has_failed.store(true, Ordering::Release);
        }
        for (answer, taken) in answers {
            // A job that could not be taken is no part of the commit. The caller may have gone.
            let _ = answer.send(taken.and_then(|wrote| written.clone().map(|()| wrote)));
        }
        written
    }
}
