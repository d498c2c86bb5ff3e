//! The keys of tenants: in rows, wrapped; in memory for a short while.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_model::{TenantId, limits, now_us};
use stonechat_proto::internal::v1::FileKeyRow;
use stonechat_rows::{Put, Row, Rows, tables};

use super::{MasterKeys, format::KEY_BYTES};
use crate::BlobError;

const TTL: Duration = Duration::from_secs(limits::FILE_KEY_CACHE_S);

/// A tenant's keys by version. There is at least one.
pub struct Ring(BTreeMap<u32, [u8; KEY_BYTES]>);

impl Ring {
    /// The key that seals.
    pub fn newest(&self) -> Result<(u32, &[u8; KEY_BYTES]), BlobError> {
        self.0.last_key_value().map(|(version, key)| (*version, key)).ok_or(BlobError::KeyGone)
    }

    /// The key of a version.
    pub fn get(&self, version: u32) -> Option<&[u8; KEY_BYTES]> {
        self.0.get(&version)
    }
}

/// The keys of every tenant.
pub struct TenantKeys {
    rows: Arc<dyn Rows>,
    masters: MasterKeys,
    recent: Mutex<HashMap<TenantId, (Instant, Arc<Ring>)>>,
}

impl TenantKeys {
    pub fn new(rows: Arc<dyn Rows>, masters: MasterKeys) -> Self {
        Self { rows, masters, recent: Mutex::new(HashMap::new()) }
    }

    /// A tenant's keys, the first one made where there is none.
    pub async fn for_sealing(&self, tenant: &TenantId) -> Result<Arc<Ring>, BlobError> {
        if let Some(ring) = self.recent(tenant) {
            return Ok(ring);
        }
        if let Some(ring) = self.load(tenant).await? {
            return Ok(ring);
        }
        self.make(tenant, 1).await?;
        self.load(tenant).await?.ok_or(BlobError::KeyGone)
    }

    /// A tenant's keys, among them that of a version.
    pub async fn for_opening(&self, tenant: &TenantId, version: u32) -> Result<Arc<Ring>, BlobError> {
        let has_version = |ring: &Arc<Ring>| ring.get(version).is_some();
        if let Some(ring) = self.recent(tenant).filter(has_version) {
            return Ok(ring);
        }
        self.load(tenant).await?.filter(has_version).ok_or(BlobError::KeyGone)
    }

    /// Makes a further key, with which new pieces are sealed; gives its version.
    pub async fn rotate(&self, tenant: &TenantId) -> Result<u32, BlobError> {
        loop {
            let rows = self.rows.range(tables::file_keys(tenant, limits::FILE_KEY_VERSIONS)).await?;
            if rows.len() >= limits::FILE_KEY_VERSIONS {
                let reason = format!("a tenant has at most {} keys of files", limits::FILE_KEY_VERSIONS);
                return Err(BlobError::Setup(reason));
            }
            let version = rows.first().map(version_of).transpose()?.unwrap_or(0) + 1;
            if self.make(tenant, version).await? {
                self.forget(tenant);
                return Ok(version);
            }
        }
    }

    /// Wraps a tenant's keys with the present master key where they are not; gives how many were.
    pub async fn rewrap(&self, tenant: &TenantId) -> Result<usize, BlobError> {
        let mut changed = 0;
        for row in self.rows.range(tables::file_keys(tenant, limits::FILE_KEY_VERSIONS)).await? {
            let (present, version) = (decode(&row)?, u64::from(version_of(&row)?));
            if present.master == self.masters.current() {
                continue;
            }
            let key = self.masters.unwrap(tenant, version, &present)?;
            let value = FileKeyRow { created_us: present.created_us, ..self.masters.wrap(tenant, version, &key)? };
            let put = Put { key: row.key, value: value.encode_to_vec().into(), version: row.version + 1, ttl: None };
            // Where another process was quicker, it wrapped the same key.
            changed += usize::from(self.rows.compare_and_set(put, Some(row.version)).await?);
        }
        Ok(changed)
    }

    /// Deletes a tenant's keys for good.
    pub async fn delete(&self, tenant: &TenantId) -> Result<(), BlobError> {
        self.forget(tenant);
        self.rows.delete_partition(&tables::FILE_KEYS, vec![tenant.shared().into()]).await?;
        self.forget(tenant);
        Ok(())
    }

    /// Makes a key of a version; says whether it did or there was one.
    async fn make(&self, tenant: &TenantId, version: u32) -> Result<bool, BlobError> {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key).map_err(|_| BlobError::Setup("no random numbers".to_owned()))?;
        let version = u64::from(version);
        let row = FileKeyRow { created_us: now_us(), ..self.masters.wrap(tenant, version, &key)? };
        let key = tables::file_key(tenant, version);
        let put = Put { key, value: row.encode_to_vec().into(), version: 1, ttl: None };
        Ok(self.rows.compare_and_set(put, None).await?)
    }

    async fn load(&self, tenant: &TenantId) -> Result<Option<Arc<Ring>>, BlobError> {
        let rows = self.rows.range(tables::file_keys(tenant, limits::FILE_KEY_VERSIONS)).await?;
        let mut keys = BTreeMap::new();
        for row in &rows {
            let version = version_of(row)?;
            keys.insert(version, self.masters.unwrap(tenant, version.into(), &decode(row)?)?);
        }
        if keys.is_empty() {
            self.forget(tenant);
            return Ok(None);
        }
        let ring = Arc::new(Ring(keys));
        let mut recent = self.recent.lock();
        if recent.len() >= limits::FILE_KEY_TENANTS {
            recent.retain(|_, (read, _)| read.elapsed() < TTL);
        }
        if recent.len() < limits::FILE_KEY_TENANTS {
            recent.insert(tenant.clone(), (Instant::now(), Arc::clone(&ring)));
        }
        Ok(Some(ring))
    }

    fn recent(&self, tenant: &TenantId) -> Option<Arc<Ring>> {
        let recent = self.recent.lock();
        recent.get(tenant).filter(|(read, _)| read.elapsed() < TTL).map(|(_, ring)| Arc::clone(ring))
    }

    fn forget(&self, tenant: &TenantId) {
        self.recent.lock().remove(tenant);
    }
}

fn version_of(row: &Row) -> Result<u32, BlobError> {
    u32::try_from(row.key.number(1)).map_err(|_| BlobError::Corrupt("version of a key"))
}

fn decode(row: &Row) -> Result<FileKeyRow, BlobError> {
    FileKeyRow::decode(row.value.clone()).map_err(|_| BlobError::Corrupt("row of a key"))
}
