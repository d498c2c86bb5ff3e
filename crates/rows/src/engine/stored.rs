//! How a row's value stands in the store: a header of twelve bytes, then the value.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};

use crate::RowsError;

/// Version (8 bytes, big-endian) and expiry in seconds since 1970 (4 bytes, big-endian; 0: never).
const HEADER_BYTES: usize = 12;

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

/// The present time in seconds since 1970.
pub(super) fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// The stored form of a row that expires `ttl_s` seconds after `now_s`; `None`: never.
pub(super) fn encode(version: u64, ttl_s: Option<u64>, now_s: u32, value: &Bytes) -> Vec<u8> {
    let expires_s = ttl_s.map_or(0, |ttl| now_s.saturating_add(u32::try_from(ttl).unwrap_or(u32::MAX)));
    let mut stored = Vec::with_capacity(HEADER_BYTES + value.len());
    stored.extend_from_slice(&version.to_be_bytes());
    stored.extend_from_slice(&expires_s.to_be_bytes());
    stored.extend_from_slice(value);
    stored
}

impl<'a> Stored<'a> {
    /// Takes apart what [`encode`] gave.
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

/// Drops expired rows while the store compacts, so that they cost no scan of their own.
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
    fn filter_item(
        &mut self,
        item: ItemAccessor<'_>,
        _: &Context,
    ) -> fjall::compaction::filter::CompactionFilterResult {
        let value = item.value()?;
        let is_expired = Stored::decode(&value).is_ok_and(|stored| stored.is_expired(self.now_s));
        Ok(if is_expired { Verdict::Remove } else { Verdict::Keep })
    }
}
