//! Pieces of bytes in the store, and lists of them that are read as one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use stonechat_blobs::{Plain, Spare, Store};
use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, limits};
use stonechat_proto::internal::v1::{ContentPiece, UploadPiece};
use stonechat_rows::{Put, tables};

use crate::records::{Records, corrupt};

/// Writes and reads pieces.
#[derive(Clone)]
pub(crate) struct Pieces {
    records: Records,
    store: Arc<Store>,
}

pub(crate) fn failed(error: stonechat_blobs::BlobError) -> Error {
    if error.is_retryable() {
        tracing::warn!(%error, "blobs did not answer");
    } else {
        tracing::error!(%error, "blobs failed");
    }
    error.into()
}

/// The SHA-256 of some bytes, computed where it holds up nobody, and the bytes.
async fn sha256(plain: Plain) -> Result<(Vec<u8>, Plain), Error> {
    let hashing = tokio::task::spawn_blocking(move || {
        let mut sha256 = Sha256::new();
        plain.chunks().for_each(|chunk| sha256.update(chunk));
        (sha256.finalize().to_vec(), plain)
    });
    hashing.await.map_err(|_| Error::internal())
}

impl Pieces {
    pub fn new(records: Records, store: Arc<Store>) -> Self {
        Self { records, store }
    }

    /// Writes a piece for an upload, after it was written down that there may be one.
    pub async fn write(&self, tenant: &TenantId, upload: &FileId, plain: Plain) -> Result<UploadPiece, Error> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let size_bytes = plain.len() as u64;
        let written_down =
            Put { key: tables::upload_piece(tenant, upload, &name), value: Bytes::new(), version: 1, ttl: None };
        let (hashed, written) = tokio::join!(sha256(plain), self.records.write(vec![written_down]));
        written?;
        let (sha256, plain) = hashed?;
        self.store.put(tenant, &name, plain).await.map_err(failed)?;
        Ok(UploadPiece { name, size_bytes, sha256 })
    }

    /// Writes bytes as pieces of their full size.
    pub async fn write_all(&self, tenant: &TenantId, upload: &FileId, bytes: Bytes) -> Result<Vec<UploadPiece>, Error> {
        let mut written = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(limits::UPLOAD_PIECE_BYTES));
            written.push(self.write(tenant, upload, piece.into()).await?);
        }
        Ok(written)
    }

    /// Reads some bytes of a piece.
    pub async fn read(&self, tenant: &TenantId, name: &str, from: u64, until: u64) -> Result<Bytes, Error> {
        let bytes = self.store.read(tenant, name, from..until).await.map_err(failed)?;
        if bytes.len() as u64 != until - from {
            tracing::error!(piece = name, "piece is shorter than its row says");
            return Err(Error::internal());
        }
        Ok(bytes)
    }

    /// Deletes pieces; those that are not there are no matter.
    pub async fn delete<'a>(&self, tenant: &TenantId, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        for name in names {
            self.store.delete(tenant, name).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Deletes every piece of a tenant and what they were sealed with.
    pub async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), Error> {
        self.store.delete_tenant(tenant).await.map_err(failed)
    }
}

/// Pieces in their order, read as one.
#[derive(Debug, Clone, Default)]
pub(crate) struct PieceList {
    /// Name, where it begins, length.
    pieces: Vec<(String, u64, u64)>,
    size_bytes: u64,
}

impl PieceList {
    fn of(pieces: impl Iterator<Item = (String, u64)>) -> Self {
        let mut list = Self::default();
        for (name, size_bytes) in pieces {
            list.pieces.push((name, list.size_bytes, size_bytes));
            list.size_bytes += size_bytes;
        }
        list
    }

    pub fn of_upload(pieces: &[UploadPiece]) -> Self {
        Self::of(pieces.iter().map(|piece| (piece.name.clone(), piece.size_bytes)))
    }

    pub fn of_content(pieces: &[ContentPiece]) -> Self {
        Self::of(pieces.iter().map(|piece| (piece.name.clone(), piece.size_bytes)))
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The piece that holds a byte, where in it, and how much of it follows.
    fn locate(&self, at: u64) -> Option<(&str, u64, u64)> {
        let after = self.pieces.partition_point(|(_, start, _)| *start <= at);
        let (name, start, size) = self.pieces.get(after.checked_sub(1)?)?;
        (at < start + size).then(|| (name.as_str(), at - start, start + size - at))
    }

    /// Reads up to so many bytes; as many as there are in one piece.
    pub async fn read_some(&self, pieces: &Pieces, tenant: &TenantId, at: u64, most: u64) -> Result<Bytes, Error> {
        let Some((name, within, left)) = self.locate(at) else { return Ok(Bytes::new()) };
        pieces.read(tenant, name, within, within + left.min(most)).await
    }

    /// Reads all of it, in steps.
    pub async fn read_plain(&self, pieces: &Pieces, tenant: &TenantId, spare: &Spare) -> Result<Plain, Error> {
        let mut plain = Plain::in_spare(spare);
        while (plain.len() as u64) < self.size_bytes {
            let some = self.read_some(pieces, tenant, plain.len() as u64, Plain::SEGMENT_BYTES as u64).await?;
            if some.is_empty() {
                return Err(corrupt("uploads"));
            }
            plain.extend(&some);
        }
        Ok(plain)
    }

    /// Reads these bytes; the caller knows that they fit into memory.
    pub async fn read_all(&self, pieces: &Pieces, tenant: &TenantId, from: u64, until: u64) -> Result<Bytes, Error> {
        let first = self.read_some(pieces, tenant, from, until - from).await?;
        if first.len() as u64 == until - from {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(usize::try_from(until - from).unwrap_or(0));
        all.extend_from_slice(&first);
        while (all.len() as u64) < until - from {
            let at = from + all.len() as u64;
            let some = self.read_some(pieces, tenant, at, until - at).await?;
            if some.is_empty() {
                return Err(corrupt("uploads"));
            }
            all.extend_from_slice(&some);
        }
        Ok(all.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_in_its_piece() {
        let list = PieceList::of([("a".to_owned(), 3), ("b".to_owned(), 1), ("c".to_owned(), 5)].into_iter());
        assert_eq!(list.size_bytes(), 9);
        assert_eq!(list.locate(0), Some(("a", 0, 3)));
        assert_eq!(list.locate(2), Some(("a", 2, 1)));
        assert_eq!(list.locate(3), Some(("b", 0, 1)));
        assert_eq!(list.locate(8), Some(("c", 4, 1)));
        assert_eq!(list.locate(9), None);
        assert_eq!(PieceList::default().locate(0), None);
    }
}
