//! Bytes at a place, read in bounded steps.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use crate::MediaError;

/// How much is read at once.
const WINDOW_BYTES: usize = 65_536;
/// Most steps that one file may take: an hour's voice message in containers that do not say their duration.
const STEPS: u32 = 400_000;
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 256;

/// Bytes that can be read at any place.
pub trait Source: Send + Sync {
    /// How many there are.
    fn size_bytes(&self) -> u64;

    /// Reads some bytes at a place; 0 at the end.
    ///
    /// # Errors
    /// They cannot be read.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Source for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let count = into.len().min(self.len() - from);
        into[..count].copy_from_slice(&self[from..from + count]);
        Ok(count)
    }
}

impl Source for File {
    fn size_bytes(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        use std::io::{Read, Seek};
        let mut file = self;
        file.seek(io::SeekFrom::Start(at))?;
        file.read(into)
    }
}

/// When work on a file has to be done.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Never: for tests and tools.
    pub const NEVER: Self = Self(None);

    /// This long from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// Fails when it has passed.
    ///
    /// # Errors
    /// It has.
    pub fn check(self) -> Result<(), MediaError> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(MediaError::TimedOut),
            _ => Ok(()),
        }
    }
}

/// Reads a source step by step, a window at a time.
pub(crate) struct Reading<'a> {
    source: &'a dyn Source,
    size: u64,
    deadline: Deadline,
    steps: u32,
    window_at: u64,
    window: Vec<u8>,
}

impl<'a> Reading<'a> {
    /// Reads this source until then.
    pub fn new(source: &'a dyn Source, deadline: Deadline) -> Self {
        let size = source.size_bytes();
        Self { source, size, deadline, steps: 0, window_at: 0, window: Vec::new() }
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Counts a step.
    pub fn step(&mut self) -> Result<(), MediaError> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(MediaError::TooManySteps);
        }
        if self.steps.is_multiple_of(STEPS_PER_LOOK) {
            self.deadline.check()?;
        }
        Ok(())
    }

    /// Up to `most` bytes at a place, at most a window; fewer at the end only.
    pub fn some(&mut self, at: u64, most: usize) -> Result<&[u8], MediaError> {
        self.step()?;
        let wanted = most.min(WINDOW_BYTES).min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX));
        let covered = at >= self.window_at
            && at.saturating_add(wanted as u64) <= self.window_at.saturating_add(self.window.len() as u64);
        if !covered {
            self.fill(at)?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX).min(self.window.len());
        Ok(&self.window[from..(from + wanted).min(self.window.len())])
    }

    fn fill(&mut self, at: u64) -> Result<(), MediaError> {
        self.window.resize(WINDOW_BYTES, 0);
        let mut filled = 0;
        while filled < WINDOW_BYTES {
            match self.source.read_at(at + filled as u64, &mut self.window[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.window.truncate(filled);
        self.window_at = at;
        Ok(())
    }

    /// Exactly so many bytes at a place.
    pub fn exact<const N: usize>(&mut self, at: u64) -> Result<[u8; N], MediaError> {
        self.some(at, N)?.try_into().map_err(|_| MediaError::Malformed("it ends too early"))
    }
}

/// Every byte, where there are no more than `most`.
pub(crate) fn all(source: &dyn Source, most: u64) -> Result<Vec<u8>, MediaError> {
    let size = source.size_bytes();
    if size > most {
        return Err(MediaError::TooLarge(size));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| MediaError::TooLarge(size))?];
    let mut filled = 0;
    while filled < bytes.len() {
        match source.read_at(filled as u64, &mut bytes[filled..])? {
            0 => return Err(MediaError::Malformed("it ends too early")),
            count => filled += count,
        }
    }
    Ok(bytes)
}
