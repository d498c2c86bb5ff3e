//! What a process must reach before it is given work.

use std::{sync::Arc, time::Duration};

use stonechat_lifecycle::Readiness;
use stonechat_rows::{Rows, tables};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often rows are asked whether they answer.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long they may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// A row that is read to see whether rows answer.
const PROBED: &str = "probe";

/// A part is ready while any process of the other role can be reached.
pub fn follow(part: Readiness, mut reached: watch::Receiver<usize>, end: CancellationToken) {
    tokio::spawn(end.run_until_cancelled_owned(async move {
        loop {
            part.set(*reached.borrow_and_update() > 0);
            if reached.changed().await.is_err() {
                return;
            }
        }
    }));
}

/// A part is ready while the rows answer and can be written.
pub fn probe(part: Readiness, rows: Arc<dyn Rows>, end: CancellationToken) {
    tokio::spawn(end.run_until_cancelled_owned(async move {
        let mut every = tokio::time::interval(PROBE_EVERY);
        loop {
            every.tick().await;
            let key = [tables::counter(PROBED)];
            let answered = tokio::time::timeout(PROBE_TIMEOUT, rows.get(&key)).await;
            part.set(matches!(answered, Ok(Ok(_))) && !rows.has_failed());
        }
    }));
}
