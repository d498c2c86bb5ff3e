//! Rows in memory that fail as real ones do: slow, unknown outcomes, and without atomic batches any prefix of
//! a write and a put that lands long after its writer gave up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use stonechat_model::limits;
use stonechat_rows::{Column, ColumnKind, Key, KeyPart, Put, Range, Row, Rows, RowsError, Table};

use crate::{
    executor::WORLD,
    faults::{Fate, Faults},
    random::Random,
};

#[derive(Clone)]
struct Stored {
    value: Bytes,
    version: u64,
    expires_us: Option<i64>,
}

type Tables = BTreeMap<&'static str, BTreeMap<Vec<u8>, Stored>>;

struct Disk {
    tables: Mutex<Tables>,
    has_versions: AtomicBool,
    writes: AtomicUsize,
    faults: Faults,
    random: Random,
}

/// The simulated engine. Clones are the same one.
#[derive(Clone)]
pub struct SimRows {
    disk: Arc<Disk>,
}

fn unavailable() -> RowsError {
    RowsError::Unavailable("simulated".into())
}

impl Disk {
    fn apply(&self, put: &Put) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let now_us = self.faults.runtime.now_us();
        let ttl = put.ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let expires_us = ttl.map(|ttl| now_us.saturating_add(ttl));
        let stored = Stored { value: put.value.clone(), version: put.version, expires_us };
        let mut tables = self.tables.lock();
        let rows = tables.entry(put.key.table.name).or_default();
        let key = put.key.encode();
        let has_versions = self.has_versions.load(Ordering::Relaxed);
        self.faults.runtime.trace(|| {
            let parts: Vec<_> = put.key.parts.iter().skip(1).map(describe).collect();
            format!("row {} {} version {}", put.key.table.name, parts.join("/"), put.version % (1 << 40))
        });
        match rows.get(&key) {
            Some(present) if has_versions && !is_expired(present, now_us) && self.stays(present, &stored) => {}
            _ => drop(rows.insert(key, stored)),
        }
    }

    /// Whether a row stays although another one of its key is written. Without atomic batches, of equal versions the
    /// greater bytes stay, as in ScyllaDB.
    fn stays(&self, present: &Stored, other: &Stored) -> bool {
        let greater_bytes = !self.faults.mix.rows_are_atomic && present.value > other.value;
        present.version > other.version || (present.version == other.version && greater_bytes)
    }

    fn read(&self, key: &Key) -> Option<Row> {
        let tables = self.tables.lock();
        let stored = tables.get(key.table.name)?.get(&key.encode())?;
        if is_expired(stored, self.faults.runtime.now_us()) {
            return None;
        }
        Some(Row { key: key.clone(), value: stored.value.clone(), version: stored.version })
    }
}

fn describe(part: &KeyPart) -> String {
    match part {
        KeyPart::Text(text) => text.to_string(),
        KeyPart::Number(number) => number.to_string(),
    }
}

fn is_expired(stored: &Stored, now_us: i64) -> bool {
    stored.expires_us.is_some_and(|expires_us| expires_us <= now_us)
}

/// Puts on their way to the disk. Dropped before they landed (their writer died or gave up), they may still
/// land, now or later, or never.
struct InFlight {
    disk: Arc<Disk>,
    puts: Vec<Put>,
}

impl InFlight {
    fn land(mut self) {
        std::mem::take(&mut self.puts).iter().for_each(|put| self.disk.apply(put));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let puts = std::mem::take(&mut self.puts);
        if puts.is_empty() {
            return;
        }
        let kinds = if self.disk.faults.mix.is_embedded { 2 } else { 3 };
        match (kinds, self.disk.random.below(kinds)) {
            (_, 0) => puts.iter().for_each(|put| self.disk.apply(put)),
            (3, 1) => {
                let (disk, after_us) = (Arc::clone(&self.disk), self.disk.random.between(1_000, 4_000_000));
                let runtime = disk.faults.runtime.clone();
                let sleep = runtime.sleep(after_us);
                runtime.spawn(WORLD, async move {
                    sleep.await;
                    puts.iter().for_each(|put| disk.apply(put));
                });
            }
            _ => {}
        }
    }
}

impl SimRows {
    /// Empty rows.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let random = Random::new(seed, "rows");
        let has_versions = AtomicBool::new(true);
        Self {
            disk: Arc::new(Disk {
                tables: Mutex::default(),
                has_versions,
                writes: AtomicUsize::new(0),
                faults,
                random,
            }),
        }
    }

    /// Breaks the version rule: the last write wins.
    pub fn break_versions(&self) {
        self.disk.has_versions.store(false, Ordering::Relaxed);
    }

    /// How many rows were written so far.
    pub fn writes(&self) -> usize {
        self.disk.writes.load(Ordering::Relaxed)
    }

    /// Writes at once.
    pub fn seed_row(&self, put: &Put) {
        self.disk.apply(put);
    }

    /// Every row of a table as it is now, in the order of the keys.
    pub fn dump(&self, table: &'static Table) -> Vec<Row> {
        let tables = self.disk.tables.lock();
        let rows = tables.get(table.name).into_iter().flatten();
        rows.filter_map(|(key, stored)| {
            let key = Key::decode(table, key).ok()?;
            Some(Row { key, value: stored.value.clone(), version: stored.version })
        })
        .collect()
    }

    async fn latency(&self) {
        self.disk.faults.latency(&self.disk.random, self.disk.faults.mix.rows_slow).await;
    }

    fn fate(&self) -> Fate {
        self.disk.faults.fate(&self.disk.random, self.disk.faults.mix.rows_fail)
    }

    fn send(&self, puts: Vec<Put>) -> InFlight {
        InFlight { disk: Arc::clone(&self.disk), puts }
    }

    async fn write_all_or_none(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        let fate = self.fate();
        let in_flight = self.send(puts);
        self.latency().await;
        if fate == Fate::NotDone {
            return Err(unavailable());
        }
        in_flight.land();
        self.latency().await;
        if fate == Fate::Done { Ok(()) } else { Err(unavailable()) }
    }

    async fn write_one_by_one(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        let fate = self.fate();
        let fails_at = self.disk.random.index(puts.len());
        for (index, put) in puts.into_iter().enumerate() {
            let in_flight = self.send(vec![put]);
            if self.disk.random.chance(300) {
                self.latency().await;
            }
            if fate == Fate::NotDone && index == fails_at {
                return Err(unavailable());
            }
            in_flight.land();
            self.disk.faults.step(&self.disk.random);
        }
        self.latency().await;
        if fate == Fate::Done { Ok(()) } else { Err(unavailable()) }
    }
}

