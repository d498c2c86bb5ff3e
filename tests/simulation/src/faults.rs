//! What goes wrong in a run. Each seed draws its own mix, from nothing at all to everything at once, since a
//! fault that hides another is found by the seeds that lack the one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::{
    executor::{Node, Runtime, WORLD},
    random::Random,
};

/// How often a thing goes wrong, in thousandths, and how long things take.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Whether everything is one process, which the rows die with.
    pub is_embedded: bool,
    /// Whether the rows of a write are written all or none.
    pub rows_are_atomic: bool,
    /// Reads and writes of rows that fail.
    pub rows_fail: u32,
    /// Reads and writes of rows that take long.
    pub rows_slow: u32,
    /// Appends and publications that fail, done or not.
    pub log_fail: u32,
    /// Claims that begin before the committed position.
    pub log_rewind: u32,
    /// Calls of presence that fail, done or not.
    pub presence_fail: u32,
    /// Calls over links that fail.
    pub call_fail: u32,
    /// Steps within a write, a publication and the like at which the node dies or stands still.
    pub at_step: u32,
    /// Polls between two faults of the kinds below; 0: none of them.
    pub steps_per_fault: u64,
    /// The weights of the faults that strike between two polls.
    pub weights: [u32; FAULTS],
}

/// How many kinds of faults strike between two polls.
pub const FAULTS: usize = 8;

/// A fault that strikes between two polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A router dies and another starts.
    CrashRouter,
    /// A gateway dies and another starts.
    CrashGateway,
    /// A partition goes to another owner; the old one does not notice for a while.
    Rebalance,
    /// A node stands still for a while.
    Freeze,
    /// A link between a router and a gateway breaks.
    BreakLink,
    /// Presence forgets everything.
    Forget,
    /// A client's connection breaks.
    Disconnect,
    /// A partition of the event stream goes to another consumer.
    RebalanceStream,
}

impl Fault {
    /// Every kind, as [`Mix::weights`] counts them.
    pub const ALL: [Self; FAULTS] = [
        Self::CrashRouter,
        Self::CrashGateway,
        Self::Rebalance,
        Self::Freeze,
        Self::BreakLink,
        Self::Forget,
        Self::Disconnect,
        Self::RebalanceStream,
    ];
}

impl Mix {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self {
            is_embedded: false,
            rows_are_atomic: true,
            rows_fail: 0,
            rows_slow: 0,
            log_fail: 0,
            log_rewind: 0,
            presence_fail: 0,
            call_fail: 0,
            at_step: 0,
            steps_per_fault: 0,
            weights: [0; FAULTS],
        }
    }

    /// The mix of a seed.
    pub fn of_seed(seed: u64, atomic: Option<bool>) -> Self {
        let random = Random::new(seed, "mix");
        let is_embedded = random.chance(200) && atomic != Some(false);
        let drawn_atomic = is_embedded || random.chance(400);
        let some = |of: u32, chance: u32| if random.chance(of) { chance } else { 0 };
        let calm = random.chance(80);
        let mut mix = Self {
            is_embedded,
            rows_are_atomic: atomic.unwrap_or(drawn_atomic),
            rows_fail: some(500, 15),
            rows_slow: some(500, 20),
            log_fail: some(500, 20),
            log_rewind: some(500, 400),
            presence_fail: some(400, 20),
            call_fail: some(400, 20),
            at_step: some(600, *random.pick(&[2, 8, 20]).unwrap_or(&2)),
            steps_per_fault: random.between(50, 1200),
            weights: [0; FAULTS],
        };
        for weight in &mut mix.weights {
            *weight = if random.chance(550) { u32::try_from(random.between(1, 10)).unwrap_or(1) } else { 0 };
        }
        if calm {
            mix = Self {
                rows_fail: 0,
                log_fail: 0,
                presence_fail: 0,
                call_fail: 0,
                at_step: 0,
                steps_per_fault: 0,
                ..mix
            };
        }
        mix
    }

    /// Draws the next fault.
    pub fn draw(&self, random: &Random) -> Option<Fault> {
        let mut left = random.below(u64::from(self.weights.iter().sum::<u32>()));
        for (fault, weight) in Fault::ALL.into_iter().zip(self.weights) {
            if left < u64::from(weight) {
                return Some(fault);
            }
            left -= u64::from(weight);
        }
        None
    }
}

/// How an operation fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done and said so.
    Done,
    /// It is done, but an error is given.
    DoneUntold,
    /// It is not done, or only later; an error is given.
    NotDone,
}

/// The faults of a run, and whether they happen now.
#[derive(Clone)]
pub struct Faults {
    /// Time.
    pub runtime: Runtime,
    /// What goes wrong.
    pub mix: Arc<Mix>,
    is_on: Arc<AtomicBool>,
    struck: Arc<Mutex<Option<Node>>>,
}

impl Faults {
    /// These faults, not happening yet.
    pub fn new(runtime: Runtime, mix: Mix) -> Self {
        Self { runtime, mix: Arc::new(mix), is_on: Arc::default(), struck: Arc::default() }
    }

    /// Lets them happen, or not.
    pub fn turn(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    /// Whether they happen.
    pub fn are_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// True in so many of a thousand cases while faults happen.
    pub fn strikes(&self, random: &Random, per_mille: u32) -> bool {
        self.are_on() && random.chance(per_mille)
    }

    /// A step at which the node whose task runs may be struck, once the task gives way.
    pub fn step(&self, random: &Random) {
        if self.strikes(random, self.mix.at_step) {
            *self.struck.lock() = self.runtime.current().filter(|node| *node != WORLD);
        }
    }

    /// The node that was struck at a step.
    pub fn take_struck(&self) -> Option<Node> {
        self.struck.lock().take()
    }

    /// How an operation fares that fails so often.
    pub fn fate(&self, random: &Random, per_mille: u32) -> Fate {
        match self.strikes(random, per_mille) {
            true if random.chance(500) => Fate::DoneUntold,
            true => Fate::NotDone,
            false => Fate::Done,
        }
    }

    /// Waits as long as a call takes, now and then much longer.
    pub async fn latency(&self, random: &Random, slow: u32) {
        self.step(random);
        let slow = self.strikes(random, slow);
        let us = match random.below(4) {
            _ if slow => random.between(20_000, 3_000_000),
            0 => random.between(100, 5_000),
            1 => random.between(10, 500),
            _ => return self.runtime.pause().await,
        };
        self.runtime.sleep(us).await;
    }
}
