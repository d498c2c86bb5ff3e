//! How long answers took.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// One bucket per power of two of milliseconds: the last one begins at more than an hour.
const BUCKETS: usize = 24;

/// A coarse count of times, shared by all devices.
#[derive(Debug, Default)]
pub struct Latencies {
    buckets: [AtomicU64; BUCKETS],
}

impl Latencies {
    /// Counts a time.
    pub fn record(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // 0 is a bucket of its own, then 1, 2 to 3, 4 to 7 ...
        let bucket = (u64::BITS - ms.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// A time that so many of a thousand do not exceed, in milliseconds, rounded up to a power of two.
    pub fn at_most_ms(&self, per_mille: u64) -> u64 {
        let counts: Vec<_> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return 1 << bucket;
            }
        }
        1 << BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_times_is_below_the_answer() {
        let latencies = Latencies::default();
        for ms in 0..1000 {
            latencies.record(Duration::from_millis(ms));
        }
        assert_eq!(latencies.at_most_ms(500), 512);
        assert_eq!(latencies.at_most_ms(1000), 1024);
        assert_eq!(Latencies::default().at_most_ms(500), 1);
    }
}
