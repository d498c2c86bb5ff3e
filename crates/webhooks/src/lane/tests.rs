//! The lane by cases, and under seeds.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

const SECOND: TimeUs = 1_000_000;

fn rules() -> LaneRules {
    LaneRules {
        window: 8,
        in_flight: 3,
        parked: 4,
        schedule: [1, 5, 20].map(Duration::from_secs).into(),
        break_after: 3,
        failing: Duration::from_secs(86_400),
    }
}

fn lane() -> Lane {
    Lane::new(rules(), 0, Vec::new(), None)
}

fn entry(position: u64, log: &str, seq: u64) -> Entry {
    Entry { position, log: log.into(), kind: 2, seq }
}

fn attempt(lane: &mut Lane, now_us: TimeUs) -> Attempt {
    match lane.next(now_us) {
        Next::Attempt(attempt) => attempt,
        other => panic!("no attempt but {other:?}"),
    }
}

const FAILED: Outcome = Outcome::Failed { retry_after: None };

#[test]
fn a_conversation_waits_for_its_failing_event_and_no_other_does() {
    let mut lane = lane();
    for (position, log, seq) in [(1, "a", 1), (2, "a", 2), (3, "b", 1)] {
        lane.take(entry(position, log, seq));
    }
    let (a, b) = (attempt(&mut lane, 0), attempt(&mut lane, 0));
    assert_eq!((&*a.log, a.seq, &*b.log, b.seq), ("a", 1, "b", 1));
    assert_eq!(lane.done(&a, FAILED, 0, 0.5), Verdict::Again);
    assert_eq!(lane.done(&b, Outcome::Delivered, 0, 0.5), Verdict::Done);
    assert_eq!(lane.next(0), Next::Wait(SECOND));
    assert_eq!(lane.position(), 0);
    let again = attempt(&mut lane, SECOND);
    assert_eq!((again.seq, again.number), (1, 2));
    assert_eq!(lane.done(&again, Outcome::Delivered, SECOND, 0.5), Verdict::Done);
    assert_eq!(attempt(&mut lane, SECOND).seq, 2);
    assert_eq!(lane.position(), 1);
}

#[test]
fn an_event_is_given_up_after_the_whole_schedule_and_the_next_one_goes() {
    let mut lane = lane();
    lane.take(entry(1, "a", 1));
    lane.take(entry(2, "a", 2));
    let mut now_us = 0;
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        while let Next::Wait(until) = lane.next(now_us) {
            now_us = until;
        }
        let attempt = Attempt { log: "a".into(), kind: 2, seq: 1, number: 1 };
        verdicts.push(lane.done(&attempt, FAILED, now_us, 0.5));
    }
    assert_eq!(verdicts, [Verdict::Again, Verdict::Again, Verdict::Again, Verdict::Dead]);
    assert!(now_us >= 26 * SECOND, "{now_us}");
    assert_eq!((lane.position(), lane.held()), (1, Vec::new()));
}

#[test]
fn retry_after_holds_everything_of_the_webhook() {
    let mut lane = lane();
    lane.take(entry(1, "a", 1));
    lane.take(entry(2, "b", 1));
    let a = attempt(&mut lane, 0);
    lane.done(&a, Outcome::Failed { retry_after: Some(Duration::from_secs(90)) }, 0, 0.0);
    assert_eq!(lane.next(0), Next::Wait(90 * SECOND));
    assert_eq!(lane.next(89 * SECOND), Next::Wait(90 * SECOND));
    assert!(matches!(lane.next(90 * SECOND), Next::Attempt(_)));
}

#[test]
fn a_receiver_that_is_gone_gets_nothing_more() {
    let mut lane = lane();
    lane.take(entry(1, "a", 1));
    lane.take(entry(2, "b", 1));
    let a = attempt(&mut lane, 0);
    assert_eq!(lane.done(&a, Outcome::Gone, 0, 0.5), Verdict::Gone);
    assert_eq!((lane.next(SECOND), lane.position()), (Next::Nothing, 0));
}

#[test]
fn a_broken_lane_tries_one_at_a_time_and_everything_once_something_arrives() {
    let mut lane = lane();
    for position in 1..=6 {
        lane.take(entry(position, &format!("log{position}"), 1));
    }
    let first: Vec<_> = (0..3).map(|_| attempt(&mut lane, 0)).collect();
    for attempt in &first {
        lane.done(attempt, FAILED, 0, 0.5);
    }
    assert_eq!(lane.next(0), Next::Wait(SECOND));
    let probe = attempt(&mut lane, SECOND);
    assert_eq!(lane.next(SECOND), Next::Nothing);
    lane.done(&probe, FAILED, SECOND, 0.5);
    assert_eq!(lane.next(SECOND), Next::Wait(3 * SECOND));
    let probe = attempt(&mut lane, 3 * SECOND);
    lane.done(&probe, Outcome::Delivered, 3 * SECOND, 0.5);
    let rest: Vec<_> = (0..3).map(|_| attempt(&mut lane, 3 * SECOND)).collect();
    assert_eq!(rest.len(), 3);
}

