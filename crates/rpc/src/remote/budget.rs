//! How much may be repeated: a share of what is called, so that repetitions never multiply a load that is too much.

use std::sync::atomic::{AtomicUsize, Ordering};

use stonechat_model::limits;

/// A repetition, in hundredths.
const WHOLE: usize = 100;
const MAX: usize = limits::CALL_REPEATS_SAVED * WHOLE;

/// Calls put a part of a repetition in, repetitions take one out.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX))
    }
}

impl Budget {
    /// A call is made for the first time.
    pub fn call(&self) {
        // Full almost always: then nothing is written.
        if self.0.load(Ordering::Relaxed) < MAX {
            self.0.fetch_add(limits::CALL_REPEATS_PERCENT, Ordering::Relaxed);
        }
    }

    /// Whether a call may be repeated now; then it counts.
    pub fn repeat(&self) -> bool {
        let take = |saved: usize| saved.checked_sub(WHOLE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeats(budget: &Budget) -> usize {
        std::iter::from_fn(|| budget.repeat().then_some(())).count()
    }

    #[test]
    fn what_was_saved_is_spent_and_then_a_share_of_the_calls() {
        let budget = Budget::default();
        assert_eq!(repeats(&budget), limits::CALL_REPEATS_SAVED);
        (0..1_000).for_each(|_| budget.call());
        assert_eq!(repeats(&budget), 1_000 * limits::CALL_REPEATS_PERCENT / WHOLE);
    }

    #[test]
    fn no_more_is_saved_than_the_limit() {
        let budget = Budget::default();
        (0..100_000).for_each(|_| budget.call());
        assert_eq!(repeats(&budget), limits::CALL_REPEATS_SAVED);
    }
}