fn is_in(range: &Range, clustering: &[KeyPart]) -> bool {
    let prefix = |bound: &Vec<KeyPart>| clustering[..bound.len().min(clustering.len())].to_vec();
    range.from.as_ref().is_none_or(|from| prefix(from) >= *from)
        && range.until.as_ref().is_none_or(|until| prefix(until) < *until)
}

fn check_put(put: &Put) -> Result<(), RowsError> {
    put.key.check()?;
    match put.ttl {
        Some(_) if !put.key.table.expires => Err(RowsError::BadRequest("rows of this table do not expire".into())),
        _ => Ok(()),
    }
}

fn check_range(range: &Range) -> Result<(), RowsError> {
    let fits = |columns: &[Column], parts: &[KeyPart]| {
        let is_kind = |(column, part): (&Column, &KeyPart)| match part {
            KeyPart::Text(_) => column.kind == ColumnKind::Text,
            KeyPart::Number(_) => column.kind == ColumnKind::Number,
        };
        parts.len() <= columns.len() && columns.iter().zip(parts).all(is_kind)
    };
    let table = range.table;
    let bounds_fit = [&range.from, &range.until].into_iter().flatten().all(|bound| fits(table.clustering, bound));
    if range.partition.len() != table.partition.len() || !fits(table.partition, &range.partition) || !bounds_fit {
        return Err(RowsError::BadRequest(format!("range is not of the shape of {}", table.name)));
    }
    if range.limit > limits::RANGE_ROWS {
        return Err(RowsError::BadRequest("range is too large".into()));
    }
    Ok(())
}

fn check_size(len: usize) -> Result<(), RowsError> {
    if len > limits::GET_KEYS { Err(RowsError::BadRequest("too many keys".into())) } else { Ok(()) }
}

#[async_trait]
impl Rows for SimRows {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        puts.iter().try_for_each(check_put)?;
        if puts.is_empty() {
            return Ok(());
        }
        match self.disk.faults.mix.rows_are_atomic {
            true => self.write_all_or_none(puts).await,
            false => self.write_one_by_one(puts).await,
        }
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        check_size(keys.len())?;
        keys.iter().try_for_each(Key::check)?;
        self.latency().await;
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            // Without atomic batches, two keys are not read at one moment.
            if !self.disk.faults.mix.rows_are_atomic && self.disk.random.chance(50) {
                self.latency().await;
            }
            rows.push(self.disk.read(key));
        }
        if self.fate() != Fate::Done {
            return Err(unavailable());
        }
        if self.disk.random.chance(300) {
            self.latency().await;
        }
        Ok(rows)
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        check_range(&range)?;
        self.latency().await;
        let mut prefix = Vec::new();
        range.partition.iter().for_each(|part| part.encode(&mut prefix));
        let now_us = self.disk.faults.runtime.now_us();
        let mut rows = Vec::new();
        {
            let tables = self.disk.tables.lock();
            let all = tables.get(range.table.name);
            let of_partition = all.into_iter().flat_map(|all| all.range(prefix.clone()..));
            for (bytes, stored) in of_partition.take_while(|(bytes, _)| bytes.starts_with(&prefix)) {
                let key = Key::decode(range.table, bytes)?;
                if !is_expired(stored, now_us) && is_in(&range, key.clustering()) {
                    rows.push(Row { key, value: stored.value.clone(), version: stored.version });
                }
            }
        }
        if range.reverse {
            rows.reverse();
        }
        rows.truncate(range.limit);
        if self.fate() != Fate::Done {
            return Err(unavailable());
        }
        if self.disk.random.chance(300) {
            self.latency().await;
        }
        Ok(rows)
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        check_put(&put)?;
        let fate = self.fate();
        self.latency().await;
        if fate == Fate::NotDone {
            return Err(unavailable());
        }
        let fits = self.disk.read(&put.key).map(|row| row.version) == expected;
        if fits {
            self.disk.apply(&put);
        }
        if fate == Fate::Done { Ok(fits) } else { Err(unavailable()) }
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        keys.iter().try_for_each(Key::check)?;
        self.latency().await;
        let mut tables = self.disk.tables.lock();
        for key in keys {
            if let Some(rows) = tables.get_mut(key.table.name) {
                rows.remove(&key.encode());
            }
        }
        Ok(())
    }
}
