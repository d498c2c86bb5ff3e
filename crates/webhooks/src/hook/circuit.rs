//! A hook that fails again and again rests for a while, so that nobody waits for it in vain.

use std::time::{Duration, Instant};

use stonechat_model::limits;

/// How long it rests.
const PAUSE: Duration = Duration::from_millis(limits::HOOK_PAUSE_MS);

/// How a hook did lately.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Circuit {
    /// Whether it may be asked now. After a rest, one may ask it.
    pub fn may_call(&mut self, now: Instant) -> bool {
        match self.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.rests_until = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Takes what came of asking it.
    pub fn note(&mut self, is_answer: bool, now: Instant) {
        if is_answer {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limits::HOOK_FAILURES {
            self.rests_until = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_fails_rests_and_is_probed_by_one() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..limits::HOOK_FAILURES {
            assert!(circuit.may_call(now));
            circuit.note(false, now);
        }
        assert!(!circuit.may_call(now));
        let later = now + PAUSE;
        assert!(circuit.may_call(later));
        assert!(!circuit.may_call(later), "one probes");
        circuit.note(true, later);
        assert!(circuit.may_call(later) && circuit.may_call(later));
    }
}
