//! Contents: bytes that files have, kept once in a tenant, and gone when no file has them.
//!
//! Who has a content is a row for each file, so that saying it twice changes nothing. Whether a content goes is decided
//! by compare-and-set on its row, which whoever begins to refer to it changes, too (ADR 0019).

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, limits};
use stonechat_proto::internal::v1::{ContentPiece, ContentRow, ContentState, UploadPiece};
use stonechat_rows::{Put, tables};

use crate::{
    pieces::{PieceList, Pieces},
    records::{ATTEMPTS, Records, busy, corrupt, unavailable},
};

/// Contents of files.
#[derive(Clone)]
pub(crate) struct Contents {
    records: Records,
    pieces: Pieces,
}

/// What is hashed together.
const CHUNK: u64 = limits::UPLOAD_PIECE_BYTES as u64;
/// What is read at once of what is hashed.
const READ: u64 = limits::DOWNLOAD_STEP_BYTES as u64;

/// The SHA-256 of each stretch from the beginning on, as far as hashing is: whoever goes on need not read them again.
#[derive(Debug, Default)]
pub(crate) struct Hashed(Mutex<Vec<Vec<u8>>>);

impl Hashed {
    /// What was hashed before.
    pub fn new(stretches: Vec<Vec<u8>>) -> Self {
        Self(Mutex::new(stretches))
    }

    /// What is hashed by now.
    pub fn stretches(&self) -> Vec<Vec<u8>> {
        self.0.lock().clone()
    }

    fn get(&self, number: usize) -> Option<Vec<u8>> {
        self.0.lock().get(number).cloned()
    }

    fn keep(&self, number: usize, hash: Vec<u8>) {
        let mut stretches = self.0.lock();
        if stretches.len() == number {
            stretches.push(hash);
        }
    }
}

