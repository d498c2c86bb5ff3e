//! What a node's commands wait for: bounded in number and in time.
//!
//! Commands that are decided too slowly wait in the command log, where nobody sees how many they are. The node sees it
//! by the time that outcomes take: when it is too long, further commands of those conversations are refused, so that
//! senders and not the log hold what is too much. Nothing here knows of tasks or clocks.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use stonechat_errors::Error;
use stonechat_model::limits;
use stonechat_proto::internal::v1::{CommandRecord, Origin};
use xxhash_rust::xxh3::Xxh3Default;

use crate::Outcome;

/// When a sender may try again where there are too many commands.
const MANY_RETRY_AFTER: Duration = Duration::from_millis(200);
/// When a sender may try again where commands are decided too slowly.
const SLOW_RETRY_AFTER: Duration = Duration::from_secs(1);
/// A slow lane takes one command at a time and not more than one in so long; its outcome tells whether it is slow still.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// After so long a late outcome is waited for no more: it was on its way when a router was lost.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Commands come from many conversations, of which those are looked at together that have the same hash.
const LANES: u64 = 256;

/// The time after which a command is answered by the node itself.
const DEADLINE: Duration = Duration::from_millis(limits::LINK_COMMAND_TIMEOUT_MS);
/// The time of an outcome from which on a lane is slow.
const SLOW: Duration = Duration::from_millis(limits::LINK_COMMAND_SLOW_MS);

/// Commands that went to routers and whose outcomes have not come.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    commands: HashMap<(u64, u64), Waiting>,
    /// Only the slow ones.
    slow: HashMap<u64, Slow>,
}

/// A lane whose commands are decided too slowly.
#[derive(Debug)]
struct Slow {
    /// When the next probe may go.
    next: Instant,
    /// The probe that is on its way, until its outcome comes or it is late.
    probe: Option<(u64, u64)>,
}

impl Slow {
    fn since(now: Instant) -> Self {
        Self { next: now + PROBE_EVERY, probe: None }
    }
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    lane: u64,
    /// When it was sent first.
    since: Instant,
    /// When it was sent last.
    sent: Instant,
    /// The sender has heard that it is late; the outcome may come still, and says how late.
    is_late: bool,
}

impl Unanswered {
    /// Adds a command that goes to a router now; one without an origin is not waited for.
    ///
    /// # Errors
    /// There are too many, or those of its conversation are decided too slowly. It may be sent again.
    pub fn add(&mut self, command: &CommandRecord, now: Instant) -> Result<(), Error> {
        let Some(origin) = &command.origin else { return Ok(()) };
        let lane = lane_of(command);
        if let Some(slow) = self.slow.get(&lane)
            && (slow.next > now || slow.probe.is_some_and(|probe| probe != key(origin)))
        {
            return Err(Error::unavailable("commands are decided too slowly").retry_after(SLOW_RETRY_AFTER));
        }
        if self.commands.len() >= limits::LINK_COMMANDS_UNANSWERED {
            return Err(Error::unavailable("too many commands are not answered").retry_after(MANY_RETRY_AFTER));
        }
        if let Some(slow) = self.slow.get_mut(&lane) {
            *slow = Slow { next: now + PROBE_EVERY, probe: Some(key(origin)) };
        }
        // Sent again before its outcome came: that one tells how long it took since the first time.
        let since = self.commands.get(&key(origin)).map_or(now, |before| before.since);
        let waiting = Waiting { origin: origin.clone(), lane, since, sent: now, is_late: false };
        self.commands.insert(key(origin), waiting);
        Ok(())
    }

    /// An outcome came.
    pub fn settle(&mut self, outcome: &Outcome, now: Instant) {
        let Some(Waiting { lane, since, .. }) = self.commands.remove(&key(&outcome.origin)) else { return };
        self.end_probe(lane, key(&outcome.origin));
        let is_decided = outcome.result.as_ref().map_or_else(|error| !error.is_retryable(), |_| true);
        if now.saturating_duration_since(since) >= SLOW {
            self.slow.entry(lane).or_insert_with(|| Slow::since(now));
        } else if is_decided {
            self.slow.remove(&lane);
        }
    }

