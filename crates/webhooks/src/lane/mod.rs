//! The way of one webhook's deliveries through one partition of its tenant's feed: pure, with time and chance handed in.
//!
//! Events of one conversation go one after the other; conversations go beside each other. An event that fails is
//! tried again by the schedule, and holds up its own conversation only: while others arrive, a conversation with many
//! events behind a failing one is *parked*, which means that it takes no room in the window and its events are read
//! from the conversation itself later. When nothing arrives any more the lane is *broken*: it tries one event at a
//! time, less and less often, until one arrives.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use stonechat_model::TimeUs;

use crate::Outcome;

/// The first pause of a broken lane between two attempts.
const PROBE_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const PROBE_LONGEST: Duration = Duration::from_secs(60);

/// How a lane behaves.
#[derive(Debug, Clone)]
pub struct LaneRules {
    /// Undelivered events in memory.
    pub window: usize,
    /// Attempts at once.
    pub in_flight: usize,
    /// Parked conversations.
    pub parked: usize,
    /// The pauses after attempts that failed; one attempt more than pauses, then the event is given up.
    pub schedule: Arc<[Duration]>,
    /// Failures in a row after which the lane is broken.
    pub break_after: u32,
    /// How long everything may fail before the webhook is disabled.
    pub failing: Duration,
}

/// An event of the feed that the webhook wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the feed; grows.
    pub position: u64,
    /// Its log.
    pub log: Arc<str>,
    /// The log's kind.
    pub kind: i32,
    /// Its seq.
    pub seq: u64,
}

/// A conversation whose events fail, as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The log.
    pub log: Arc<str>,
    /// The log's kind.
    pub kind: i32,
    /// The event that is tried.
    pub seq: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again.
    pub due_us: TimeUs,
    /// Parked, up to this seq.
    pub parked_to: Option<u64>,
}

/// An attempt that is to be made now. What came of it is told by [`Lane::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The log.
    pub log: Arc<str>,
    /// The log's kind.
    pub kind: i32,
    /// The event's seq.
    pub seq: u64,
    /// Which attempt: 1, 2, 3 ...
    pub number: u32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make this attempt.
    Attempt(Attempt),
    /// Ask again at this time, or when something is done or taken in.
    Wait(TimeUs),
    /// Ask again when something is done or taken in.
    Nothing,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The event is dealt with.
    Done,
    /// It is tried again.
    Again,
    /// It is given up.
    Dead,
    /// The receiver wants no more.
    Gone,
    /// Nothing arrived for too long: the webhook is to be disabled.
    Failing,
}

struct Log {
    kind: i32,
    /// Positions and seqs of its events, the first one being tried.
    queue: VecDeque<(u64, u64)>,
    attempts: u32,
    parked: Option<Parked>,
    /// When it is tried again, while it waits.
    due_us: Option<TimeUs>,
}

#[derive(Clone, Copy)]
struct Parked {
    next: u64,
    to: u64,
}

impl Log {
    fn seq(&self) -> Option<u64> {
        self.parked.map(|parked| parked.next).or(self.queue.front().map(|(_, seq)| *seq))
    }
}

/// The lane.
pub struct Lane {
    rules: LaneRules,
    logs: HashMap<Arc<str>, Log>,
    ready: VecDeque<Arc<str>>,
    waiting: BTreeSet<(TimeUs, Arc<str>)>,
    /// Positions that were taken in and are not dealt with.
    undone: BTreeSet<u64>,
    /// Failed before a restart, and not come again from the feed yet.
    restored: HashMap<Arc<str>, Held>,
    read: u64,
    parked: usize,
    in_flight: usize,
    failures: u32,
    failing_since_us: Option<TimeUs>,
    probe_us: TimeUs,
    pause_us: TimeUs,
    stopped: bool,
}

impl Lane {
    /// A lane that goes on after a position, with what failed before.
    pub fn new(rules: LaneRules, position: u64, held: Vec<Held>, failing_since_us: Option<TimeUs>) -> Self {
        let mut lane = Self {
            rules,
            logs: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            undone: BTreeSet::new(),
            restored: HashMap::new(),
            read: position,
            parked: 0,
            in_flight: 0,
            failures: 0,
            failing_since_us,
            probe_us: 0,
            pause_us: 0,
            stopped: false,
        };
        for held in held {
            match held.parked_to {
                Some(to) => {
                    let parked = Some(Parked { next: held.seq, to });
                    let due_us = Some(held.due_us);
                    let (kind, attempts) = (held.kind, held.attempts);
                    lane.waiting.insert((held.due_us, Arc::clone(&held.log)));
                    lane.logs.insert(held.log, Log { kind, queue: VecDeque::new(), attempts, parked, due_us });
                    lane.parked += 1;
                }
                None => {
                    lane.restored.insert(Arc::clone(&held.log), held);
                }
            }
        }
        lane
    }

