//! How far a phase of a measurement is, and how long it may take.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::cli::{CliError, output};

/// How often it is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Tells on standard error how far a phase is.
pub(super) struct Progress {
    what: &'static str,
    of: usize,
    begun: Instant,
    told: Instant,
}

impl Progress {
    /// A phase that begins now, with so much to be done.
    pub fn begin(what: &'static str, of: usize) -> Self {
        let now = Instant::now();
        Self { what, of, begun: now, told: now }
    }

    /// So much is done.
    pub fn at(&mut self, done: usize) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.tell(done);
        }
    }

    /// Everything is done.
    pub fn end(self) {
        self.tell(self.of);
    }

    fn tell(&self, done: usize) {
        let seconds = self.begun.elapsed().as_secs_f64();
        output::note(&format!("bench: {done} of {} {} after {seconds:.1} s", self.of, self.what));
    }
}

/// Does something within a time, beyond which the measurement fails.
pub(super) async fn within<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let late = |_| CliError::Failed(format!("it took longer than {} s to {what}", limit.as_secs()));
    timeout(limit, work).await.map_err(late)?
}
