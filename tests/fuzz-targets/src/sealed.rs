//! Sealed blobs, as somebody left them who may write where they are stored.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use parking_lot::Mutex;
use stonechat_blobs::{BlobError, BlobKey, Blobs, Found, MasterKeys, Sealer, Store};
use stonechat_model::TenantId;

use crate::few_rows::FewRows;

const NAME: &str = "piece";
/// Plain bytes of a short blob, and of one of several chunks.
const LENGTHS: [usize; 2] = [100, 70_000];
/// Bytes of a change: where, and what.
const CHANGE_BYTES: usize = 4;

/// A store of one blob that anybody may change.
struct Place {
    store: Store,
    stored: Arc<Mutex<Bytes>>,
    tenant: TenantId,
    /// Plain bytes, and how they are stored.
    sealed: Vec<(Bytes, Bytes)>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| block_on(Place::new()));

struct OneBlob(Arc<Mutex<Bytes>>);

#[async_trait]
impl Blobs for OneBlob {
    async fn put(&self, _: &BlobKey, parts: Vec<Bytes>) -> Result<(), BlobError> {
        *self.0.lock() = parts.concat().into();
        Ok(())
    }

    async fn get(&self, _: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let stored = self.0.lock().clone();
        let beyond = || BlobError::OutOfRange { size_bytes: stored.len() as u64 };
        let offset = |at: u64| usize::try_from(at).ok().filter(|at| *at <= stored.len()).ok_or_else(beyond);
        let (first, end) = (offset(range.start)?, offset(range.end)?);
        if first <= end { Ok(stored.slice(first..end)) } else { Err(beyond()) }
    }

    async fn size(&self, _: &BlobKey) -> Result<Option<u64>, BlobError> {
        Ok(Some(self.0.lock().len() as u64))
    }

    async fn delete(&self, _: &BlobKey) -> Result<(), BlobError> {
        Ok(())
    }

    async fn list(&self, _: &TenantId, _: Option<&BlobKey>, _: usize) -> Result<Vec<Found>, BlobError> {
        Ok(Vec::new())
    }

    async fn delete_tenant(&self, _: &TenantId) -> Result<(), BlobError> {
        Ok(())
    }
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("set up: {error}"));
        let masters = MasterKeys::load_or_make(&folder.path().join("master.keys"));
        let masters = masters.unwrap_or_else(|error| panic!("set up: {error}"));
        let tenant = TenantId::parse("acme").unwrap_or_else(|error| panic!("set up: {error}"));
        let stored = Arc::new(Mutex::new(Bytes::new()));
        let store = Store::new(Arc::new(OneBlob(Arc::clone(&stored))), Sealer::new(FewRows::new(), masters));
        let mut sealed = Vec::new();
        for length in LENGTHS {
            let plain: Bytes = (0..=u8::MAX).cycle().take(length).collect();
            let put = store.put(&tenant, NAME, plain.clone()).await;
            put.unwrap_or_else(|error| panic!("set up: {error}"));
            let as_stored = stored.lock().clone();
            sealed.push((plain, as_stored));
        }
        Self { store, stored, tenant, sealed }
    }

    /// Reads a blob that is stored so; what is read is what once was written, or nothing.
    async fn read(&self, bytes: Bytes) {
        // What was known of the one before is forgotten.
        self.store.delete(&self.tenant, NAME).await.unwrap_or_else(|error| panic!("delete: {error}"));
        let is_as_written = self.sealed.iter().any(|(_, stored)| *stored == bytes);
        *self.stored.lock() = bytes;
        let read = match self.store.size(&self.tenant, NAME).await {
            Ok(size) => self.store.read(&self.tenant, NAME, 0..size.unwrap_or_default()).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(read) => assert!(is_as_written && self.sealed.iter().any(|(plain, _)| *plain == read), "forged"),
            Err(BlobError::Corrupt(_) | BlobError::KeyGone) => assert!(!is_as_written, "does not open"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The first byte says whether the rest is a blob, or changes to one that was sealed here.
pub fn blob(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind % 3 == 0 {
        return block_on(PLACE.read(Bytes::copy_from_slice(rest)));
    }
    let (_, stored) = &PLACE.sealed[usize::from(kind % 3) - 1];
    let mut changed = stored.to_vec();
    let (changes, length) = rest.as_chunks::<CHANGE_BYTES>();
    for [high, middle, low, bits] in changes {
        let at = u32::from_be_bytes([0, *high, *middle, *low]) as usize % changed.len();
        changed[at] ^= bits;
    }
    // What is left over makes it longer or shorter.
    match length {
        [] => {}
        [by] => changed.truncate(changed.len() - usize::from(*by).min(changed.len())),
        more => changed.extend_from_slice(more),
    }
    block_on(PLACE.read(changed.into()));
}

/// A blob as it is stored, and changes to its mark, its version, its salt, its chunks and its length.
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = [b"\0", PLACE.sealed[0].1.as_ref()].concat();
    let changes: [&[u8]; 8] = [
        b"\x01",
        b"\x02",
        b"\x01\0\0\0\x01",
        b"\x01\0\0\x07\x02",
        b"\x02\0\0\x10\xff",
        b"\x02\x01\0\x30\x80",
        b"\x02\x10",
        b"\x01SCB1",
    ];
    changes.iter().map(|change| change.to_vec()).chain([whole]).collect()
}