    /// Up to where the feed was taken in.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many events may be taken in. Makes room by parking where that is due.
    pub fn room(&mut self) -> usize {
        while self.undone.len() >= self.rules.window && self.park() {}
        self.rules.window.saturating_sub(self.undone.len())
    }

    /// Whether nothing is to be done but what the feed brings.
    pub fn is_idle(&self) -> bool {
        self.logs.is_empty()
    }

    /// Everything up to here was read; nothing of it is wanted but what was taken in.
    pub fn pass(&mut self, position: u64) {
        self.read = self.read.max(position);
    }

    /// Takes an event in; the next one of the feed that is wanted.
    pub fn take(&mut self, entry: Entry) {
        let Entry { position, log, kind, seq } = entry;
        if position <= self.read {
            return;
        }
        self.read = position;
        if let Some(known) = self.logs.get_mut(&log) {
            match &mut known.parked {
                Some(parked) => parked.to = parked.to.max(seq),
                None => {
                    self.undone.insert(position);
                    known.queue.push_back((position, seq));
                }
            }
            return;
        }
        self.undone.insert(position);
        let before = self.restored.remove(&log).filter(|held| held.seq == seq);
        let due_us = before.as_ref().map(|held| held.due_us);
        let attempts = before.map_or(0, |held| held.attempts);
        match due_us {
            Some(due_us) => {
                self.waiting.insert((due_us, Arc::clone(&log)));
            }
            None => self.ready.push_back(Arc::clone(&log)),
        }
        self.logs.insert(log, Log { kind, queue: VecDeque::from([(position, seq)]), attempts, parked: None, due_us });
    }

    /// The receiver wants to be left alone until then.
    pub fn pause_until(&mut self, us: TimeUs) {
        self.pause_us = self.pause_us.max(us);
    }

    fn is_broken(&self) -> bool {
        self.failures >= self.rules.break_after
    }

    /// What to do now.
    pub fn next(&mut self, now_us: TimeUs) -> Next {
        let is_full = self.in_flight >= self.rules.in_flight || (self.is_broken() && self.in_flight > 0);
        if self.stopped || is_full {
            return Next::Nothing;
        }
        while let Some((due_us, log)) = self.waiting.first().cloned()
            && due_us <= now_us
        {
            self.waiting.pop_first();
            if let Some(known) = self.logs.get_mut(&log) {
                known.due_us = None;
            }
            self.ready.push_back(log);
        }
        let gate_us = if self.is_broken() { self.pause_us.max(self.probe_us) } else { self.pause_us };
        if gate_us > now_us && !self.logs.is_empty() {
            return Next::Wait(gate_us);
        }
        while let Some(log) = self.ready.pop_front() {
            let Some(known) = self.logs.get(&log) else { continue };
            let Some(seq) = known.seq() else { continue };
            self.in_flight += 1;
            return Next::Attempt(Attempt { log, kind: known.kind, seq, number: known.attempts + 1 });
        }
        self.waiting.first().map_or(Next::Nothing, |(due_us, _)| Next::Wait(*due_us))
    }

