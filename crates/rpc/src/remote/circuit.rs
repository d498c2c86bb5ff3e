//! Which processes rest: one that failed several times in a row gets no calls for a while, then one as a probe.
//!
//! Circuits choose among processes and refuse nothing. Where every process failed, as when the store behind all of
//! them is away, calls go on as if none had: what is called at all is bounded elsewhere, and the first reply closes the
//! circuit again.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use stonechat_model::limits;
use tokio::time::Instant;

const PAUSE_FIRST: Duration = Duration::from_millis(limits::PEER_CIRCUIT_PAUSE_MS);
const PAUSE_MAX: Duration = Duration::from_millis(limits::PEER_CIRCUIT_PAUSE_MAX_MS);

/// The circuit of one process.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Whether it is anything but closed and without failures; spares the lock where all is well.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// It is called.
    Closed {
        /// Failures in a row.
        failures: usize,
    },
    /// It rests.
    Open {
        /// When it gets a probe. While one is on its way, when it gets the next.
        until: Instant,
        /// How long it rests.
        pause: Duration,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// Whether a process may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// As usual.
    Yes,
    /// Once, to see whether it works again.
    AsProbe,
    /// It rests.
    No,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// As before.
    None,
    /// The process rests from now on.
    Opened,
    /// The process is called again.
    Closed,
}

impl Circuit {
    /// Whether a call may be made now.
    pub fn admits(&self, now: Instant) -> Admitted {
        if !self.troubled.load(Ordering::Relaxed) {
            return Admitted::Yes;
        }
        match &mut *self.state.lock() {
            State::Closed { .. } => Admitted::Yes,
            State::Open { until, pause } if *until <= now => {
                // Should this probe never end, another one follows.
                *until = now + *pause;
                Admitted::AsProbe
            }
            State::Open { .. } => Admitted::No,
        }
    }

    /// A call was replied to.
    pub fn well(&self) -> Turn {
        if !self.troubled.load(Ordering::Relaxed) {
            return Turn::None;
        }
        let mut state = self.state.lock();
        self.troubled.store(false, Ordering::Relaxed);
        match std::mem::take(&mut *state) {
            State::Open { .. } => Turn::Closed,
            State::Closed { .. } => Turn::None,
        }
    }

    /// A call failed, or was not replied to in time.
    pub fn failed(&self, now: Instant, admitted: Admitted) -> Turn {
        let mut state = self.state.lock();
        self.troubled.store(true, Ordering::Relaxed);
        match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures < limits::PEER_CIRCUIT_FAILURES {
                    return Turn::None;
                }
                *state = State::Open { until: now + PAUSE_FIRST, pause: PAUSE_FIRST };
                Turn::Opened
            }
            State::Open { until, pause } => {
                // Calls from before it opened say nothing new.
                if admitted == Admitted::AsProbe {
                    *pause = (*pause * 2).min(PAUSE_MAX);
                    *until = now + *pause;
                }
                Turn::None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Circuit {
        let circuit = Circuit::default();
        for _ in 1..limits::PEER_CIRCUIT_FAILURES {
            assert_eq!(circuit.failed(now, Admitted::Yes), Turn::None);
        }
        assert_eq!(circuit.failed(now, Admitted::Yes), Turn::Opened);
        circuit
    }

    #[test]
    fn failures_open_it_only_in_a_row() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..3 {
            for _ in 1..limits::PEER_CIRCUIT_FAILURES {
                assert_eq!(circuit.failed(now, Admitted::Yes), Turn::None);
            }
            assert_eq!(circuit.admits(now), Admitted::Yes);
            assert_eq!(circuit.well(), Turn::None);
        }
    }

    #[test]
    fn after_its_rest_one_probe_decides() {
        let now = Instant::now();
        let circuit = opened(now);
        assert_eq!(circuit.admits(now), Admitted::No);
        let later = now + PAUSE_FIRST;
        assert_eq!(circuit.admits(later), Admitted::AsProbe);
        assert_eq!(circuit.admits(later), Admitted::No, "one at a time");
        assert_eq!(circuit.failed(later, Admitted::AsProbe), Turn::None);
        assert_eq!(circuit.admits(later + PAUSE_FIRST), Admitted::No, "it rests for longer");
        let again = later + PAUSE_FIRST * 2;
        assert_eq!(circuit.admits(again), Admitted::AsProbe);
        assert_eq!(circuit.well(), Turn::Closed);
        assert_eq!(circuit.admits(again), Admitted::Yes);
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let now = Instant::now();
        let circuit = opened(now);
        assert_eq!(circuit.admits(now + PAUSE_FIRST), Admitted::AsProbe);
        assert_eq!(circuit.admits(now + PAUSE_FIRST * 2), Admitted::AsProbe);
    }

    #[test]
    fn late_failures_do_not_lengthen_the_rest_and_no_rest_is_longer_than_the_longest() {
        let mut now = Instant::now();
        let circuit = opened(now);
        for _ in 0..100 {
            circuit.failed(now, Admitted::Yes);
        }
        assert_eq!(circuit.admits(now + PAUSE_FIRST), Admitted::AsProbe);
        for _ in 0..20 {
            circuit.failed(now, Admitted::AsProbe);
            now += PAUSE_MAX;
            assert_eq!(circuit.admits(now), Admitted::AsProbe);
        }
    }
}
