//! How many sessions open at once.
//!
//! A session that opens reads much. When a gateway is lost all its sessions come at once, and whoever chats meanwhile
//! waits behind their reads. So the time that one small read takes, the same for every session, tells how much the rows
//! bear: while it takes about as long as when nobody else opens, more open at once, and fewer where it takes longer.

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Sessions that open at once to begin with.
const AT_FIRST: f64 = 4.0;
/// How much a read counts for what is usual: one that is faster, and one that is slower while nobody else opens.
const FASTER: f64 = 0.1;
const SLOWER: f64 = 0.02;
/// How much a read counts for what they take now.
const RECENT: f64 = 0.2;
/// Reads take too long from so many times the usual time on, and so much more.
const TOO_LONG: f64 = 2.0;
const SLACK_US: f64 = 2_000.0;
/// What is left of the number where they do.
const FEWER: f64 = 0.75;

/// Decides how many open at once: additive increase where all of them are used, multiplicative decrease.
struct Pace {
    most: f64,
    limit: f64,
    usual_us: f64,
    recent_us: f64,
    /// Reads since there were fewer: those that began before tell nothing of it.
    since_fewer: f64,
}

impl Pace {
    fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { most, limit: AT_FIRST.min(most), usual_us: f64::NAN, recent_us: f64::NAN, since_fewer: 0.0 }
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A read took so long while so many sessions opened.
    fn note(&mut self, took_us: f64, opening: usize) {
        if self.usual_us.is_nan() {
            (self.usual_us, self.recent_us) = (took_us, took_us);
        }
        let weight = match took_us < self.usual_us {
            true => FASTER,
            false if opening <= 1 => SLOWER,
            false => 0.0,
        };
        self.usual_us += weight * (took_us - self.usual_us);
        self.recent_us += RECENT * (took_us - self.recent_us);
        self.since_fewer += 1.0;
        if self.recent_us <= TOO_LONG * self.usual_us + SLACK_US {
            if opening >= self.limit() {
                self.limit = (self.limit + 1.0 / self.limit).min(self.most);
            }
        } else if self.since_fewer >= self.limit {
            self.limit = (self.limit * FEWER).max(1.0);
            self.since_fewer = 0.0;
        }
    }
}

/// The turns of sessions that open, in the order in which they come.
pub(crate) struct Opening {
    turns: Semaphore,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    /// Turns that there are, taken or not: more than there should be until they are given back.
    granted: usize,
    taken: usize,
}

impl Opening {
    /// At most so many at once.
    pub fn new(most: usize) -> Self {
        let pace = Pace::new(most);
        let granted = pace.limit();
        Self { turns: Semaphore::new(granted), state: Mutex::new(State { pace, granted, taken: 0 }) }
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Turn<'_> {
        let mut turn = Turn { opening: Some(self), permit: None };
        turn.wait().await;
        turn
    }
}

/// A session's turn, until it is dropped. The default is no turn among others.
#[derive(Default)]
pub(crate) struct Turn<'a> {
    opening: Option<&'a Opening>,
    permit: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    async fn wait(&mut self) {
        if let Some(opening) = self.opening {
            // Never closed.
            self.permit = opening.turns.acquire().await.ok();
            opening.state.lock().taken += 1;
        }
    }

    fn give_back(&mut self) {
        let (Some(opening), Some(permit)) = (self.opening, self.permit.take()) else { return };
        let mut state = opening.state.lock();
        state.taken -= 1;
        if state.granted > state.pace.limit() {
            state.granted -= 1;
            permit.forget();
        }
    }

    /// Lets others have their turn until something is done.
    pub async fn rest_while(&mut self, waiting: impl Future<Output = ()>) {
        self.give_back();
        waiting.await;
        self.wait().await;
    }

    /// A read that is the same for every session took so long.
    pub fn note(&self, took_us: i64) {
        let Some(opening) = self.opening else { return };
        let mut state = opening.state.lock();
        let taken = state.taken;
        state.pace.note(took_us.max(0) as f64, taken);
        let more = state.pace.limit().saturating_sub(state.granted);
        state.granted += more;
        opening.turns.add_permits(more);
        metrics::gauge!("stonechat_gateway_opening_limit").set(state.pace.limit() as f64);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// Rows that bear so many sessions at once and are slower in proportion beyond.
    fn settled(bears: usize, most: usize, reads: usize) -> usize {
        let mut pace = Pace::new(most);
        // Some that open alone tell what is usual.
        (0..20).for_each(|_| pace.note(3_000.0, 1));
        for _ in 0..reads {
            let opening = pace.limit();
            pace.note(3_000.0 * (opening as f64 / bears as f64).max(1.0), opening);
        }
        pace.limit()
    }

    #[test]
    fn as_many_open_as_the_rows_bear() {
        assert_eq!(settled(1_000, 64, 10_000), 64, "no more than at most");
        assert!((10..=40).contains(&settled(12, 64, 10_000)));
        assert!((1..=4).contains(&settled(1, 64, 10_000)));
        assert_eq!(settled(1, 1, 1_000), 1);
    }

    #[test]
    fn what_many_at_once_wait_does_not_become_usual() {
        let mut pace = Pace::new(64);
        (0..20).for_each(|_| pace.note(3_000.0, 1));
        (0..5_000).for_each(|_| pace.note(500_000.0, 4));
        assert_eq!(pace.limit(), 1, "one at least goes on");
        (0..200).for_each(|_| pace.note(500_000.0, 1));
        assert!(pace.usual_us > 100_000.0, "rows that are slow by themselves are usual in time");
    }

    #[test]
    fn calm_times_do_not_make_room_for_a_storm() {
        let mut pace = Pace::new(64);
        (0..10_000).for_each(|_| pace.note(3_000.0, 1));
        assert_eq!(pace.limit(), 4);
    }

    #[test]
    fn turns_come_and_go_with_the_pace() {
        let opening = Opening::new(64);
        let turn = || opening.turn().now_or_never();
        let mut turns: Vec<_> = (0..4).map(|_| turn().expect("a turn")).collect();
        assert!(turn().is_none());
        turns[0].note(1_000);
        for _ in 0..8 {
            turns[0].note(1_000);
        }
        turns.extend(turn());
        assert_eq!(turns.len(), 5, "more where nothing is slow");
        for _ in 0..200 {
            turns[0].note(900_000);
        }
        turns.clear();
        let kept: Vec<_> = std::iter::from_fn(turn).take(10).collect();
        assert_eq!(kept.len(), 1, "fewer where reads take long");
    }
}
