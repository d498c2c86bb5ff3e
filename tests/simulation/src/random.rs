//! Randomness that a seed repeats on every machine.

use std::sync::Arc;

use parking_lot::Mutex;

/// A stream of numbers that follows from a seed (xorshift64*, seeded by splitmix64). Clones share it.
#[derive(Clone)]
pub struct Random(Arc<Mutex<u64>>);

fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The stream of a seed for a purpose; the streams of two purposes have nothing to do with each other.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let purpose = purpose.bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
        Self(Arc::new(Mutex::new(mixed(seed ^ purpose) | 1)))
    }

    /// A stream of its own that follows from where this one stands.
    pub fn fork(&self, purpose: &str) -> Self {
        Self::new(self.next(), purpose)
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    /// An index of a list of that length.
    pub fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A number from `low` up to and with `high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of a list.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_purposes_differ() {
        let draw = |seed, purpose| {
            let random = Random::new(seed, purpose);
            (0..20).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "rows"), draw(7, "rows"));
        assert_ne!(draw(7, "rows"), draw(7, "links"));
        assert_ne!(draw(7, "rows"), draw(8, "rows"));
    }

    #[test]
    fn every_number_of_a_range_comes_up() {
        let random = Random::new(1, "range");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.index(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
