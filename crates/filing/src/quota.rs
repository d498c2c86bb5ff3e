//! Bytes that a tenant's files and uploads take of its quota.
//!
//! One row holds the sum and, for a while, a mark of each change. A change with a mark is not made again, so whoever was
//! stopped between counting and writing down what was counted may repeat it. A mark of taking goes when the upload's row
//! is there; one of giving back goes after [`MARK_US`], by when nobody is at it any more who read the row before.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use parking_lot::Mutex;
use rand::RngCore as _;
use stonechat_errors::{Code, Error};
use stonechat_model::{FileId, TenantId, TimeUs, limits, now_us};
use stonechat_proto::internal::v1::{FileMark, FileTenantRow};
use stonechat_rows::tables;

use crate::records::{ATTEMPTS, Records, busy};

/// How long a mark of giving back is kept.
const MARK_US: TimeUs = 120_000_000;
/// Bytes of what signs links.
const LINK_KEY_BYTES: usize = 32;
/// Uploads whose rows are there and whose marks are not taken out yet.
const CONFIRMED: usize = 65_536;
/// Tenants that are counted at once; others that share a place with one wait.
const PLACES: usize = 64;

/// Counts bytes of tenants, by compare-and-set.
pub(crate) struct Counted {
    records: Records,
    /// Uploads of this process whose rows are there.
    confirmed: Mutex<HashSet<String>>,
    /// Whoever changes a tenant's row holds its place. Without that, many at once of one process would be refused by the
    /// store for each other's sake, which costs more than to wait, and a store of several nodes gives up at last.
    places: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

impl Counted {
    pub fn new(records: Records) -> Self {
        let places = (0..PLACES).map(|_| tokio::sync::Mutex::default()).collect();
        Self { records, confirmed: Mutex::default(), places, hasher: RandomState::new() }
    }

    /// Takes bytes for an upload; `quota` bounds what the tenant has in all.
    pub async fn take(&self, tenant: &TenantId, id: &FileId, bytes: u64, quota: u64) -> Result<(), Error> {
        self.change(tenant, |row| {
            if row.marks.iter().any(|mark| mark.id == id.as_str() && !mark.released) {
                return Ok(());
            }
            let used = row.used_bytes.saturating_add(bytes);
            if used > quota {
                let reason = format!("the tenant's quota of {quota} bytes of files is reached");
                return Err(Error::new(Code::LimitExceeded, reason));
            }
            row.used_bytes = used;
            mark(row, id, bytes, false)
        })
        .await
    }

    /// The upload's row is there: what was taken for it is known by the row now.
    pub fn confirm(&self, id: &FileId) {
        let mut confirmed = self.confirmed.lock();
        if confirmed.len() < CONFIRMED {
            confirmed.insert(id.to_string());
        }
    }

    /// What an upload's mark says without the upload: gives it back, or, where the row `is_there`, forgets the mark.
    pub async fn settle(&self, tenant: &TenantId, id: &FileId, is_there: bool) -> Result<(), Error> {
        self.change(tenant, |row| {
            let at = row.marks.iter().position(|mark| mark.id == id.as_str() && !mark.released);
            if let Some(at) = at {
                let mark = row.marks.swap_remove(at);
                if !is_there {
                    row.used_bytes = row.used_bytes.saturating_sub(mark.bytes);
                }
            }
            Ok(())
        })
        .await
    }

    /// Gives back what an upload or file took. Whoever repeats it within two minutes does it once; by then its row says
    /// that it was done.
    pub async fn give_back(&self, tenant: &TenantId, id: &FileId, bytes: u64) -> Result<(), Error> {
        self.change(tenant, |row| {
            if row.marks.iter().any(|mark| mark.id == id.as_str() && mark.released) {
                return Ok(());
            }
            row.used_bytes = row.used_bytes.saturating_sub(bytes);
            row.marks.retain(|mark| mark.id != id.as_str());
            mark(row, id, bytes, true)
        })
        .await
    }

    /// What signs the tenant's links.
    pub async fn link_key(&self, tenant: &TenantId) -> Result<Vec<u8>, Error> {
        let found = self.records.read::<FileTenantRow>(tables::file_tenant(tenant)).await?;
        if let Some(found) = found.filter(|found| !found.row.link_key.is_empty()) {
            return Ok(found.row.link_key);
        }
        let mut key = vec![0; LINK_KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        let mut made = Vec::new();
        self.change(tenant, |row| {
            if row.link_key.is_empty() {
                row.link_key.clone_from(&key);
            }
            made.clone_from(&row.link_key);
            Ok(())
        })
        .await?;
        Ok(made)
    }

    async fn change(
        &self,
        tenant: &TenantId,
        mut change: impl FnMut(&mut FileTenantRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let place = usize::try_from(self.hasher.hash_one(tenant) % PLACES as u64).unwrap_or(0);
        let _place = self.places[place].lock().await;
        for _ in 0..ATTEMPTS {
            let key = tables::file_tenant(tenant);
            let found = self.records.read::<FileTenantRow>(key.clone()).await?;
            let version = found.as_ref().map(|found| found.version);
            let before = found.map(|found| found.row).unwrap_or_default();
            let mut row = before.clone();
            change(&mut row)?;
            if before == row {
                return Ok(());
            }
            let forgotten = self.tidy(&mut row, now_us());
            if self.records.set(key, &row, version).await? {
                let mut confirmed = self.confirmed.lock();
                forgotten.iter().for_each(|id| {
                    confirmed.remove(id);
                });
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Takes marks out that have done their work; gives the uploads among them.
    fn tidy(&self, row: &mut FileTenantRow, now_us: TimeUs) -> Vec<String> {
        let confirmed = self.confirmed.lock();
        let (gone, kept) =
            std::mem::take(&mut row.marks).into_iter().partition(|mark: &FileMark| match mark.released {
                true => mark.time_us + MARK_US < now_us,
                false => confirmed.contains(&mark.id),
            });
        row.marks = kept;
        let gone: Vec<FileMark> = gone;
        gone.into_iter().filter(|mark| !mark.released).map(|mark| mark.id).collect()
    }
}

/// How many bytes a tenant's files and uploads take.
pub(crate) async fn used_bytes(records: &Records, tenant: &TenantId) -> Result<u64, Error> {
    let found = records.read::<FileTenantRow>(tables::file_tenant(tenant)).await?;
    Ok(found.map_or(0, |found| found.row.used_bytes))
}

fn mark(row: &mut FileTenantRow, id: &FileId, bytes: u64, released: bool) -> Result<(), Error> {
    if row.marks.len() >= limits::FILE_MARKS {
        return Err(busy());
    }
    row.marks.push(FileMark { id: id.to_string(), released, bytes, time_us: now_us() });
    Ok(())
}
