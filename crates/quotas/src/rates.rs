//! The budgets of many subjects, in the memory of one process.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use parking_lot::Mutex;
use stonechat_errors::{Code, Error};
use stonechat_model::{TimeUs, limits};

use crate::{Bucket, Level};

/// Parts that are locked apart.
const SHARDS: usize = 16;

/// One budget that a request costs.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Its name in `RateLimit` and `RateLimit-Policy`.
    pub name: &'static str,
    /// Whose it is.
    pub subject: String,
    /// Requests in a second on average.
    pub per_s: u32,
    /// Requests at once.
    pub burst: u32,
}

/// What was taken from one budget, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The budget's name.
    pub name: &'static str,
    /// Requests at once.
    pub quota: u32,
    /// How long an empty bucket takes to fill, in seconds.
    pub window_s: u64,
    /// What is left.
    pub level: Level,
}

/// Buckets of many subjects.
pub struct Rates {
    shards: Vec<Mutex<HashMap<(&'static str, String), Bucket>>>,
    hasher: RandomState,
}

impl Default for Rates {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Budget {
    fn taken(&self, level: Level) -> Taken {
        let window_s = u64::from(self.burst.max(1)).div_ceil(u64::from(self.per_s.max(1)));
        Taken { name: self.name, quota: self.burst, window_s, level }
    }
}

impl Rates {
    /// Takes one request from each of these budgets, or from none. Gives what is left of each; where one is empty, an
    /// error that says how long to wait, beside what is left.
    pub fn take(&self, budgets: &[Budget], now_us: TimeUs) -> (Vec<Taken>, Result<(), Error>) {
        let mut taken = Vec::with_capacity(budgets.len());
        for (at, budget) in budgets.iter().enumerate() {
            let (done, level) = self.with(budget, now_us, |bucket| (bucket.take(now_us), bucket.level(now_us)));
            taken.push(budget.taken(level));
            if !done {
                budgets[..at].iter().for_each(|earlier| self.with(earlier, now_us, Bucket::give_back));
                return (taken, Err(refusal(budget.name, level.next_in)));
            }
        }
        (taken, Ok(()))
    }

    fn with<T>(&self, budget: &Budget, now_us: TimeUs, work: impl FnOnce(&mut Bucket) -> T) -> T {
        let key = (budget.name, budget.subject.clone());
        let shard = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[shard].lock();
        if shard.len() >= limits::RATE_SUBJECTS / SHARDS && !shard.contains_key(&key) {
            // A bucket that is full is as good as a new one.
            shard.retain(|_, bucket| !bucket.is_full(now_us));
        }
        if shard.len() >= limits::RATE_SUBJECTS / SHARDS && !shard.contains_key(&key) {
            // Everybody is at work at once: a subject without a bucket has the burst of a new one.
            return work(&mut Bucket::new(budget.per_s, budget.burst));
        }
        let bucket = shard.entry(key).or_insert_with(|| Bucket::new(budget.per_s, budget.burst));
        if !bucket.is_of(budget.per_s, budget.burst) {
            *bucket = Bucket::new(budget.per_s, budget.burst);
        }
        work(bucket)
    }
}

fn refusal(name: &'static str, next_in: Duration) -> Error {
    Error::new(Code::RateLimited, format!("the budget {name:?} is used up")).retry_after(next_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(name: &'static str, subject: &str, per_s: u32) -> Budget {
        Budget { name, subject: subject.to_owned(), per_s, burst: per_s }
    }

    #[test]
    fn an_empty_budget_costs_the_others_nothing() {
        let rates = Rates::default();
        let both = [budget("api", "acme", 100), budget("key", "acme k1", 2)];
        let done = (0..5).filter(|_| rates.take(&both, 1_000_000).1.is_ok()).count();
        assert_eq!(done, 2);
        let (taken, _) = rates.take(&both[..1], 1_000_000);
        assert_eq!(taken[0].level.remaining, 97, "what was refused took from the other budget");
        let (_, refused) = rates.take(&both, 1_000_000);
        assert_eq!(refused.unwrap_err().retry_after, Some(Duration::from_millis(500)));
    }

    #[test]
    fn subjects_have_budgets_of_their_own() {
        let rates = Rates::default();
        assert!(rates.take(&[budget("api", "acme", 1)], 1_000_000).1.is_ok());
        assert!(rates.take(&[budget("api", "acme", 1)], 1_000_000).1.is_err());
        assert!(rates.take(&[budget("api", "beta", 1)], 1_000_000).1.is_ok());
    }

    #[test]
    fn a_changed_quota_counts_at_once() {
        let rates = Rates::default();
        assert!(rates.take(&[budget("api", "acme", 1)], 1_000_000).1.is_ok());
        assert!(rates.take(&[budget("api", "acme", 1)], 1_000_000).1.is_err());
        assert!(rates.take(&[budget("api", "acme", 5)], 1_000_000).1.is_ok());
    }
}
