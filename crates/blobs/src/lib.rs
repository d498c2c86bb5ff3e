//! The bytes of files: pieces of bounded size, sealed with a key of their tenant, kept in a folder or elsewhere.
//!
//! [`Blobs`] is the seam. A file's content is a list of such pieces: whichever process takes a part of an upload writes
//! pieces of its own, memory stays bounded, and nothing is ever concatenated. [`Sealer`] encrypts a piece so that ranges
//! of it can be read alone and every change of it is noticed. [`Store`] joins both and is what services use.

#[cfg(feature = "conformance")]
pub mod conformance;
mod direct;
mod error;
mod folder;
mod key;
mod open;
#[cfg(feature = "s3")]
mod s3;
mod seal;
mod store;

pub use direct::{Direct, Link, Pieces};
pub use error::BlobError;
pub use folder::FolderBlobs;
pub use key::BlobKey;
pub use open::{BlobsConfig, MasterKeySource, StoreConfig, open};
#[cfg(feature = "s3")]
pub use s3::{S3Blobs, S3Config};
pub use seal::{MasterKeys, Plain, Sealer, Spare};
pub use store::Store;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_model::{TenantId, TimeUs};

/// A blob as it was found in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub key: BlobKey,
    /// Its length in bytes, as it is stored.
    pub size_bytes: u64,
    /// When it was written, in microseconds since 1970, by the store's clock.
    pub modified_us: TimeUs,
}

/// The seam: what keeps blobs. A blob is at most [`limits::BLOB_BYTES`](stonechat_model::limits::BLOB_BYTES) long.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Writes a blob, which is in parts; durable when it returns, and whole or not at all. The same key again replaces it.
    async fn put(&self, key: &BlobKey, parts: Vec<Bytes>) -> Result<(), BlobError>;

    /// Reads bytes of a blob: all that were asked for, or [`BlobError::NotFound`] or [`BlobError::OutOfRange`].
    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError>;

    /// Its length in bytes; `None` where there is none.
    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError>;

    /// Deletes a blob. That there is none is no error.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;

    /// A tenant's blobs in the order of their names, those after the given one. A shorter list than `limit` is the last.
    async fn list(&self, tenant: &TenantId, after: Option<&BlobKey>, limit: usize) -> Result<Vec<Found>, BlobError>;

    /// Deletes every blob of a tenant. Nothing is written for it any more.
    async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), BlobError>;

    /// What clients may reach themselves; `None` where they cannot reach the store.
    fn direct(&self) -> Option<&dyn Direct> {
        None
    }
}

/// How long a blob is that is in parts.
fn length_bytes(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}
