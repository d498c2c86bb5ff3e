//! What fails again and again is told when it begins and when it is over.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Something that may fail for a while, attempt after attempt.
///
/// A server that is away for two minutes is one fact, not thousands of lines: whoever attempts logs the first failure
/// loudly, those that follow at level DEBUG, and the end.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Failures since it last went well. Read with every attempt: without a lock where all is well.
    failures: AtomicU64,
    since: Mutex<Option<Instant>>,
}

/// A trouble that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// How many attempts failed.
    pub failures: u64,
    /// From the first failure until now.
    pub lasted: Duration,
}

impl Trouble {
    /// An attempt failed; `true` when it is the first since one went well.
    pub fn failed(&self) -> bool {
        let mut since = self.since.lock();
        self.failures.fetch_add(1, Ordering::Relaxed);
        let is_first = since.is_none();
        since.get_or_insert_with(Instant::now);
        is_first
    }

    /// An attempt went well; what is over now, if one before it failed.
    pub fn went_well(&self) -> Option<Over> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let since = self.since.lock().take()?;
        Some(Over { failures: self.failures.swap(0, Ordering::Relaxed), lasted: since.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_at_its_beginning_and_at_its_end() {
        let trouble = Trouble::default();
        assert_eq!(trouble.went_well(), None);
        assert!(trouble.failed());
        assert!(!trouble.failed() && !trouble.failed());
        assert_eq!(trouble.went_well().map(|over| over.failures), Some(3));
        assert_eq!(trouble.went_well(), None);
        assert!(trouble.failed(), "another one");
    }
}
