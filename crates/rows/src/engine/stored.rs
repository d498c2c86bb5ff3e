//! How rows stand in the store.
//!
//! A key is four bytes of its partition's hash and [`Key::encode`]'s bytes. Rows of a partition stay together and in
//! order, which is all that ranges need; that keys differ in their first bytes makes comparing them cheap, and
//! comparing keys is most of what a write costs.
//!
//! A value is its version (8 bytes, big-endian), when it expires in seconds since 1970 (4 bytes, big-endian;
//! 0: never), then the value.

use std::{
    hash::{Hash, Hasher},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fjall::{
    Slice,
    compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict},
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Key, KeyPart, Put, RowsError, Table, tables};

/// Bytes of the partition's hash before a key.
pub(super) const HASH_BYTES: usize = 4;
/// The store's own limit of a key.
const KEY_BYTES: usize = u16::MAX as usize;

/// A stored row taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    /// The version it was written with.
    pub version: u64,
    /// When it expires, in seconds since 1970; 0: never.
    expires_s: u32,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Takes apart what [`Write::of`] made.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RowsError> {
        let parts = bytes.split_first_chunk::<8>().and_then(|(version, rest)| {
            let (expires, value) = rest.split_first_chunk::<4>()?;
            Some((version, expires, value))
        });
        let (version, expires, value) = parts.ok_or_else(|| RowsError::Corrupt("row without header".to_owned()))?;
        Ok(Self { version: u64::from_be_bytes(*version), expires_s: u32::from_be_bytes(*expires), value })
    }

    /// Whether it is to be had no more.
    pub fn is_expired(&self, now_s: u32) -> bool {
        self.expires_s != 0 && self.expires_s <= now_s
    }
}

/// What encoding takes.
pub(super) struct Encoder {
    /// The engine's, which nobody outside knows: keys are chosen by tenants, their hashes are not.
    seed: u64,
    now_s: u32,
    /// Saves allocations.
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder of the present.
    pub fn new(seed: u64) -> Self {
        Self { seed, now_s: now_s(), scratch: Vec::with_capacity(512) }
    }
}

/// A key as it stands in the store, with its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredKey {
    /// The table's place in [`tables::ALL`].
    pub table: usize,
    /// Of the bytes, with the engine's seed.
    pub hash: u64,
    pub bytes: Slice,
}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl StoredKey {
    /// The stored form of a key.
    pub fn of(key: &Key, encoder: &mut Encoder) -> Result<Self, RowsError> {
        let Encoder { seed, scratch, .. } = encoder;
        let table = place(key.table)?;
        key.check()?;
        encode_key(key, scratch);
        if scratch.len() > KEY_BYTES {
            return Err(RowsError::BadRequest(format!("key is longer than {KEY_BYTES} bytes")));
        }
        Ok(Self { table, hash: xxh3_64_with_seed(scratch, *seed), bytes: Slice::from(scratch.as_slice()) })
    }
}

/// A put as it will stand in the store.
#[derive(Debug)]
pub(super) struct Write {
    pub key: StoredKey,
    pub version: u64,
    pub value: Slice,
}

impl Write {
    /// The stored form of a put.
    pub fn of(put: &Put, encoder: &mut Encoder) -> Result<Self, RowsError> {
        put.check()?;
        let key = StoredKey::of(&put.key, encoder)?;
        let Encoder { scratch, now_s, .. } = encoder;
        scratch.clear();
        scratch.extend_from_slice(&put.version.to_be_bytes());
        scratch.extend_from_slice(&put.ttl.map_or(0, |ttl| expiry_s(ttl, *now_s)).to_be_bytes());
        scratch.extend_from_slice(&put.value);
        Ok(Self { key, version: put.version, value: Slice::from(scratch.as_slice()) })
    }

    /// What it adds to a commit.
    pub fn size_bytes(&self) -> usize {
        self.key.bytes.len() + self.value.len()
    }
}

/// A whole second that is not before the end of the time to live: the present one has begun already.
fn expiry_s(ttl: Duration, now_s: u32) -> u32 {
    let ttl_s = u32::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    now_s.saturating_add(ttl_s).saturating_add(1)
}

/// The present time in seconds since 1970.
pub(super) fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// A table's place in [`tables::ALL`].
pub(super) fn place(table: &'static Table) -> Result<usize, RowsError> {
    let place = tables::ALL.iter().position(|known| std::ptr::eq(*known, table));
    place.ok_or_else(|| RowsError::BadRequest(format!("table {} is not declared", table.name)))
}

/// Puts a partition's part of a key in place of what `to` holds.
pub(super) fn encode_partition(partition: &[KeyPart], to: &mut Vec<u8>) {
    to.clear();
    to.extend_from_slice(&[0; HASH_BYTES]);
    partition.iter().for_each(|part| part.encode(to));
    let hash = xxh3_64(&to[HASH_BYTES..]).to_be_bytes();
    to[..HASH_BYTES].copy_from_slice(&hash[..HASH_BYTES]);
}

/// Puts a key in place of what `to` holds.
pub(super) fn encode_key(key: &Key, to: &mut Vec<u8>) {
    encode_partition(key.partition(), to);
    key.clustering().iter().for_each(|part| part.encode(to));
}

/// Drops expired rows while the store compacts, so that they cost no scan of their own.
///
/// A dropped row leaves a tombstone, so that no older row of its key comes up again.
pub(super) struct DropExpired;

impl Factory for DropExpired {
    fn name(&self) -> &'static str {
        "drop-expired"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter { now_s: now_s() })
    }
}

struct Filter {
    now_s: u32,
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = item.value()?;
        let is_expired = Stored::decode(&value).is_ok_and(|stored| stored.is_expired(self.now_s));
        Ok(if is_expired { Verdict::Remove } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(ttl: Option<Duration>, now_s: u32) -> Write {
        let put = Put { key: tables::stream(3, 7), value: "value".into(), version: 9, ttl };
        Write::of(&put, &mut Encoder { now_s, ..Encoder::new(0) }).unwrap()
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let write = write(None, 100);
        let stored = Stored::decode(&write.value).unwrap();
        assert_eq!((stored.version, stored.value), (9, "value".as_bytes()));
        assert!(!stored.is_expired(u32::MAX));
    }

    #[test]
    fn a_row_expires_not_before_its_time_to_live() {
        let write = write(Some(Duration::from_millis(1_001)), 100);
        let stored = Stored::decode(&write.value).unwrap();
        assert!(!stored.is_expired(102));
        assert!(stored.is_expired(103));
    }

    #[test]
    fn a_value_without_header_is_corrupt() {
        assert!(matches!(Stored::decode(b"short"), Err(RowsError::Corrupt(_))));
    }

    #[test]
    fn keys_of_a_partition_share_their_hash_and_keep_their_order() {
        let (mut first, mut second, mut other) = (Vec::new(), Vec::new(), Vec::new());
        encode_key(&tables::stream(3, 255), &mut first);
        encode_key(&tables::stream(3, 256), &mut second);
        encode_key(&tables::stream(4, 0), &mut other);
        assert_eq!(first[..HASH_BYTES], second[..HASH_BYTES]);
        assert_ne!(first[..HASH_BYTES], other[..HASH_BYTES]);
        assert!(first < second);
    }
}