    /// A command did not go to a router.
    pub fn remove(&mut self, origin: &Origin) {
        if let Some(waiting) = self.commands.remove(&key(origin)) {
            self.end_probe(waiting.lane, key(origin));
        }
    }

    /// Those whose senders wait: nothing more comes of them.
    pub fn take_all(&mut self) -> Vec<Origin> {
        self.slow.values_mut().for_each(|slow| slow.probe = None);
        let waiting = self.commands.drain().map(|(_, waiting)| waiting);
        waiting.filter(|it| !it.is_late).map(|it| it.origin).collect()
    }

    /// Those that are late now, whose senders are to send again; gives each once.
    pub fn late(&mut self, now: Instant) -> Vec<Outcome> {
        let mut late = Vec::new();
        self.commands.retain(|_, waiting| {
            let age = now.saturating_duration_since(waiting.sent);
            if age >= DEADLINE && !waiting.is_late {
                waiting.is_late = true;
                let slow = self.slow.entry(waiting.lane).or_insert_with(|| Slow::since(now));
                slow.probe = slow.probe.filter(|probe| *probe != key(&waiting.origin));
                let error = Error::unavailable("the command was not decided in time").retry_after(SLOW_RETRY_AFTER);
                late.push(Outcome { origin: waiting.origin.clone(), result: Err(error) });
            }
            age < FORGET_AFTER
        });
        late
    }

    fn end_probe(&mut self, lane: u64, probe: (u64, u64)) {
        if let Some(slow) = self.slow.get_mut(&lane) {
            slow.probe = slow.probe.filter(|it| *it != probe);
        }
    }
}

fn key(origin: &Origin) -> (u64, u64) {
    (origin.session, origin.id)
}

fn lane_of(command: &CommandRecord) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(command.tenant.as_bytes());
    hash.update(&[0]);
    hash.update(command.log.as_bytes());
    hash.digest() % LANES
}

#[cfg(test)]
mod tests {
    use stonechat_model::LogId;

    use super::*;
    use crate::Done;

    const SECOND: Duration = Duration::from_secs(1);

    fn command(log: &str, id: u64) -> CommandRecord {
        let origin = Some(Origin { node: "node".to_owned(), session: 1, id });
        CommandRecord { tenant: "t".to_owned(), log: log.to_owned(), origin, ..CommandRecord::default() }
    }

    fn outcome(id: u64, result: Result<(), Error>) -> Outcome {
        let origin = Origin { node: "node".to_owned(), session: 1, id };
        let log = LogId::parse("c").unwrap_or_else(|_| unreachable!("a conversation's"));
        Outcome { origin, result: result.map(|()| Done { seq: id, time_us: 5, log }) }
    }

