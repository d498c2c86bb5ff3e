//! Reading rows, on the caller's task: most of them are in memory.

use bytes::Bytes;
use fjall::Keyspace;
use stonechat_model::limits;

use super::{
    stored::{HASH_BYTES, Stored, encode_key, encode_partition, now_s, place},
    unavailable,
};
use crate::{Key, KeyPart, Range, Row, RowsError, Table};

/// Rows of a range that are read on the caller's task; the rest of a longer one is read on a thread for blocking work.
const ROWS_AT_ONCE: usize = 512;

/// Reads rows by their keys.
pub(super) fn get(keyspaces: &[Keyspace], keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
    if keys.len() > limits::GET_KEYS {
        return Err(RowsError::BadRequest(format!("at most {} keys at once", limits::GET_KEYS)));
    }
    let (now_s, mut scratch) = (now_s(), Vec::with_capacity(128));
    let read = |key: &Key| {
        key.check()?;
        encode_key(key, &mut scratch);
        match keyspaces[place(key.table)?].get(&scratch).map_err(unavailable)? {
            Some(bytes) => row(&bytes, now_s, || Ok(key.clone())),
            None => Ok(None),
        }
    };
    keys.iter().map(read).collect()
}

/// Looks at every row of a table.
pub(super) fn scan(table: &'static Table, keyspace: &Keyspace, look: &mut impl FnMut(&Row)) -> Result<(), RowsError> {
    let now_s = now_s();
    for item in keyspace.iter() {
        let (key, value) = item.into_inner().map_err(unavailable)?;
        let key = || Key::decode(table, key.get(HASH_BYTES..).unwrap_or_default());
        if let Some(row) = row(&value, now_s, key)? {
            look(&row);
        }
    }
    Ok(())
}

/// Reads a range.
pub(super) async fn range(keyspaces: &[Keyspace], range: Range) -> Result<Vec<Row>, RowsError> {
    range.check()?;
    let (from, until) = bounds(&range);
    if from >= until || range.limit == 0 {
        return Ok(Vec::new());
    }
    let found = keyspaces[place(range.table)?].range(from..until);
    let partition: usize = range.partition.iter().map(KeyPart::encoded_len).sum();
    let mut scan = Scan { now_s: now_s(), key_from: HASH_BYTES + partition, found, rows: Vec::new(), range };
    if scan.read(ROWS_AT_ONCE)? {
        return Ok(scan.rows);
    }
    let rest = move || scan.read(usize::MAX).map(|_| scan.rows);
    tokio::task::spawn_blocking(rest).await.map_err(unavailable)?
}

/// A range on its way.
struct Scan {
    range: Range,
    found: fjall::Iter,
    /// Where the clustering parts begin in a stored key.
    key_from: usize,
    now_s: u32,
    rows: Vec<Row>,
}

impl Scan {
    /// Looks at so many further rows; says whether the range is read.
    fn read(&mut self, at_once: usize) -> Result<bool, RowsError> {
        for _ in 0..at_once {
            let next = if self.range.reverse { self.found.next_back() } else { self.found.next() };
            let Some(item) = next else { return Ok(true) };
            let (key, value) = item.into_inner().map_err(unavailable)?;
            let Range { table, partition, .. } = &self.range;
            let clustering = key.get(self.key_from..).unwrap_or_default();
            self.rows.extend(row(&value, self.now_s, || Key::decode_clustering(table, partition, clustering))?);
            if self.rows.len() >= self.range.limit {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn row(bytes: &[u8], now_s: u32, key: impl FnOnce() -> Result<Key, RowsError>) -> Result<Option<Row>, RowsError> {
    let stored = Stored::decode(bytes)?;
    if stored.is_expired(now_s) {
        return Ok(None);
    }
    // Copied, since the stored bytes keep a whole block in memory.
    Ok(Some(Row { key: key()?, value: Bytes::copy_from_slice(stored.value), version: stored.version }))
}

/// The stored bounds of a range: from the first, until before the second.
fn bounds(range: &Range) -> (Vec<u8>, Vec<u8>) {
    let mut prefix = Vec::with_capacity(64);
    encode_partition(&range.partition, &mut prefix);
    let with = |parts: &[KeyPart]| {
        let mut bytes = prefix.clone();
        parts.iter().for_each(|part| part.encode(&mut bytes));
        bytes
    };
    let from = range.from.as_deref().map_or_else(|| prefix.clone(), with);
    let until = range.until.as_deref().map_or_else(|| after_all(&prefix), with);
    (from, until)
}

/// The least bytes after everything that begins with a prefix.
fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return bytes;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}
