//! A few rows in memory, for parsers that look something up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_rows::{Key, KeyPart, Put, Range, Row, Rows, RowsError};

/// Rows by table and key; a range is its whole partition, as long as the limit lets it.
#[derive(Default)]
pub struct FewRows {
    rows: Mutex<BTreeMap<(&'static str, Vec<KeyPart>), Row>>,
    /// Keys that were looked for with parts that no key may have.
    misshapen: AtomicUsize,
}

impl FewRows {
    /// No rows yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many keys were looked for that hold NUL, which engines refuse.
    pub fn misshapen(&self) -> usize {
        self.misshapen.load(Ordering::Relaxed)
    }

    fn place(&self, key: &Key) -> (&'static str, Vec<KeyPart>) {
        let holds_nul = |part: &KeyPart| matches!(part, KeyPart::Text(text) if text.contains('\0'));
        if key.parts.iter().any(holds_nul) {
            self.misshapen.fetch_add(1, Ordering::Relaxed);
        }
        (key.table.name, key.parts.to_vec())
    }

    fn put(&self, put: Put) {
        let place = self.place(&put.key);
        self.rows.lock().insert(place, Row { key: put.key, value: put.value, version: put.version });
    }
}

#[async_trait]
impl Rows for FewRows {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        puts.into_iter().for_each(|put| self.put(put));
        Ok(())
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        Ok(keys.iter().map(|key| self.rows.lock().get(&self.place(key)).cloned()).collect())
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        let rows = self.rows.lock();
        let inside = |((table, parts), row): (&(&'static str, Vec<KeyPart>), &Row)| {
            (*table == range.table.name && parts.starts_with(&range.partition)).then(|| row.clone())
        };
        Ok(match range.reverse {
            true => rows.iter().rev().filter_map(inside).take(range.limit).collect(),
            false => rows.iter().filter_map(inside).take(range.limit).collect(),
        })
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        let place = self.place(&put.key);
        let fits = self.rows.lock().get(&place).map(|row| row.version) == expected;
        if fits {
            self.put(put);
        }
        Ok(fits)
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        for key in keys {
            let place = self.place(key);
            self.rows.lock().remove(&place);
        }
        Ok(())
    }
}
