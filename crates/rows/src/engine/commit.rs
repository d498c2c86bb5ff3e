//! A commit as it grows: the writes of many callers, each key once, in the order they were asked for.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Slice};
use smallvec::SmallVec;

use super::{
    stored::{Stored, StoredKey, Write, now_s},
    unavailable,
    versions::Versions,
};
use crate::RowsError;

/// What a caller wants written.
pub(super) enum Job {
    /// Write these rows, where no greater version stands.
    Write(Vec<Write>),
    /// Write this row if the stored version is this.
    CompareAndSet(Write, Option<u64>),
    /// Delete these rows.
    Delete(Vec<StoredKey>),
}

impl Job {
    /// How many rows it is about.
    pub fn rows(&self) -> usize {
        match self {
            Self::Write(writes) => writes.len(),
            Self::CompareAndSet(..) => 1,
            Self::Delete(keys) => keys.len(),
        }
    }

    /// About what it adds to a commit.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Write(writes) => writes.iter().map(Write::size_bytes).sum(),
            Self::CompareAndSet(write, _) => write.size_bytes(),
            Self::Delete(keys) => keys.iter().map(|key| key.bytes.len()).sum(),
        }
    }
}

/// The store, as the writer sees it.
pub(super) struct Store {
    pub database: Database,
    /// In the order of `tables::ALL`.
    pub tables: Vec<Keyspace>,
    /// By the names of the tables.
    pub ceilings: Keyspace,
    pub versions: Versions,
}

impl Store {
    /// The version that stands at a key; none when it has expired. An expired row protects its key no more, since
    /// nobody can tell whether it was dropped yet.
    fn version(&self, key: &StoredKey, now_s: u32) -> Result<Option<u64>, RowsError> {
        let Some(bytes) = self.tables[key.table].get(&key.bytes).map_err(unavailable)? else { return Ok(None) };
        let stored = Stored::decode(&bytes)?;
        Ok((!stored.is_expired(now_s)).then_some(stored.version))
    }
}

/// What will stand at a key after the commit.
struct Pending {
    key: StoredKey,
    version: u64,
    /// `None`: deleted.
    value: Option<Slice>,
}

/// A commit as it grows.
pub(super) struct Commit<'a> {
    store: &'a mut Store,
    /// In the order of writing, so that a reader who sees a row sees what was written before it. `None`: another
    /// one of the same key came later.
    pending: Vec<Option<Pending>>,
    /// Where in `pending` a key is.
    places: HashMap<StoredKey, usize, BuildHasherDefault<AsItIs>>,
    /// New ceilings of versions, by table.
    ceilings: SmallVec<[(usize, u64); 4]>,
    now_s: u32,
}

impl<'a> Commit<'a> {
    /// An empty commit that so many puts are to come to.
    pub fn new(store: &'a mut Store, puts: usize) -> Self {
        let places = HashMap::with_capacity_and_hasher(puts, BuildHasherDefault::default());
        Self { store, pending: Vec::with_capacity(puts), places, ceilings: SmallVec::new(), now_s: now_s() }
    }

    /// Takes a job whole, or not at all when it fails; says whether it will be written.
    pub fn take(&mut self, job: Job) -> Result<bool, RowsError> {
        match job {
            Job::Write(writes) => {
                let stored = self.stored_versions(&writes)?;
                let mut stored = stored.into_iter().peekable();
                for (place, write) in writes.into_iter().enumerate() {
                    let stored = stored.next_if(|(of, _)| *of == place).map(|(_, version)| version);
                    self.write(write, stored);
                }
                Ok(true)
            }
            Job::CompareAndSet(write, expected) => {
                let present = match self.places.get(&write.key) {
                    Some(place) => self.pending[*place].as_ref().and_then(Pending::present),
                    None => self.store.version(&write.key, self.now_s)?,
                };
                let is_expected = present == expected;
                if is_expected {
                    self.replace(write.key, write.version, Some(write.value));
                }
                Ok(is_expected)
            }
            Job::Delete(keys) => {
                for key in keys {
                    self.replace(key, 0, None);
                }
                Ok(true)
            }
        }
    }

    /// The stored versions that have to be known, with the places of their writes.
    fn stored_versions(&self, writes: &[Write]) -> Result<SmallVec<[(usize, u64); 8]>, RowsError> {
        let mut found = SmallVec::new();
        for (place, write) in writes.iter().enumerate() {
            if self.store.versions.is_newest(&write.key, write.version) {
                continue;
            }
            if let Some(version) = self.store.version(&write.key, self.now_s)? {
                found.push((place, version));
            }
        }
        Ok(found)
    }

    fn write(&mut self, write: Write, stored: Option<u64>) {
        let Write { key, version, value } = write;
        let greatest = match self.places.get(&key) {
            Some(place) => self.pending[*place].as_ref().and_then(Pending::present),
            None => stored,
        };
        if greatest.is_none_or(|greatest| greatest <= version) {
            self.replace(key, version, Some(value));
        }
    }

    fn replace(&mut self, key: StoredKey, version: u64, value: Option<Slice>) {
        if value.is_some() {
            let ceiling = self.store.versions.note(&key, version);
            self.ceilings.extend(ceiling.map(|ceiling| (key.table, ceiling)));
        }
        let place = self.pending.len();
        match self.places.entry(key.clone()) {
            Entry::Occupied(mut entry) => self.pending[entry.insert(place)] = None,
            Entry::Vacant(entry) => drop(entry.insert(place)),
        }
        self.pending.push(Some(Pending { key, version, value }));
    }

    /// Writes everything and syncs. After an error nobody knows what the store holds.
    pub fn finish(self) -> Result<(), RowsError> {
        let Self { store, pending, places, ceilings, .. } = self;
        drop(places);
        if pending.is_empty() {
            return Ok(());
        }
        let mut batch = OwnedWriteBatch::with_capacity(store.database.clone(), pending.len() + ceilings.len())
            .durability(Some(PersistMode::SyncData));
        // Later ones are greater, and a batch may hold a key only once.
        let newest: HashMap<usize, u64> = ceilings.into_iter().collect();
        for (table, ceiling) in newest {
            batch.insert(&store.ceilings, crate::tables::ALL[table].name, ceiling.to_be_bytes());
        }
        for Pending { key, value, .. } in pending.into_iter().flatten() {
            match value {
                Some(value) => batch.insert(&store.tables[key.table], key.bytes, value),
                None => batch.remove(&store.tables[key.table], key.bytes),
            }
        }
        batch.commit().map_err(unavailable)?;
        metrics::counter!("stonechat_rows_syncs_total").increment(1);
        Ok(())
    }
}

impl Pending {
    /// The version that readers will find.
    fn present(&self) -> Option<u64> {
        self.value.as_ref().map(|_| self.version)
    }
}

/// Takes the hash that a key has already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
}
