//! A piece's bytes on their way into the store.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::format::{CHUNK_BYTES, SEALED_CHUNK_BYTES, TAG_BYTES};
use crate::BlobError;

const CHUNK: usize = CHUNK_BYTES as usize;
const SEALED_CHUNK: usize = SEALED_CHUNK_BYTES as usize;
/// Chunks of a segment.
const CHUNKS: usize = 4;

/// The plain bytes of a piece, in segments with room for what sealing adds: they are sealed where they lie, so that a piece
/// is in memory once.
#[derive(Debug, Default)]
pub struct Plain {
    /// Every one is full but the last.
    segments: Vec<Segment>,
    len: usize,
    spare: Option<Spare>,
}

/// Segments that were used and will be again, whichever thread comes next: what one thread frees that another allocated
/// an allocator keeps for the other one.
#[derive(Debug, Clone)]
pub struct Spare {
    segments: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
}

impl Spare {
    /// Keeps so many segments at most.
    pub fn new(most: usize) -> Self {
        Self { segments: Arc::default(), most }
    }

    fn put(&self, mut segment: Vec<u8>) {
        segment.clear();
        let mut segments = self.segments.lock();
        if segments.len() < self.most {
            segments.push(segment);
        }
    }
}

/// Whole chunks, each followed by room for its tag, but for the last one.
#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    spare: Option<Spare>,
    /// Given back when the bytes are gone, wherever they were last.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Plain {
    /// Bytes for which there is room in a segment.
    pub const SEGMENT_BYTES: usize = CHUNKS * CHUNK;

    /// None yet, which will lie in spare segments.
    pub fn in_spare(spare: &Spare) -> Self {
        Self { spare: Some(spare.clone()), ..Self::default() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.segments.len() * Self::SEGMENT_BYTES - self.len
    }

    /// Makes room for a segment, if there is none. `memory` is kept for as long as its bytes are, also beyond this.
    pub fn grow(&mut self, memory: Option<OwnedSemaphorePermit>) {
        if self.room() == 0 {
            let kept = self.spare.as_ref().and_then(|spare| spare.segments.lock().pop());
            let bytes = kept.unwrap_or_else(|| Vec::with_capacity(CHUNKS * SEALED_CHUNK));
            self.segments.push(Segment { bytes, spare: self.spare.clone(), _memory: memory });
        }
    }

    /// Adds bytes; makes room where it has to.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.grow(None);
            let Some(segment) = self.segments.last_mut() else { return };
            let (some, rest) = bytes.split_at(bytes.len().min(segment.room_in_chunk()));
            segment.bytes.extend_from_slice(some);
            self.len += some.len();
            bytes = rest;
        }
    }

    /// Adds the bytes of another one, whose memory is given back as they are.
    pub fn append(&mut self, other: Self) {
        for segment in other.segments {
            if self.room() == 0 {
                self.len += segment.plain().map(<[u8]>::len).sum::<usize>();
                self.segments.push(segment);
            } else {
                segment.plain().for_each(|chunk| self.extend(chunk));
            }
        }
    }

    /// The bytes, chunk by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().flat_map(Segment::plain)
    }

    /// Seals each chunk in its place; none is one empty chunk. `seal` is told which is the last and gives the tag.
    pub(super) fn seal(
        mut self,
        mut seal: impl FnMut(bool, &mut [u8]) -> Result<[u8; TAG_BYTES as usize], BlobError>,
    ) -> Result<Vec<Bytes>, BlobError> {
        if self.segments.is_empty() {
            self.grow(None);
        }
        let count = self.segments.len();
        let sealed = self.segments.into_iter().enumerate().map(|(number, segment)| {
            let is_last = number + 1 == count;
            segment.seal(|is_end, chunk| seal(is_last && is_end, chunk)).map(Bytes::from_owner)
        });
        sealed.collect()
    }
}

