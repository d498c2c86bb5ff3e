//! How many sessions open at once.
//!
//! A session that opens reads much. When a gateway is lost all its sessions come at once, and whoever chats meanwhile
//! waits behind their reads. So two times tell how much the rows bear: that of one small read, the same for every session
//! that opens, and that until the outcome of a command, which is what those who are open notice. While both take about as
//! long as when nobody opens, more open at once, and fewer where one takes longer; at last one opens, with a rest before
//! the next, but never fewer than some in a second.

mod pace;
mod timed;

use std::sync::Arc;

use parking_lot::Mutex;
use stonechat_model::TimeUs;
use stonechat_proto::internal::v1::Origin;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Sleep;
use pace::Pace;
use timed::{TimedCommand, TimedCommands};

/// The turns of sessions that open, in the order in which they come.
pub(crate) struct Opening {
    turns: Semaphore,
    state: Mutex<State>,
    sleep: Arc<Sleep>,
    now_us: Arc<dyn Fn() -> TimeUs + Send + Sync>,
}

struct State {
    pace: Pace,
    /// Turns that there are, taken or not: more than there should be until they are given back.
    granted: usize,
    taken: usize,
    /// Turns that ever began.
    begun: u64,
    timed: TimedCommands,
}

impl Opening {
    /// At most so many at once.
    pub fn new(most: usize, sleep: Arc<Sleep>, now_us: Arc<dyn Fn() -> TimeUs + Send + Sync>) -> Self {
        let pace = Pace::new(most);
        let granted = pace.at_once();
        let state = State { pace, granted, taken: 0, begun: 0, timed: TimedCommands::default() };
        Self { turns: Semaphore::new(granted), state: Mutex::new(state), sleep, now_us }
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Turn<'_> {
        let mut turn = Turn { opening: Some(self), permit: None };
        turn.wait().await;
        turn
    }

    /// A command of a session is handed to a router.
    pub fn command_began(&self, session: u64, id: u64) {
        let mut state = self.state.lock();
        let command = TimedCommand { began_us: (self.now_us)(), was_calm: state.taken == 0, begun: state.begun };
        state.timed.began((session, id), command);
    }

    /// A command was not taken: it has no outcome.
    pub fn command_refused(&self, session: u64, id: u64) {
        self.state.lock().timed.take((session, id));
    }

    /// The outcome of a session's command is there.
    pub fn command_ended(&self, origin: &Origin) {
        let mut state = self.state.lock();
        let Some(timed) = state.timed.take((origin.session, origin.id)) else { return };
        let took_us = (self.now_us)() - timed.began_us;
        let is_calm = timed.was_calm && timed.begun == state.begun;
        state.pace.note_command(took_us.max(0) as f64, is_calm);
    }
}

/// A session's turn, until it is dropped. The default is no turn among others.
#[derive(Default)]
pub(crate) struct Turn<'a> {
    opening: Option<&'a Opening>,
    /// With the time when it began; `None` while it is waited for.
    permit: Option<(SemaphorePermit<'a>, TimeUs)>,
}

impl Turn<'_> {
    async fn wait(&mut self) {
        let Some(opening) = self.opening else { return };
        // Never closed.
        let Ok(permit) = opening.turns.acquire().await else { return };
        let rest = opening.state.lock().pace.rest();
        if !rest.is_zero() {
            (opening.sleep)(rest).await;
        }
        let mut state = opening.state.lock();
        state.taken += 1;
        state.begun += 1;
        self.permit = Some((permit, (opening.now_us)()));
    }

    fn give_back(&mut self) {
        let (Some(opening), Some((permit, began_us))) = (self.opening, self.permit.take()) else { return };
        let took_us = (opening.now_us)() - began_us;
        let mut state = opening.state.lock();
        state.pace.note_turn(took_us.max(0) as f64);
        state.taken -= 1;
        if state.granted > state.pace.at_once() {
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
        state.pace.note_read(took_us.max(0) as f64, taken);
        let more = state.pace.at_once().saturating_sub(state.granted);
        state.granted += more;
        opening.turns.add_permits(more);
        metrics::gauge!("stonechat_gateway_opening_limit").set(state.pace.limit());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures::FutureExt as _;

    use super::*;

    /// Turns by a clock that stands still unless it is moved, where whoever rests does not get up again.
    fn opening() -> (Opening, Arc<AtomicI64>) {
        let clock = Arc::new(AtomicI64::new(0));
        let (sleep, now) = (Arc::new(|_| futures::future::pending().boxed()), Arc::clone(&clock));
        (Opening::new(64, sleep, Arc::new(move || now.load(Ordering::Relaxed))), clock)
    }

    #[test]
    fn turns_come_and_go_with_the_pace() {
        let (opening, _) = opening();
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

    #[test]
    fn there_is_a_rest_where_outcomes_take_longer_while_sessions_open() {
        let (opening, clock) = opening();
        let command = |id, took_us| {
            opening.command_began(7, id);
            clock.fetch_add(took_us, Ordering::Relaxed);
            opening.command_ended(&Origin { node: String::new(), session: 7, id });
        };
        (0..100).for_each(|id| command(id, 1_000));
        for round in 0..200 {
            let turn = opening.turn().now_or_never().expect("a turn");
            turn.note(1_000);
            (0..20).for_each(|id| command(id, 3_000));
            drop(turn);
            let rests = opening.state.lock().pace.rest();
            if !rests.is_zero() {
                assert!(round > 4, "the number goes down step by step");
                assert!(opening.turn().now_or_never().is_none(), "the next one waits");
                let next = opening.turn().now_or_never();
                assert!(next.is_none(), "whoever gave up waiting is in nobody's way");
                return;
            }
        }
        panic!("there is no rest");
    }

    #[test]
    fn a_command_that_was_refused_tells_nothing() {
        let (opening, clock) = opening();
        let ends = |id| opening.command_ended(&Origin { node: String::new(), session: 1, id });
        for id in 0..100 {
            opening.command_began(1, id);
            clock.fetch_add(10_000, Ordering::Relaxed);
            ends(id);
        }
        opening.command_began(1, 100);
        clock.fetch_add(5_000_000, Ordering::Relaxed);
        opening.command_refused(1, 100);
        ends(100);
        let turn = opening.turn().now_or_never().expect("a turn");
        turn.note(1_000);
        assert_eq!(opening.state.lock().pace.limit(), 4.0, "nothing became slower");
    }
}