#[test]
fn a_webhook_that_takes_nothing_for_days_is_to_be_disabled() {
    let mut lane = Lane::new(rules(), 0, Vec::new(), Some(0));
    lane.take(entry(1, "a", 1));
    let a = attempt(&mut lane, 86_401 * SECOND);
    assert_eq!(lane.done(&a, FAILED, 86_401 * SECOND, 0.5), Verdict::Failing);
    assert_eq!(lane.next(90_000 * SECOND), Next::Nothing);
}

#[test]
fn a_poisoned_conversation_is_parked_so_that_others_go_on() {
    let mut lane = lane();
    let mut position = 0;
    let mut take = |lane: &mut Lane, log: &str, seq| {
        position += 1;
        lane.take(entry(position, log, seq));
    };
    for seq in 1..=8 {
        take(&mut lane, "poison", seq);
    }
    let poison = attempt(&mut lane, 0);
    assert_eq!(lane.room(), 0);
    lane.done(&poison, FAILED, 0, 0.5);
    assert_eq!((lane.room(), lane.position()), (8, 8));
    let held = lane.held();
    assert_eq!((held[0].seq, held[0].parked_to, held[0].attempts), (1, Some(8), 1));
    take(&mut lane, "fine", 1);
    take(&mut lane, "poison", 9);
    let fine = attempt(&mut lane, 0);
    lane.done(&fine, Outcome::Delivered, 0, 0.5);
    // As it was kept, after a restart.
    let mut lane = Lane::new(rules(), lane.position(), lane.held(), None);
    let seqs: Vec<u64> = (0..9)
        .map(|_| {
            let next = attempt(&mut lane, 10 * SECOND);
            lane.done(&next, Outcome::Delivered, 10 * SECOND, 0.5);
            next.seq
        })
        .collect();
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    assert!(lane.is_idle() && lane.held().is_empty());
}

/// What a receiver saw: by log, the seqs in their order.
type Seen = BTreeMap<String, Vec<u64>>;

/// Runs a lane over a random feed with a receiver that fails at random, and with crashes that lose what was not kept.
fn run(seed: u64) -> (Vec<Entry>, Seen) {
    let mut random = StdRng::seed_from_u64(seed);
    let logs = random.random_range(1..12_u64);
    let mut seqs: BTreeMap<u64, u64> = BTreeMap::new();
    let mut position = 0;
    let feed: Vec<Entry> = (0..random.random_range(1..120))
        .map(|_| {
            let log = random.random_range(0..logs);
            let seq = seqs.entry(log).or_default();
            *seq += 1;
            position += random.random_range(1..4_u64);
            entry(position, &format!("log{log}"), *seq)
        })
        .collect();
    let rules = LaneRules { schedule: vec![Duration::from_secs(1); 10_000].into(), ..rules() };
    let mut kept = (0, Vec::new());
    let mut lane = Lane::new(rules.clone(), 0, Vec::new(), None);
    let (mut now_us, mut flying, mut seen): (_, Vec<Attempt>, Seen) = (0, Vec::new(), BTreeMap::new());
    let poison = format!("log{}", random.random_range(0..logs));
    for step in 0.. {
        assert!(step < 200_000, "seed {seed} does not come to an end");
        let unread = feed.partition_point(|entry| entry.position <= lane.read());
        let room = lane.room();
        feed[unread..].iter().take(room).for_each(|entry| lane.take(entry.clone()));
        assert!(lane.undone.len() <= rules.window && lane.held().len() <= rules.window + rules.parked);
        match lane.next(now_us) {
            Next::Attempt(attempt) => flying.push(attempt),
            Next::Wait(until) if flying.is_empty() => now_us = until,
            Next::Nothing if flying.is_empty() && lane.read() >= position => break,
            _ => {}
        }
        assert!(flying.len() <= rules.in_flight);
        if !flying.is_empty() && random.random_bool(0.6) {
            let attempt = flying.swap_remove(random.random_range(0..flying.len()));
            let is_late = *attempt.log == *poison && step < 400;
            let outcome = if is_late || random.random_bool(0.3) { FAILED } else { Outcome::Delivered };
            // A failure may be an answer that got lost.
            if outcome == Outcome::Delivered || random.random_bool(0.2) {
                seen.entry(attempt.log.to_string()).or_default().push(attempt.seq);
            }
            lane.done(&attempt, outcome, now_us, random.random());
        }
        if random.random_bool(0.1) {
            kept = (lane.position(), lane.held());
        }
        if random.random_bool(0.01) {
            flying.clear();
            lane = Lane::new(rules.clone(), kept.0, kept.1.clone(), None);
        }
    }
    assert_eq!(lane.position(), position);
    (feed, seen)
}

#[test]
fn whatever_fails_and_crashes_everything_arrives_in_order() {
    for seed in 0..400 {
        let (feed, seen) = run(seed);
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &feed {
            newest.insert(&entry.log, entry.seq);
        }
        for (log, newest) in newest {
            // What comes for the first time comes in order; the rest are repeats.
            let mut first = 0;
            for seq in &seen[log] {
                assert!(*seq <= first + 1, "seed {seed}: {log} got {seq} after {first}");
                first = first.max(*seq);
            }
            assert_eq!(first, newest, "seed {seed}: {log}");
        }
    }
}