impl<B: AsRef<[u8]>> From<B> for Plain {
    fn from(bytes: B) -> Self {
        let mut plain = Self::default();
        plain.extend(bytes.as_ref());
        plain
    }
}

impl Segment {
    /// Bytes that fit into the last chunk, or into a new one, which is begun.
    fn room_in_chunk(&mut self) -> usize {
        if self.bytes.len() % SEALED_CHUNK == CHUNK {
            self.bytes.resize(self.bytes.len() + TAG_BYTES as usize, 0);
        }
        CHUNK - self.bytes.len() % SEALED_CHUNK
    }

    fn plain(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(SEALED_CHUNK).map(|chunk| &chunk[..chunk.len().min(CHUNK)])
    }

    fn seal(
        mut self,
        mut seal: impl FnMut(bool, &mut [u8]) -> Result<[u8; TAG_BYTES as usize], BlobError>,
    ) -> Result<Self, BlobError> {
        // The last chunk's tag has no room yet.
        self.bytes.resize(self.bytes.len() + TAG_BYTES as usize, 0);
        let count = self.bytes.len().div_ceil(SEALED_CHUNK);
        for (number, chunk) in self.bytes.chunks_mut(SEALED_CHUNK).enumerate() {
            let (plain, tag) = chunk.split_at_mut(chunk.len() - TAG_BYTES as usize);
            tag.copy_from_slice(&seal(number + 1 == count, plain)?);
        }
        Ok(self)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(spare) = &self.spare {
            spare.put(std::mem::take(&mut self.bytes));
        }
    }
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_is_added_in_any_portions_is_there_in_order() {
        let bytes = bytes(2 * Plain::SEGMENT_BYTES + CHUNK + 7);
        for portion in [1_000, CHUNK, CHUNK + 1, Plain::SEGMENT_BYTES, bytes.len()] {
            let mut plain = Plain::default();
            bytes.chunks(portion).for_each(|some| plain.extend(some));
            assert_eq!((plain.len(), plain.chunks().collect::<Vec<_>>().concat()), (bytes.len(), bytes.clone()));
            assert!(plain.chunks().count() == 10, "chunks are whole");
            let (first, rest) = bytes.split_at(portion.min(bytes.len() - 1));
            let mut joined = Plain::from(first);
            joined.append(Plain::from(rest));
            assert_eq!((joined.len(), joined.chunks().collect::<Vec<_>>().concat()), (bytes.len(), bytes.clone()));
            assert_eq!(joined.chunks().count(), 10, "chunks are whole");
        }
    }

    #[test]
    fn memory_is_given_back_with_the_last_of_its_bytes() {
        let memory = Arc::new(Semaphore::new(2));
        let mut plain = Plain::default();
        for _ in 0..2 {
            plain.grow(Some(Arc::clone(&memory).try_acquire_owned().unwrap()));
            plain.extend(&bytes(plain.room()));
        }
        let sealed = plain.seal(|_, _| Ok([0; TAG_BYTES as usize])).unwrap();
        let rest = sealed[1].slice(7..9);
        drop(sealed);
        assert_eq!(memory.available_permits(), 1, "a part of the second one is in use");
        drop(rest);
        assert_eq!(memory.available_permits(), 2);
    }

    #[test]
    fn a_segment_is_used_again_and_shows_nothing_of_what_it_held() {
        let spare = Spare::new(1);
        for length in [2 * Plain::SEGMENT_BYTES, 5] {
            let mut plain = Plain::in_spare(&spare);
            plain.extend(&bytes(length));
            let kept = usize::from(length == 5);
            assert_eq!((spare.segments.lock().len(), plain.segments.len()), (0, 2 - kept));
            assert_eq!(plain.chunks().collect::<Vec<_>>().concat(), bytes(length));
            drop(plain.seal(|_, _| Ok([1; TAG_BYTES as usize])).unwrap());
            assert_eq!(spare.segments.lock().len(), 1, "as many as may be kept");
        }
    }
}
