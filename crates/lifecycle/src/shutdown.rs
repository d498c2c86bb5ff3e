//! Signals that end the process: the first one drains, the second one forces.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How the process is asked to end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    force: CancellationToken,
}

impl Shutdown {
    /// One that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM and SIGINT ask for: the first cancels [`Self::drain`], the second [`Self::force`] too.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal.name = name, process.forced = told.is_draining(), "asked to end");
                told.ask();
            }
        });
        Ok(shutdown)
    }

    /// Asks once: to drain or, when that was asked already, to end now.
    pub fn ask(&self) {
        if self.drain.is_cancelled() {
            self.force.cancel();
        }
        self.drain.cancel();
    }

    /// Cancelled when the process is to take no more work and finish what it has.
    pub fn drain(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Cancelled when the process is to end at once.
    pub fn force(&self) -> CancellationToken {
        self.force.clone()
    }

    /// Whether the process is ending.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ask_drains_and_the_second_forces() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_draining());
        shutdown.ask();
        assert!(shutdown.drain().is_cancelled());
        assert!(!shutdown.force().is_cancelled());
        shutdown.ask();
        assert!(shutdown.force().is_cancelled());
    }
}
