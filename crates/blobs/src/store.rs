//! Sealed blobs: what services use.

mod recent;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use stonechat_model::{TenantId, limits};

use crate::{
    BlobError, BlobKey, Blobs, Direct, Found, Link, Pieces, Plain, Sealer,
    seal::{Header, Layout},
};
use recent::Recent;

/// Blobs that are sealed before they are stored. Lengths and ranges are those of the plain bytes.
pub struct Store {
    blobs: Arc<dyn Blobs>,
    sealer: Sealer,
    recent: Recent,
}

impl Store {
    /// A store of these blobs.
    pub fn new(blobs: Arc<dyn Blobs>, sealer: Sealer) -> Self {
        Self { blobs, sealer, recent: Recent::default() }
    }

    /// Seals and writes a piece; durable when it returns, and whole or not at all. The same name again replaces it.
    ///
    /// # Errors
    /// [`BlobError::InvalidName`], [`BlobError::TooLarge`] above 8 MiB, [`BlobError::Unavailable`].
    pub async fn put(&self, tenant: &TenantId, name: &str, plain: impl Into<Plain>) -> Result<(), BlobError> {
        let key = BlobKey::new(tenant, name)?;
        let plain = plain.into();
        if plain.len() > limits::BLOB_BYTES {
            return Err(BlobError::TooLarge);
        }
        let sealed = self.sealer.seal(&key, plain).await?;
        self.recent.forget(&key);
        self.blobs.put(&key, sealed).await
    }

    /// Reads bytes of a piece: all that were asked for, as they were written.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::OutOfRange`], [`BlobError::KeyGone`]; [`BlobError::Corrupt`] when what is
    /// stored is not what was written; [`BlobError::Unavailable`].
    pub async fn read(&self, tenant: &TenantId, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        let key = BlobKey::new(tenant, name)?;
        if let Some(known) = self.recent.get(&key) {
            match self.read_known(&key, known, range.clone()).await {
                // Perhaps another process replaced the piece.
                Err(BlobError::Corrupt(_) | BlobError::OutOfRange { .. } | BlobError::KeyGone) => {}
                read => return read,
            }
            self.recent.forget(&key);
        }
        let layout = Layout::of_sealed(self.blobs.size(&key).await?.ok_or(BlobError::NotFound)?)?;
        let header = Header::decode(&self.blobs.get(&key, 0..Header::BYTES).await?)?;
        let read = self.read_known(&key, (header, layout), range).await?;
        self.recent.keep(key, (header, layout));
        Ok(read)
    }

    async fn read_known(
        &self,
        key: &BlobKey,
        (header, layout): (Header, Layout),
        range: Range<u64>,
    ) -> Result<Bytes, BlobError> {
        let stored = layout.stored(&range)?;
        let sealed = self.blobs.get(key, stored).await?;
        self.sealer.open(key, (header, layout), range, sealed).await
    }

    /// The length of a piece's plain bytes; `None` where there is none.
    ///
    /// # Errors
    /// [`BlobError::InvalidName`], [`BlobError::Corrupt`], [`BlobError::Unavailable`].
    pub async fn size(&self, tenant: &TenantId, name: &str) -> Result<Option<u64>, BlobError> {
        let stored = self.blobs.size(&BlobKey::new(tenant, name)?).await?;
        stored.map(|sealed| Ok(Layout::of_sealed(sealed)?.plain_bytes())).transpose()
    }

    /// Deletes a piece. That there is none is no error.
    ///
    /// # Errors
    /// [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn delete(&self, tenant: &TenantId, name: &str) -> Result<(), BlobError> {
        let key = BlobKey::new(tenant, name)?;
        self.recent.forget(&key);
        self.blobs.delete(&key).await
    }

    /// A tenant's pieces in the order of their names, those after the given one; a page of `limit` or of
    /// [`limits::BLOBS_LISTED`], whichever is less, and a shorter one is the last. For the sweep of what nothing refers
    /// to. Lengths are those of the stored bytes.
    ///
    /// # Errors
    /// [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn list(&self, tenant: &TenantId, after: Option<&str>, limit: usize) -> Result<Vec<Found>, BlobError> {
        let after = after.map(|name| BlobKey::new(tenant, name)).transpose()?;
        self.blobs.list(tenant, after.as_ref(), limit.min(limits::BLOBS_LISTED)).await
    }

    /// Deletes a tenant's keys, from when on nothing of it can be read, then its pieces.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]; what was not deleted is when it is called again.
    pub async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), BlobError> {
        self.sealer.delete_keys(tenant).await?;
        self.blobs.delete_tenant(tenant).await
    }

    /// Whether clients can fetch from the store itself.
    pub fn has_direct(&self) -> bool {
        self.blobs.direct().is_some()
    }

    /// Begins an object **that is not sealed**, for tenants that allow direct downloads; gives the store's name of what is
    /// begun, to be written down. The object's name is apart from those of pieces.
    ///
    /// # Errors
    /// [`BlobError::Unsupported`] in a folder; [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn begin_direct(&self, tenant: &TenantId, name: &str) -> Result<String, BlobError> {
        self.direct()?.begin(&BlobKey::new(tenant, name)?).await
    }

    /// Writes the pieces of a file as the object that was begun; gives its length in bytes. Memory is bounded; when a
    /// piece cannot be had there is no object, and what was begun is to be given up.
    ///
    /// # Errors
    /// [`BlobError::Unsupported`] in a folder; [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn compose(
        &self,
        tenant: &TenantId,
        name: &str,
        begun: &str,
        pieces: Pieces<'_>,
    ) -> Result<u64, BlobError> {
        self.direct()?.compose(&BlobKey::new(tenant, name)?, begun, pieces).await
    }

    /// Deletes what was begun of an object and never became one.
    ///
    /// # Errors
    /// [`BlobError::Unsupported`] in a folder; [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn give_up_direct(&self, tenant: &TenantId, name: &str, begun: &str) -> Result<(), BlobError> {
        self.direct()?.give_up(&BlobKey::new(tenant, name)?, begun).await
    }

    /// A link with which anybody fetches a composed object until it expires.
    ///
    /// # Errors
    /// [`BlobError::Unsupported`] in a folder; [`BlobError::InvalidName`].
    pub async fn presign_get(&self, tenant: &TenantId, name: &str, link: &Link) -> Result<String, BlobError> {
        self.direct()?.presign_get(&BlobKey::new(tenant, name)?, link).await
    }

    /// Deletes a composed object. That there is none is no error.
    ///
    /// # Errors
    /// [`BlobError::Unsupported`] in a folder; [`BlobError::InvalidName`], [`BlobError::Unavailable`].
    pub async fn delete_direct(&self, tenant: &TenantId, name: &str) -> Result<(), BlobError> {
        self.direct()?.delete(&BlobKey::new(tenant, name)?).await
    }

    fn direct(&self) -> Result<&dyn Direct, BlobError> {
        self.blobs.direct().ok_or(BlobError::Unsupported("be reached by clients"))
    }

    /// What seals, for the rotation of keys.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

#[cfg(test)]
mod tests;
