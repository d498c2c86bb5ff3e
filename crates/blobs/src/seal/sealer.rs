//! Sealing and opening pieces with the keys of their tenants.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use stonechat_model::TenantId;
use stonechat_rows::Rows;

use super::{
    MasterKeys, Plain,
    format::{Header, Layout, PieceKey},
    tenant_keys::TenantKeys,
};
use crate::BlobError;
use crate::BlobKey;

/// Bytes that are sealed or opened where they would not hold up other tasks.
const INLINE_BYTES: usize = 512 << 10;

/// Seals and opens pieces. A tenant's keys are made when the first piece is sealed, are kept in rows wrapped by a master
/// key, and when these rows are deleted no piece of the tenant is ever read again.
pub struct Sealer {
    keys: TenantKeys,
}

impl Sealer {
    /// A sealer with the keys in these rows.
    pub fn new(rows: Arc<dyn Rows>, masters: MasterKeys) -> Self {
        Self { keys: TenantKeys::new(rows, masters) }
    }

    /// Seals a piece with its tenant's newest key, where its bytes lie; gives it in parts.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] when the tenant's keys cannot be read or made.
    pub async fn seal(&self, key: &BlobKey, plain: Plain) -> Result<Vec<Bytes>, BlobError> {
        let ring = self.keys.for_sealing(key.tenant()).await?;
        let (version, tenant_key) = ring.newest()?;
        let header = Header::fresh(version)?;
        let piece = PieceKey::derive(tenant_key, &header, key)?;
        let length = plain.len();
        aside(length, move || piece.seal(&header, plain)).await
    }

    /// Opens the chunks of a piece that hold a range, and gives the range.
    pub(crate) async fn open(
        &self,
        key: &BlobKey,
        (header, layout): (Header, Layout),
        range: Range<u64>,
        sealed: Bytes,
    ) -> Result<Bytes, BlobError> {
        let ring = self.keys.for_opening(key.tenant(), header.key_version).await?;
        let tenant_key = ring.get(header.key_version).ok_or(BlobError::KeyGone)?;
        let piece = PieceKey::derive(tenant_key, &header, key)?;
        aside(sealed.len(), move || piece.open(&layout, &range, sealed.into())).await
    }

    /// Makes a further key of a tenant, with which new pieces are sealed; gives its version. Older pieces are read with
    /// the keys they were sealed with.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]; [`BlobError::Setup`] at the limit of versions.
    pub async fn rotate(&self, tenant: &TenantId) -> Result<u32, BlobError> {
        self.keys.rotate(tenant).await
    }

    /// Wraps a tenant's keys with the present master key where an older one did; gives how many were wrapped again.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]; [`BlobError::MasterKeyMissing`].
    pub async fn rewrap(&self, tenant: &TenantId) -> Result<usize, BlobError> {
        self.keys.rewrap(tenant).await
    }

    /// Deletes a tenant's keys: whatever was sealed with them, wherever a copy of it is, cannot be read any more. Other
    /// processes forget them within [`limits::FILE_KEY_CACHE_S`](stonechat_model::limits::FILE_KEY_CACHE_S).
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    pub async fn delete_keys(&self, tenant: &TenantId) -> Result<(), BlobError> {
        self.keys.delete(tenant).await
    }
}

/// Does work on so many bytes at once, or in a thread that may take its time.
async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    if bytes <= INLINE_BYTES {
        return work();
    }
    let working = tokio::task::spawn_blocking(work);
    working.await.map_err(|_| BlobError::Unavailable("sealing broke off".to_owned()))?
}
