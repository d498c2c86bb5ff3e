//! A token bucket, kept as the time at which it is full again.

use std::time::Duration;

use stonechat_model::TimeUs;

const SECOND_US: i64 = 1_000_000;

/// Fills at a steady rate, up to a burst.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// The time that one request takes.
    step_us: i64,
    /// How far the bucket may be ahead of the clock.
    ahead_us: i64,
    /// When the bucket is full again.
    full_at_us: TimeUs,
}

/// How full a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Requests that are left now.
    pub remaining: u64,
    /// Until it is full again.
    pub full_in: Duration,
    /// Until it takes the next one; zero where it takes one now.
    pub next_in: Duration,
}

impl Bucket {
    /// A full one.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let step_us = (SECOND_US / i64::from(per_s.max(1))).max(1);
        Self { step_us, ahead_us: step_us.saturating_mul(i64::from(burst.max(1))), full_at_us: 0 }
    }

    /// Takes one request; `false` when there are too many.
    pub fn take(&mut self, now_us: TimeUs) -> bool {
        let next = self.full_at_us.max(now_us) + self.step_us;
        if next > now_us + self.ahead_us {
            return false;
        }
        self.full_at_us = next;
        true
    }

    /// Gives back what was taken for something that was not done.
    pub fn give_back(&mut self) {
        self.full_at_us -= self.step_us;
    }

    /// How full it is.
    pub fn level(&self, now_us: TimeUs) -> Level {
        let behind_us = (self.full_at_us - now_us).max(0);
        let free_us = (self.ahead_us - behind_us).max(0);
        let remaining = u64::try_from(free_us / self.step_us).unwrap_or(0);
        let next_us = if remaining > 0 { 0 } else { self.step_us - free_us };
        let time = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
        Level { remaining, full_in: time(behind_us), next_in: time(next_us) }
    }

    /// Whether it is of this rate and burst.
    pub fn is_of(&self, per_s: u32, burst: u32) -> bool {
        let other = Self::new(per_s, burst);
        self.step_us == other.step_us && self.ahead_us == other.ahead_us
    }

    /// Whether nothing was taken from it for as long as it takes to fill.
    pub fn is_full(&self, now_us: TimeUs) -> bool {
        self.full_at_us <= now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_steady_rate() {
        let mut bucket = Bucket::new(10, 3);
        let taken = |bucket: &mut Bucket, now_us| (0..10).filter(|_| bucket.take(now_us)).count();
        assert_eq!(taken(&mut bucket, SECOND_US), 3);
        assert_eq!(taken(&mut bucket, SECOND_US + 99_999), 0);
        assert_eq!(taken(&mut bucket, SECOND_US + 100_000), 1);
        assert_eq!(taken(&mut bucket, SECOND_US * 60), 3);
    }

    #[test]
    fn a_level_says_what_is_left_and_how_long_to_wait() {
        let mut bucket = Bucket::new(10, 3);
        assert_eq!(bucket.level(SECOND_US).remaining, 3);
        assert!(bucket.take(SECOND_US) && bucket.take(SECOND_US) && bucket.take(SECOND_US));
        let level = bucket.level(SECOND_US);
        assert_eq!((level.remaining, level.full_in), (0, Duration::from_millis(300)));
        assert_eq!(level.next_in, Duration::from_millis(100));
        assert!(bucket.take(SECOND_US + 100_000));
        bucket.give_back();
        assert_eq!(bucket.level(SECOND_US + 100_000).next_in, Duration::ZERO);
    }
}
