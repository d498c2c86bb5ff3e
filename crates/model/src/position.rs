//! Positions in the command log.

/// A command's place in the command log: `generation * 2^40 + offset`.
///
/// It is also the version of the rows that the command wrote. The generation is counted up whenever
/// offsets begin anew, so a position only grows. It stays below the present time in microseconds
/// (about 2^50.6), which ScyllaDB demands of write timestamps: at most [`Position::GENERATIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(u64);

impl Position {
    /// How many offsets a generation has.
    pub const OFFSETS: u64 = 1 << 40;
    /// How many generations there are.
    pub const GENERATIONS: u64 = 1 << 10;
    /// Before every command.
    pub const ZERO: Self = Self(0);

    /// The position of an offset of a generation; `None` when either is used up.
    pub fn new(generation: u64, offset: u64) -> Option<Self> {
        (generation < Self::GENERATIONS && offset < Self::OFFSETS).then(|| Self(generation * Self::OFFSETS + offset))
    }

    /// Takes what [`Position::get`] gave.
    pub fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// The generation that it is of.
    pub fn generation(self) -> u64 {
        self.0 / Self::OFFSETS
    }

    /// Its offset in its generation.
    pub fn offset(self) -> u64 {
        self.0 % Self::OFFSETS
    }

    /// As a number, which grows with the position.
    pub fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_is_greater_than_every_offset_before() {
        let last = Position::new(3, Position::OFFSETS - 1).unwrap();
        assert!(Position::new(4, 0).unwrap() > last);
        assert_eq!(Position::new(0, Position::OFFSETS), None);
        assert_eq!(Position::new(Position::GENERATIONS, 0), None);
    }

    #[test]
    fn a_position_tells_what_it_was_made_of() {
        let position = Position::new(7, 42).unwrap();
        assert_eq!((position.generation(), position.offset()), (7, 42));
    }

    #[test]
    fn every_position_is_a_past_time_in_microseconds() {
        let newest = Position::new(Position::GENERATIONS - 1, Position::OFFSETS - 1).unwrap();
        assert!(newest.get() < u64::try_from(crate::now_us()).unwrap());
    }
}
