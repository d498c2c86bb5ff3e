//! One run of a seed, and what came of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use stonechat_gateway::Rules as GatewayRules;
use stonechat_router::Rules;

use crate::{
    executor::Step,
    faults::Mix,
    logs::OWNERS,
    oracle::{clients, reference, truth::Truth},
    random::Random,
    router_node::CONSUMERS,
    world::World,
};

/// A rule that a run may break to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A greater version wins.
    Version,
    /// Loading finishes what an interrupted attempt left.
    RollForward,
    /// A fact newer than the command means that the partition was lost.
    FutureFacts,
    /// What was decided before is delivered and published again.
    Republish,
    /// Events first, heads last.
    WriteOrder,
    /// A user log drops what it applied before.
    UserLogIdempotence,
    /// A session's route and interest are registered before it is told what it missed.
    RegisterBeforeSync,
    /// After a moment of doubt everything is registered and every head told again.
    RecheckAfterUnsure,
}

impl Broken {
    /// Every rule.
    pub const ALL: &[Self] = &[
        Self::Version,
        Self::RollForward,
        Self::FutureFacts,
        Self::Republish,
        Self::WriteOrder,
        Self::UserLogIdempotence,
        Self::RegisterBeforeSync,
        Self::RecheckAfterUnsure,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::RollForward => "roll-forward",
            Self::FutureFacts => "future-facts",
            Self::Republish => "republish",
            Self::WriteOrder => "write-order",
            Self::UserLogIdempotence => "user-log-idempotence",
            Self::RegisterBeforeSync => "register-before-sync",
            Self::RecheckAfterUnsure => "recheck-after-unsure",
        }
    }

    /// The rule of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.as_str() == name)
    }
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Whether rows are atomic across tables; drawn from the seed when not said.
    pub atomic: Option<bool>,
    /// The rule that is broken.
    pub broken: Option<Broken>,
    /// Whether what happens is printed.
    pub is_traced: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What went wrong; nothing in a good run.
    pub faults: Vec<String>,
    /// How many tasks were polled.
    pub steps: u64,
    /// How many commands were answered with success.
    pub acked: usize,
    /// How many events there are.
    pub events: usize,
    /// Follows every choice of the run.
    pub fingerprint: u64,
}

/// Polls with faults, at most.
const STORM_STEPS: u64 = 60_000;
/// How many faults strike between two polls at most: each may leave an owner behind that goes on with what it has,
/// and what so many of them do takes longer than the calm.
const STRIKES: usize = 120;
/// Polls without faults until everything is answered, at most.
const CALM_STEPS: u64 = 60_000;
/// Time without faults until everything is answered, at most.
const CALM_US: i64 = 900_000_000;
/// How long everything must have been quiet.
const QUIET_US: i64 = 20_000_000;

fn rules(broken: Option<Broken>) -> Rules {
    Rules {
        roll_forward: broken != Some(Broken::RollForward),
        future_facts: broken != Some(Broken::FutureFacts),
        republish: broken != Some(Broken::Republish),
        write_order: broken != Some(Broken::WriteOrder),
        user_log_idempotence: broken != Some(Broken::UserLogIdempotence),
    }
}

fn gateway_rules(broken: Option<Broken>) -> GatewayRules {
    GatewayRules {
        register_before_sync: broken != Some(Broken::RegisterBeforeSync),
        recheck_after_unsure: broken != Some(Broken::RecheckAfterUnsure),
    }
}

/// Runs a seed.
pub fn run(options: Options) -> Outcome {
    let Options { seed, atomic, broken, is_traced } = options;
    let mut world = World::new(seed, Mix::of_seed(seed, atomic), rules(broken), gateway_rules(broken));
    world.runtime.set_traced(is_traced);
    if broken == Some(Broken::Version) {
        world.rows.break_versions();
    }
    let through = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&through);
    let actors = world.begin(&move || _ = counted.fetch_add(1, Ordering::Relaxed));
    storm(&mut world, seed, || through.load(Ordering::Relaxed) == actors);
    world.calm();
    let mut faults = Vec::new();
    if !settle(&world, || through.load(Ordering::Relaxed) == actors) {
        let (commands, events) = (world.commands.lag(OWNERS), world.events.lag(CONSUMERS[0]));
        let (waiting, through) = (world.history.waiting(), through.load(Ordering::Relaxed));
        let unsettled = world.unsettled();
        faults.push(format!(
            "the world does not become quiet: {through} of {actors} actors through, {waiting} commands unanswered, \
             {commands} commands and {events} events not taken, unsettled devices {unsettled:?}"
        ));
    }
    let truth = Truth::read(&world.rows);
    faults.extend(world.history.check(&truth));
    if !world.faults.mix.is_embedded {
        faults.extend(reference::differences(&world.commands, &world.rows));
    }
    let events = truth.conversations.values().map(|log| log.events.len()).sum::<usize>()
        + truth.users.values().map(|log| log.events.len()).sum::<usize>();
    faults.extend(clients::check(&world.devices, &truth));
    faults.extend(truth.faults);
    let (steps, fingerprint) = (world.runtime.steps(), world.runtime.fingerprint());
    world.runtime.end();
    Outcome { faults, steps, acked: world.history.len(), events, fingerprint }
}

/// Runs while faults strike, until everybody is through or long enough.
fn storm(world: &mut World, seed: u64, is_over: impl Fn() -> bool) {
    let random = Random::new(seed, "storm");
    let mix = Arc::clone(&world.faults.mix);
    let next = |now: u64| match mix.steps_per_fault {
        0 => u64::MAX,
        mean => now + random.between(1, 2 * mean),
    };
    world.faults.turn(true);
    let mut strikes_at = next(0);
    let mut strikes = 0;
    while !is_over() && world.runtime.steps() < STORM_STEPS && world.runtime.step() != Step::Idle {
        if let Some(node) = world.faults.take_struck() {
            world.strike_node(node);
        }
        if strikes < STRIKES && world.runtime.steps() >= strikes_at {
            strikes += 1;
            strikes_at = next(world.runtime.steps());
            if let Some(fault) = mix.draw(&random) {
                world.strike(fault);
            }
        }
    }
}

/// Runs without faults until everything is answered and followed up, and nothing was appended for a while.
fn settle(world: &World, is_over: impl Fn() -> bool) -> bool {
    let (until, until_us) = (world.runtime.steps() + CALM_STEPS, world.runtime.now_us() + CALM_US);
    let appended = || world.commands.len() + world.events.len() + world.rows.writes();
    let mut quiet_since = (0, appended());
    while world.runtime.steps() < until && world.runtime.now_us() < until_us {
        let is_busy = !is_over()
            || !world.unsettled().is_empty()
            || world.commands.lag(OWNERS) > 0
            || world.events.lag(CONSUMERS[0]) > 0;
        let now_us = world.runtime.now_us();
        if is_busy || quiet_since.1 != appended() || quiet_since.0 == 0 {
            quiet_since = (now_us, appended());
        } else if now_us - quiet_since.0 > QUIET_US {
            return true;
        }
        if world.runtime.step() == Step::Idle {
            return !is_busy;
        }
    }
    false
}
