//! Files that a client fetches from the store itself, where a tenant allows it: one object, not sealed, and a link to it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{BlobError, BlobKey};

/// A link to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// How long it is good; at most seven days, which is S3's limit.
    pub expiry: Duration,
    /// The `Content-Disposition` of the answer.
    pub content_disposition: String,
    /// The `Content-Type` of the answer.
    pub content_type: String,
}

/// The bytes of a file, piece by piece.
pub type Pieces<'a> = BoxStream<'a, Result<Bytes, BlobError>>;

/// What a store does that clients may reach. Objects here are beside the blobs, under names of their own.
#[async_trait]
pub trait Direct: Send + Sync {
    /// Begins an object; gives the store's name of what is begun. So it can be written down before a byte is written:
    /// what a process that was killed leaves is not found by the object's key.
    async fn begin(&self, key: &BlobKey) -> Result<String, BlobError>;

    /// Writes the pieces as the object that was begun, with bounded memory; gives its length in bytes. The object is there
    /// whole or not at all; without success what was begun is to be given up.
    async fn compose(&self, key: &BlobKey, begun: &str, pieces: Pieces<'_>) -> Result<u64, BlobError>;

    /// Deletes what was begun of an object and never became one.
    async fn give_up(&self, key: &BlobKey, begun: &str) -> Result<(), BlobError>;

    /// A link with which anybody fetches an object until it expires.
    async fn presign_get(&self, key: &BlobKey, link: &Link) -> Result<String, BlobError>;

    /// Deletes an object. That there is none is no error.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;
}
