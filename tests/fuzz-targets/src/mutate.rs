//! Seeded mutations, as fuzzers do them, without coverage.

/// Values at which integers and lengths break.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 53, i64::MAX as u64, u64::MAX];
/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 20] = [
    b"\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"{",
    b"}",
    b"[",
    b"[[[[[[[[[[[[[[[[",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    "\u{202e}".as_bytes(),
    "👩‍👩‍👧‍👦".as_bytes(),
    b"null",
    b"-1",
    b"1e999",
    b"9223372036854775808",
    b"=",
    b".",
    b"..",
    b"\n",
    b"\"\"\"",
];
/// No input grows beyond the largest frame.
const MOST_BYTES: usize = 65_536;

/// Makes inputs from good ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The same seed makes the same inputs.
    pub fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x5707_ec4a_7bad_cafe }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// An input made from one or two of these, by one to eight changes.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            self.change(&mut data, seeds);
        }
        data.truncate(MOST_BYTES);
        data
    }

    fn change(&mut self, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(data.len() + 1);
        match self.below(9) {
            0 if !data.is_empty() => {
                let at = self.below(data.len());
                data[at] ^= 1 << self.below(8);
            }
            1 if !data.is_empty() => {
                let at = self.below(data.len());
                data[at] = self.next().to_le_bytes()[0];
            }
            2 => data.truncate(at),
            3 => {
                let end = (at + self.below(32)).min(data.len());
                data.drain(at..end);
            }
            4 => {
                let end = (at + self.below(64)).min(data.len());
                let piece = data[at..end].to_vec();
                let times = 1 + self.below(16);
                data.splice(at..at, piece.repeat(times));
            }
            5 => {
                let piece = PIECES[self.below(PIECES.len())].to_vec();
                data.splice(at..at, piece);
            }
            6 => {
                let edge = EDGES[self.below(EDGES.len())];
                let end = (at + self.below(9)).min(data.len());
                let bytes = if self.below(2) == 0 { varint(edge) } else { edge.to_string().into_bytes() };
                data.splice(at..end, bytes);
            }
            7 => {
                let other = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
                let from = self.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => {
                let byte = self.next().to_le_bytes()[0];
                data.insert(at, byte);
            }
        }
    }
}

/// A number as protobuf writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs() {
        let seeds = vec![b"one good input".to_vec(), b"another".to_vec()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.input(&seeds)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
    }

    #[test]
    fn numbers_are_written_as_protobuf_does() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }
}
