//! How fast a session may ask: a token bucket.

use std::time::Duration;

use stonechat_errors::{Code, Error};
use stonechat_model::TimeUs;

const SECOND_US: i64 = 1_000_000;

/// Fills at a steady rate, up to a burst.
pub(crate) struct Bucket {
    /// The time that one request takes.
    step_us: i64,
    /// How far the bucket may be ahead of the clock.
    ahead_us: i64,
    /// When the bucket is full again.
    full_at_us: TimeUs,
}

impl Bucket {
    pub fn new(per_s: u32, burst: u32) -> Self {
        let step_us = SECOND_US / i64::from(per_s.max(1));
        Self { step_us, ahead_us: step_us * i64::from(burst.max(1)), full_at_us: 0 }
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

    /// What to answer then.
    pub fn refusal(&self) -> Error {
        let wait = Duration::from_micros(u64::try_from(self.step_us).unwrap_or(0));
        Error::new(Code::RateLimited, "too many frames").retry_after(wait.max(Duration::from_millis(10)))
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
}