    /// What came of an attempt. `jitter` is between 0 and 1.
    pub fn done(&mut self, attempt: &Attempt, outcome: Outcome, now_us: TimeUs, jitter: f64) -> Verdict {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Delivered | Outcome::Skipped => {
                if outcome == Outcome::Delivered {
                    self.arrived();
                }
                self.advance(&attempt.log);
                Verdict::Done
            }
            Outcome::Gone => {
                self.stopped = true;
                self.ready.push_front(Arc::clone(&attempt.log));
                Verdict::Gone
            }
            Outcome::Failed { retry_after } => self.failed(attempt, retry_after, now_us, jitter),
        }
    }

    /// Something arrived: what waits because nothing did is tried at once.
    fn arrived(&mut self) {
        if self.is_broken() {
            for (_, log) in std::mem::take(&mut self.waiting) {
                if let Some(known) = self.logs.get_mut(&log) {
                    known.due_us = None;
                }
                self.ready.push_back(log);
            }
        }
        self.failures = 0;
        self.failing_since_us = None;
    }

    fn failed(&mut self, attempt: &Attempt, retry_after: Option<Duration>, now_us: TimeUs, jitter: f64) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        let since_us = *self.failing_since_us.get_or_insert(now_us);
        if let Some(wait) = retry_after {
            self.pause_until(later(now_us, wait));
        }
        if let Some(beyond) = self.failures.checked_sub(self.rules.break_after) {
            let pause = PROBE_FIRST.saturating_mul(1 << beyond.min(6)).min(PROBE_LONGEST);
            self.probe_us = later(now_us, pause.mul_f64(spread(jitter)));
        }
        let Some(log) = self.logs.get_mut(&attempt.log) else { return Verdict::Done };
        log.attempts += 1;
        let pause = self.rules.schedule.get(log.attempts as usize - 1).copied();
        let verdict = match pause {
            Some(pause) => {
                let pause = pause.mul_f64(spread(jitter)).max(retry_after.unwrap_or_default());
                let due_us = later(now_us, pause);
                log.due_us = Some(due_us);
                self.waiting.insert((due_us, Arc::clone(&attempt.log)));
                Verdict::Again
            }
            None => {
                self.advance(&attempt.log);
                Verdict::Dead
            }
        };
        if later(since_us, self.rules.failing) <= now_us {
            self.stopped = true;
            return Verdict::Failing;
        }
        verdict
    }

    /// The first event of a log is dealt with.
    fn advance(&mut self, log: &Arc<str>) {
        let Some(known) = self.logs.get_mut(log) else { return };
        known.attempts = 0;
        let is_over = match &mut known.parked {
            Some(parked) => {
                parked.next += 1;
                parked.next > parked.to
            }
            None => {
                if let Some((position, _)) = known.queue.pop_front() {
                    self.undone.remove(&position);
                }
                known.queue.is_empty()
            }
        };
        if is_over {
            self.parked -= usize::from(known.parked.is_some());
            self.logs.remove(log);
        } else {
            self.ready.push_back(Arc::clone(log));
        }
    }

    /// Parks the waiting conversation with the most events, unless nothing arrives at all.
    fn park(&mut self) -> bool {
        if self.is_broken() || self.parked >= self.rules.parked {
            return false;
        }
        let waiting = self.waiting.iter().filter_map(|(_, log)| Some((log, self.logs.get(log)?)));
        let longest = waiting.filter(|(_, log)| log.parked.is_none()).max_by_key(|(_, log)| log.queue.len());
        let Some(name) = longest.map(|(name, _)| Arc::clone(name)) else { return false };
        let Some(log) = self.logs.get_mut(&name) else { return false };
        let (Some((_, next)), Some((_, to))) = (log.queue.front().copied(), log.queue.back().copied()) else {
            return false;
        };
        for (position, _) in std::mem::take(&mut log.queue) {
            self.undone.remove(&position);
        }
        log.parked = Some(Parked { next, to });
        self.parked += 1;
        true
    }

    /// Up to where everything is dealt with, but for what is held.
    pub fn position(&self) -> u64 {
        self.undone.first().map_or(self.read, |first| first - 1)
    }

    /// What must be kept beside the position.
    pub fn held(&self) -> Vec<Held> {
        let failed = self.logs.iter().filter(|(_, log)| log.attempts > 0 || log.parked.is_some());
        let held = failed.filter_map(|(name, log)| {
            let due_us = log.due_us.unwrap_or(0);
            let parked_to = log.parked.map(|parked| parked.to);
            let (log, kind, attempts, seq) = (Arc::clone(name), log.kind, log.attempts, log.seq()?);
            Some(Held { log, kind, seq, attempts, due_us, parked_to })
        });
        held.chain(self.restored.values().cloned()).collect()
    }

    /// Since when nothing arrived.
    pub fn failing_since_us(&self) -> Option<TimeUs> {
        self.failing_since_us
    }
}

/// A pause is spread by a fifth to both sides.
fn spread(jitter: f64) -> f64 {
    0.8 + 0.4 * jitter.clamp(0.0, 1.0)
}

fn later(us: TimeUs, pause: Duration) -> TimeUs {
    us.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}
