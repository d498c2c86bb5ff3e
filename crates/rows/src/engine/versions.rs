//! What is known of stored versions without reading them.
//!
//! A put must not replace a greater version, and reading the stored version before each put would cost more than
//! the put. So the writer keeps upper bounds: a slot for each of many hashes of keys, which holds the greatest
//! version that a key of this hash was ever written with. A put at or above its slot replaces whatever is stored and
//! nothing is read; only one below has to read. Positions grow, so that hardly happens.
//!
//! For what was written before the store was opened there is a ceiling per table, at or above every version the
//! table was ever written with. It is stored in the batch that first exceeds it, rounded up by so much that this
//! is once per generation of positions.

use fjall::Keyspace;
use stonechat_model::Position;

use super::{stored::StoredKey, unavailable};
use crate::{RowsError, Table, tables};

/// Slots of a table; a power of two. More would only help puts that race on different keys.
const SLOTS: usize = 1 << 15;

/// Upper bounds of stored versions.
pub(super) struct Versions {
    tables: Vec<Bounds>,
}

struct Bounds {
    slots: Box<[u64]>,
    ceiling: u64,
}

impl Versions {
    /// Reads the ceilings of the tables.
    pub fn load(ceilings: &Keyspace, tables: &[Keyspace]) -> Result<Self, RowsError> {
        let load = |(table, keyspace): (&&Table, &Keyspace)| {
            let ceiling = match ceilings.get(table.name).map_err(unavailable)? {
                Some(bytes) => decode_ceiling(&bytes)?,
                // Rows without a ceiling: nothing is known of them.
                None if !keyspace.is_empty().map_err(unavailable)? => u64::MAX,
                None => 0,
            };
            Ok(Bounds { slots: vec![ceiling; SLOTS].into(), ceiling })
        };
        let tables = tables::ALL.iter().zip(tables).map(load).collect::<Result<_, _>>()?;
        Ok(Self { tables })
    }

    /// Whether no greater version than this can stand at the key.
    pub fn is_newest(&self, key: &StoredKey, version: u64) -> bool {
        version >= self.tables[key.table].slots[slot(key)]
    }

    /// Takes note of a version that will stand at the key. Gives the table's new ceiling when it has to be stored.
    pub fn note(&mut self, key: &StoredKey, version: u64) -> Option<u64> {
        let slot = slot(key);
        let bounds = &mut self.tables[key.table];
        bounds.slots[slot] = bounds.slots[slot].max(version);
        if version <= bounds.ceiling {
            return None;
        }
        bounds.ceiling = version | (Position::OFFSETS - 1);
        Some(bounds.ceiling)
    }
}

fn slot(key: &StoredKey) -> usize {
    key.hash as usize % SLOTS
}

fn decode_ceiling(bytes: &[u8]) -> Result<u64, RowsError> {
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| RowsError::Corrupt("ceiling of versions".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}
