//! A share of the seeds, and that the simulation notices each rule that is broken.
//! `cargo run --release -p stonechat-simulation -- --seeds 0..10000` runs more of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use stonechat_simulation::run::{Broken, Options, Outcome, run};

/// Seeds that must be clean here.
const CLEAN: u64 = 400;
/// Seeds among which a broken rule must be noticed. The first that notices ends the search: of the rule that is seen
/// least, that of versions, one seed of 200 does.
const NOTICED: u64 = 4_000;

fn run_seed(seed: u64, broken: Option<Broken>) -> Outcome {
    run(Options { seed, atomic: None, broken, is_traced: false })
}

/// Runs seeds on every core until one gives something.
fn find<T: Send>(until: u64, look: impl Fn(u64) -> Option<T> + Sync) -> Option<T> {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let look_on = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= until {
                    return None;
                }
                if let Some(found) = look(seed) {
                    next.store(until, Ordering::Relaxed);
                    return Some(found);
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(look_on)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).next()
    })
}

#[test]
fn every_client_ends_with_every_event_it_may_see() {
    let failed = find(CLEAN, |seed| {
        let outcome = run_seed(seed, None);
        (!outcome.faults.is_empty()).then_some((seed, outcome.faults))
    });
    assert_eq!(failed, None, "replay: cargo run --release -p stonechat-simulation -- --seed N --trace true");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..20 {
        let runs = [run_seed(seed, None), run_seed(seed, None)];
        assert_eq!(runs[0].fingerprint, runs[1].fingerprint, "seed {seed}");
        assert_eq!(runs[0].events, runs[1].events, "seed {seed}");
    }
}

#[test]
fn runs_do_something() {
    let (mut acked, mut events) = (0, 0);
    for seed in 0..40 {
        let outcome = run_seed(seed, None);
        acked += outcome.acked;
        events += outcome.events;
    }
    assert!(acked > 400, "{acked} answers");
    assert!(events > 600, "{events} events");
}

fn assert_noticed(broken: Broken) {
    let seed = find(NOTICED, |seed| (!run_seed(seed, Some(broken)).faults.is_empty()).then_some(seed));
    assert!(seed.is_some(), "{NOTICED} seeds do not notice that {} is broken", broken.as_str());
}

#[test]
fn a_broken_version_rule_is_noticed() {
    assert_noticed(Broken::Version);
}

#[test]
fn a_missing_roll_forward_is_noticed() {
    assert_noticed(Broken::RollForward);
}

#[test]
fn facts_from_the_future_are_noticed() {
    assert_noticed(Broken::FutureFacts);
}

#[test]
fn what_is_not_republished_is_noticed() {
    assert_noticed(Broken::Republish);
}

#[test]
fn another_order_of_writes_is_noticed() {
    assert_noticed(Broken::WriteOrder);
}

#[test]
fn a_user_log_that_applies_twice_is_noticed() {
    assert_noticed(Broken::UserLogIdempotence);
}

#[test]
fn a_sync_before_registration_is_noticed() {
    assert_noticed(Broken::RegisterBeforeSync);
}

#[test]
fn a_missing_recheck_is_noticed() {
    assert_noticed(Broken::RecheckAfterUnsure);
}