/// The id of a content: the SHA-256 of its length and of the SHA-256 of each stretch of [`CHUNK`] bytes, however it lies
/// in pieces. Stretches that are one piece are known by the piece.
pub(crate) async fn content_id(
    pieces: &Pieces,
    tenant: &TenantId,
    list: &[UploadPiece],
    hashed: &Hashed,
) -> Result<String, Error> {
    let all = PieceList::of_upload(list);
    let size = all.size_bytes();
    let mut whole = Sha256::new();
    whole.update(size.to_be_bytes());
    // The next piece, and where it begins.
    let (mut at, mut next, mut begins) = (0, 0, 0);
    for number in 0.. {
        if at == size {
            break;
        }
        let end = (at + CHUNK).min(size);
        // Where the next piece begins here and ends there, its own hash is this one's.
        let own =
            list.get(next).filter(|piece| piece.size_bytes == end - at && begins == at).map(|piece| &piece.sha256);
        let hash = match (hashed.get(number), own.filter(|own| !own.is_empty())) {
            (Some(known), _) => known,
            (None, Some(own)) => own.clone(),
            (None, None) => sha256_of(&all, pieces, tenant, (at, end)).await?,
        };
        whole.update(&hash);
        hashed.keep(number, hash);
        at = end;
        while let Some(piece) = list.get(next).filter(|_| begins < at) {
            begins += piece.size_bytes;
            next += 1;
        }
    }
    Ok(whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads and hashes a stretch.
async fn sha256_of(
    all: &PieceList,
    pieces: &Pieces,
    tenant: &TenantId,
    (mut at, end): (u64, u64),
) -> Result<Vec<u8>, Error> {
    let mut stretch = Sha256::new();
    while at < end {
        let some = all.read_some(pieces, tenant, at, READ.min(end - at)).await?;
        if some.is_empty() {
            return Err(corrupt("uploads"));
        }
        at += some.len() as u64;
        stretch.update(&some);
    }
    Ok(stretch.finalize().to_vec())
}

impl Contents {
    pub fn new(records: Records, pieces: Pieces) -> Self {
        Self { records, pieces }
    }

    /// A content that is there.
    pub async fn find(&self, tenant: &TenantId, id: &str) -> Result<Option<ContentRow>, Error> {
        let found = self.records.read::<ContentRow>(tables::file_content(tenant, id)).await?;
        Ok(found.map(|found| found.row).filter(|row| row.state() == ContentState::Live))
    }

    /// A file has this content from now on. The pieces become the content's unless it has some already.
    pub async fn adopt(&self, tenant: &TenantId, id: &str, pieces: &[UploadPiece], file: &FileId) -> Result<(), Error> {
        self.refer(tenant, id, file).await?;
        let own = || pieces.iter().map(|piece| ContentPiece { name: piece.name.clone(), size_bytes: piece.size_bytes });
        for _ in 0..ATTEMPTS {
            let key = tables::file_content(tenant, id);
            let found = self.records.read::<ContentRow>(key.clone()).await?;
            let version = found.as_ref().map(|found| found.version);
            let mut row = found.map(|found| found.row).unwrap_or_default();
            if row.state() != ContentState::Live {
                row.state = ContentState::Live.into();
                row.pieces = own().collect();
                row.size_bytes = row.pieces.iter().map(|piece| piece.size_bytes).sum();
            }
            // Written though nothing changed in it: whoever thought that nobody refers to it learns better.
            if self.records.set(key, &row, version).await? {
                return Ok(());
            }
        }
        Err(busy())
    }

    /// A file has a content that is there; says whether it is.
    pub async fn share(&self, tenant: &TenantId, id: &str, file: &FileId) -> Result<bool, Error> {
        self.refer(tenant, id, file).await?;
        for _ in 0..ATTEMPTS {
            let key = tables::file_content(tenant, id);
            match self.records.read::<ContentRow>(key.clone()).await? {
                Some(found) if found.row.state() == ContentState::Live => {
                    if self.records.set(key, &found.row, Some(found.version)).await? {
                        return Ok(true);
                    }
                }
                _ => {
                    self.records.delete(&[tables::content_ref(tenant, id, file)]).await?;
                    return Ok(false);
                }
            }
        }
        Err(busy())
    }

    async fn refer(&self, tenant: &TenantId, id: &str, file: &FileId) -> Result<(), Error> {
        let key = tables::content_ref(tenant, id, file);
        self.records.write(vec![Put { key, value: bytes::Bytes::new(), version: 1, ttl: None }]).await
    }

    /// A file no longer has a content; the last one takes the bytes along.
    pub async fn release(&self, tenant: &TenantId, id: &str, file: &FileId) -> Result<(), Error> {
        self.records.delete(&[tables::content_ref(tenant, id, file)]).await?;
        for _ in 0..ATTEMPTS {
            let key = tables::file_content(tenant, id);
            // Read before the references are: see `adopt`.
            let Some(found) = self.records.read::<ContentRow>(key.clone()).await? else { return Ok(()) };
            let mut row = found.row;
            if row.state() == ContentState::Live {
                let refs = self.records.rows.range(tables::content_refs(tenant, id, 1)).await.map_err(unavailable)?;
                if !refs.is_empty() {
                    return Ok(());
                }
                row.state = ContentState::Gone.into();
                row.discarded.extend(std::mem::take(&mut row.pieces).into_iter().map(|piece| piece.name));
            }
            if self.records.set(key, &row, Some(found.version)).await? {
                return self.discard(tenant, id, row.discarded).await;
            }
        }
        Err(busy())
    }

    /// Deletes pieces that a content had, then forgets them.
    async fn discard(&self, tenant: &TenantId, id: &str, names: Vec<String>) -> Result<(), Error> {
        self.pieces.delete(tenant, names.iter().map(String::as_str)).await?;
        for _ in 0..ATTEMPTS {
            let key = tables::file_content(tenant, id);
            let Some(found) = self.records.read::<ContentRow>(key.clone()).await? else { return Ok(()) };
            let mut row = found.row;
            row.discarded.retain(|name| !names.contains(name));
            let is_over = row.state() == ContentState::Gone && row.discarded.is_empty();
            let ttl_s = is_over.then_some(limits::CONTENT_GONE_TTL_S);
            if self.records.set_for(key, &row, Some(found.version), ttl_s).await? {
                return Ok(());
            }
        }
        Err(busy())
    }
}
