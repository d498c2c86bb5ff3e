//! How a piece is sealed. Pure.
//!
//! A header (mark, version of the tenant's key, salt), then chunks of 64 KiB, each with AES-256-GCM under a key that
//! HKDF-SHA256 derives from the tenant's key, the salt and the piece's name. The nonce of a chunk is its number and
//! whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015): so chunks can be
//! opened alone, and one that was changed, left out, moved or taken from another piece does not open. The key is of one
//! piece, since the salt is: a nonce never comes twice under one key.

use std::ops::Range;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use bytes::Bytes;

use super::Plain;
use crate::{BlobError, BlobKey};

/// Plain bytes of a chunk.
pub const CHUNK_BYTES: u64 = 65_536;
/// What sealing adds to a chunk.
pub const TAG_BYTES: u64 = 16;
/// A chunk as it is stored.
pub const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;
/// What sealed pieces begin with: "Stonechat blob", first form.
const MARK: [u8; 4] = *b"SCB1";
/// Length of a key.
pub const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;

/// What a sealed piece begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version of the tenant's key.
    pub key_version: u32,
    salt: [u8; SALT_BYTES],
}

impl Header {
    /// Its length in bytes.
    pub const BYTES: u64 = (MARK.len() + size_of::<u32>() + SALT_BYTES) as u64;

    /// A header with a salt of its own.
    pub fn fresh(key_version: u32) -> Result<Self, BlobError> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| BlobError::Setup("no random numbers".to_owned()))?;
        Ok(Self { key_version, salt })
    }

    fn encode(&self) -> Bytes {
        [MARK.as_slice(), &self.key_version.to_be_bytes(), &self.salt].concat().into()
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlobError> {
        let read = || {
            let (version, rest) = bytes.strip_prefix(&MARK)?.split_first_chunk::<4>()?;
            Some(Self { key_version: u32::from_be_bytes(*version), salt: rest.try_into().ok()? })
        };
        read().ok_or(BlobError::Corrupt("header of a sealed blob"))
    }
}

/// The key of one piece.
pub struct PieceKey {
    key: LessSafeKey,
    bound: Vec<u8>,
}

impl PieceKey {
    /// Derives the key of a piece from its tenant's.
    pub fn derive(tenant_key: &[u8; KEY_BYTES], header: &Header, key: &BlobKey) -> Result<Self, BlobError> {
        // Neither a tenant's id nor a name holds a NUL.
        let bound = [b"stonechat blob 1\0", key.tenant().as_str().as_bytes(), b"\0", key.name().as_bytes()].concat();
        let derived = Salt::new(HKDF_SHA256, &header.salt).extract(tenant_key);
        let info = [bound.as_slice()];
        let key = derived.expand(&info, &AES_256_GCM).map_err(|_| BlobError::Corrupt("key of a blob"))?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(key)), bound })
    }

    /// Seals the bytes of a piece where they lie.
    pub fn seal(&self, header: &Header, plain: Plain) -> Result<Vec<Bytes>, BlobError> {
        let mut number = 0;
        let chunks = plain.seal(|is_last, chunk| {
            let nonce = nonce(number, is_last);
            number += 1;
            let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&self.bound), chunk);
            tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).ok_or(BlobError::TooLarge)
        })?;
        Ok(std::iter::once(header.encode()).chain(chunks).collect())
    }

    /// Opens the chunks that hold a range of the plain bytes, as [`Layout::stored`] said where they are, and gives the
    /// range.
    pub fn open(&self, layout: &Layout, range: &Range<u64>, mut sealed: Vec<u8>) -> Result<Bytes, BlobError> {
        let wrong = BlobError::Corrupt("sealed blob");
        let chunks = layout.chunks_of(range);
        let mut plain_len = 0;
        let mut at = 0;
        for number in chunks.clone() {
            let length = usize::try_from(layout.sealed_chunk(number)).map_err(|_| wrong.clone())?;
            let chunk = sealed.get_mut(at..at + length).ok_or_else(|| wrong.clone())?;
            let nonce = nonce(number, number + 1 == layout.chunks);
            let opened = self.key.open_in_place(nonce, Aad::from(&self.bound), chunk);
            let opened = opened.map_err(|_| wrong.clone())?.len();
            sealed.copy_within(at..at + opened, plain_len);
            plain_len += opened;
            at += length;
        }
        sealed.truncate(plain_len);
        let skipped = range.start - chunks.start * CHUNK_BYTES;
        let within = |offset: u64| usize::try_from(offset).ok().filter(|offset| *offset <= plain_len);
        let (from, until) = (within(skipped), within(skipped + (range.end - range.start)));
        let (Some(from), Some(until)) = (from, until) else { return Err(wrong) };
        Ok(Bytes::from(sealed).slice(from..until))
    }
}

/// The nonce of a chunk: its number, and whether it is the last.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// Where the chunks of a piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    plain_bytes: u64,
    chunks: u64,
}

impl Layout {
    /// Of a piece of so many plain bytes; an empty one has one empty chunk.
    pub fn of_plain(plain_bytes: u64) -> Self {
        Self { plain_bytes, chunks: plain_bytes.div_ceil(CHUNK_BYTES).max(1) }
    }

    /// Of a sealed piece of so many bytes.
    pub fn of_sealed(sealed_bytes: u64) -> Result<Self, BlobError> {
        let wrong = BlobError::Corrupt("length of a sealed blob");
        let body = sealed_bytes.checked_sub(Header::BYTES).ok_or_else(|| wrong.clone())?;
        let plain = body.checked_sub(body.div_ceil(SEALED_CHUNK_BYTES) * TAG_BYTES).ok_or_else(|| wrong.clone())?;
        let layout = Self::of_plain(plain);
        if layout.sealed_bytes() == sealed_bytes { Ok(layout) } else { Err(wrong) }
    }

    /// Plain bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    fn sealed_bytes(&self) -> u64 {
        Header::BYTES + self.plain_bytes + self.chunks * TAG_BYTES
    }

    /// The numbers of the chunks that hold a range; of an empty range the one where it is.
    fn chunks_of(&self, range: &Range<u64>) -> Range<u64> {
        let first = (range.start / CHUNK_BYTES).min(self.chunks - 1);
        first..range.end.div_ceil(CHUNK_BYTES).clamp(first + 1, self.chunks)
    }

    fn sealed_chunk(&self, number: u64) -> u64 {
        (self.plain_bytes - number * CHUNK_BYTES).min(CHUNK_BYTES) + TAG_BYTES
    }

    /// Which stored bytes hold a range of the plain ones.
    pub fn stored(&self, range: &Range<u64>) -> Result<Range<u64>, BlobError> {
        if range.start > range.end || range.end > self.plain_bytes {
            return Err(BlobError::OutOfRange { size_bytes: self.plain_bytes });
        }
        let chunks = self.chunks_of(range);
        let begin = |chunk: u64| Header::BYTES + chunk * SEALED_CHUNK_BYTES;
        Ok(begin(chunks.start)..begin(chunks.end).min(self.sealed_bytes()))
    }
}

#[cfg(test)]
mod tests;
