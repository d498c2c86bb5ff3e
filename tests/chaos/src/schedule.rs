//! When the server is killed.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Of so many kills one follows another before the server has come to itself, and others by chance.
const AWKWARD_EVERY: usize = 5;
/// How often by chance, in a hundred.
const AWKWARD_PERCENT: u32 = 15;
/// The longest wait before a kill at an awkward moment.
const AWKWARD_MS: u64 = 400;

/// A kill in full run, and those that follow before things are well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// When, from the beginning of the storm.
    pub at: Duration,
    /// What follows.
    pub then: Vec<FollowUp>,
}

/// A kill at an awkward moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUp {
    /// So long after the process was started, be it ready or not.
    AfterStart(Duration),
    /// So long after it said that it is ready, while everybody comes back.
    AfterReady(Duration),
}

/// Spreads kills over a time, some of them at awkward moments if that is wished; the same seed gives the same storm.
/// The last one strikes in the last eighth.
pub fn schedule(seed: u64, length: Duration, kills: usize, is_awkward: bool) -> Vec<Blow> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut blows: Vec<Blow> = Vec::new();
    for nth in 0..kills {
        let by_chance = random.random_range(0..100) < AWKWARD_PERCENT;
        let awkward = is_awkward && nth > 0 && nth + 1 < kills && (by_chance || nth % AWKWARD_EVERY == 2);
        let wait = Duration::from_millis(random.random_range(0..AWKWARD_MS));
        let follow_up = if random.random() { FollowUp::AfterStart(wait) } else { FollowUp::AfterReady(wait) };
        match blows.last_mut() {
            Some(last) if awkward => last.then.push(follow_up),
            _ => blows.push(Blow { at: Duration::ZERO, then: Vec::new() }),
        }
    }
    let slots = u32::try_from(blows.len().max(1)).unwrap_or(u32::MAX);
    let slot = length / slots;
    for (nth, blow) in (0..).zip(&mut blows) {
        let place = if nth + 1 == slots { random.random_range(0.5..0.9) } else { random.random_range(0.1..0.9) };
        blow.at = slot * nth + slot.mul_f64(place);
    }
    blows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_storm_with_every_kill_in_rising_order_and_within_its_time() {
        let length = Duration::from_secs(180);
        for seed in 0..200 {
            let storm = schedule(seed, length, 32, true);
            assert_eq!(storm, schedule(seed, length, 32, true));
            assert_eq!(storm.iter().map(|blow| 1 + blow.then.len()).sum::<usize>(), 32);
            assert!(storm.is_sorted_by_key(|blow| blow.at) && storm.iter().all(|blow| blow.at < length));
        }
        assert_ne!(schedule(1, length, 32, true), schedule(2, length, 32, true));
    }

    #[test]
    fn a_storm_strikes_at_awkward_moments_too() {
        let storm = schedule(7, Duration::from_secs(180), 32, true);
        let follow_ups: Vec<_> = storm.iter().flat_map(|blow| &blow.then).collect();
        assert!(follow_ups.iter().any(|f| matches!(f, FollowUp::AfterStart(_))));
        assert!(follow_ups.iter().any(|f| matches!(f, FollowUp::AfterReady(_))));
    }

    #[test]
    fn no_kills_are_a_storm_too() {
        assert!(schedule(1, Duration::from_secs(5), 0, true).is_empty());
    }

    #[test]
    fn without_awkward_moments_each_kill_stands_alone() {
        let storm = schedule(7, Duration::from_secs(180), 32, false);
        assert!(storm.len() == 32 && storm.iter().all(|blow| blow.then.is_empty()));
    }
}