    #[test]
    fn a_command_that_is_not_decided_in_time_is_told_late_once() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        unanswered.add(&command("c", 1), begin).unwrap();
        assert!(unanswered.late(begin + DEADLINE - SECOND).is_empty());
        let late = unanswered.late(begin + DEADLINE);
        assert_eq!(late.iter().map(|it| it.origin.id).collect::<Vec<_>>(), [1]);
        assert!(late[0].result.as_ref().unwrap_err().is_retryable());
        assert!(unanswered.late(begin + DEADLINE + SECOND).is_empty());
        assert!(unanswered.take_all().is_empty(), "its sender has heard already");
    }

    #[test]
    fn where_nothing_is_decided_in_time_one_command_at_a_time_asks_until_one_is() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        unanswered.add(&command("c", 1), begin).unwrap();
        let mut now = begin + DEADLINE;
        assert_eq!(unanswered.late(now).len(), 1);
        assert!(unanswered.add(&command("c", 2), now).unwrap_err().is_retryable());
        unanswered.add(&command("another", 3), now).unwrap();
        now += PROBE_EVERY;
        unanswered.add(&command("c", 2), now).unwrap();
        assert!(unanswered.add(&command("c", 4), now).is_err(), "one is on its way");
        // The log does not take it: that says nothing about how soon it is decided.
        unanswered.settle(&outcome(2, Err(Error::unavailable("full"))), now);
        assert!(unanswered.add(&command("c", 4), now).is_err());
        now += PROBE_EVERY;
        unanswered.add(&command("c", 2), now).unwrap();
        unanswered.settle(&outcome(2, Ok(())), now + SECOND);
        unanswered.add(&command("c", 4), now + SECOND).unwrap();
        unanswered.add(&command("c", 5), now + SECOND).unwrap();
    }

    #[test]
    fn a_slow_lane_takes_the_next_command_when_the_one_on_its_way_is_decided_or_late() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        unanswered.add(&command("c", 1), begin).unwrap();
        let mut now = begin + DEADLINE;
        assert_eq!(unanswered.late(now).len(), 1);
        now += PROBE_EVERY;
        unanswered.add(&command("c", 2), now).unwrap();
        assert!(unanswered.add(&command("c", 3), now + 5 * PROBE_EVERY).is_err(), "2 is on its way");
        assert_eq!(unanswered.late(now + DEADLINE).len(), 1);
        now += DEADLINE;
        unanswered.add(&command("c", 3), now).unwrap();
        unanswered.settle(&outcome(3, Ok(())), now + SLOW);
        unanswered.add(&command("c", 4), now + SLOW).unwrap();
        assert!(unanswered.add(&command("c", 5), now + SLOW).is_err(), "slow still");
        // The router is lost with what it had.
        assert_eq!(unanswered.take_all().len(), 1);
        unanswered.add(&command("c", 5), now + SLOW + PROBE_EVERY).unwrap();
    }

    #[test]
    fn what_is_decided_late_says_that_more_would_wait_longer() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        unanswered.add(&command("c", 1), begin).unwrap();
        unanswered.add(&command("c", 2), begin + SLOW - SECOND).unwrap();
        unanswered.settle(&outcome(1, Ok(())), begin + SLOW);
        assert!(unanswered.add(&command("c", 3), begin + SLOW).is_err());
        unanswered.settle(&outcome(2, Ok(())), begin + SLOW);
        unanswered.add(&command("c", 3), begin + SLOW).unwrap();
    }

    #[test]
    fn a_command_that_is_sent_again_is_measured_from_its_first_time() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        unanswered.add(&command("c", 1), begin).unwrap();
        let now = begin + DEADLINE;
        assert_eq!(unanswered.late(now).len(), 1);
        let again = now + PROBE_EVERY;
        unanswered.add(&command("c", 1), again).unwrap();
        assert!(unanswered.late(again + SECOND).is_empty(), "it has its time anew");
        unanswered.settle(&outcome(1, Ok(())), again + SECOND);
        assert!(unanswered.add(&command("c", 2), again).is_err(), "it waited for eleven seconds");
    }

    #[test]
    fn outcomes_that_never_come_are_forgotten() {
        let (mut unanswered, begin) = (Unanswered::default(), Instant::now());
        for id in 0..limits::LINK_COMMANDS_UNANSWERED as u64 {
            unanswered.add(&command(&format!("c{id}"), id), begin).unwrap();
        }
        let one_more = command("c", u64::MAX);
        assert!(unanswered.add(&one_more, begin).unwrap_err().is_retryable());
        assert_eq!(unanswered.late(begin + FORGET_AFTER).len(), limits::LINK_COMMANDS_UNANSWERED);
        unanswered.add(&one_more, begin + FORGET_AFTER + PROBE_EVERY).unwrap();
    }
}
