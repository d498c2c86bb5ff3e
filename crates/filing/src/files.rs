//! Files as they are asked for.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use stonechat_blobs::{Plain, Spare, Store};
use stonechat_errors::{Code, Error};
use stonechat_media::{Pool, PoolConfig};
use stonechat_model::{FileId, TenantId, UserId, limits};
use stonechat_proto::internal::v1::{FileRow, FileState};
use stonechat_rows::{Rows, tables};
use stonechat_scan::Scanner;
use stonechat_views::Views;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Reader, Variant,
    contents::Contents,
    direct::Objects,
    pieces::{PieceList, Pieces},
    quota::Counted,
    records::{Records, unavailable},
    scan::Scans,
};

/// Files that are decoded or wait for it with their bytes in memory.
const DECODING: usize = limits::MEDIA_THREADS + 1;

/// Segments of what is being taken, beyond the first of each request.
const SEGMENTS: usize = limits::UPLOAD_MEMORY_BYTES / Plain::SEGMENT_BYTES;

/// How files are kept.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// The largest file, in bytes.
    pub max_bytes: u64,
    /// How long a file is kept that no message refers to, in seconds.
    pub unreferenced_s: u64,
    /// How long a link to the store itself is good.
    pub direct_link: Duration,
}

/// What files are kept with.
pub struct FilesDependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// The bytes.
    pub store: Arc<Store>,
    /// What looks at each file before anybody but its owner may know of it; `None`: nothing does.
    pub scanner: Option<Scanner>,
}

/// The files of all tenants.
pub struct Files {
    pub(crate) config: FilesConfig,
    pub(crate) records: Records,
    pub(crate) pieces: Pieces,
    pub(crate) contents: Contents,
    pub(crate) counted: Counted,
    pub(crate) views: Views,
    pub(crate) pool: Pool,
    pub(crate) decoding: Semaphore,
    pub(crate) taking: Semaphore,
    /// A permit for each segment in memory of what is being taken, beyond the first of each request.
    pub(crate) memory: Arc<Semaphore>,
    /// What these segments lie in, again and again.
    pub(crate) spare: Spare,
    /// For whoever joins what several requests left: the bytes of one piece.
    pub(crate) joining: Semaphore,
    pub(crate) scans: Option<Scans>,
    pub(crate) objects: Objects,
    /// Until when this process has the looking at what is due to itself.
    pub(crate) leased: AtomicU64,
    giving: Arc<Semaphore>,
}

/// Bytes that are on their way to somebody.
pub type Bytes = bytes::Bytes;

/// A file in one of its forms, as it is given.
pub struct Shown {
    /// The file.
    pub file: FileRow,
    /// The media type of this form.
    pub content_type: String,
    /// How long this form is, in bytes.
    pub size_bytes: u64,
    /// The id of its bytes, which never change.
    pub content: String,
}

impl Files {
    /// Files in these rows and this store.
    pub fn new(config: FilesConfig, dependencies: FilesDependencies) -> Self {
        let FilesDependencies { rows, store, scanner } = dependencies;
        let records = Records { rows: Arc::clone(&rows) };
        let pieces = Pieces::new(records.clone(), Arc::clone(&store));
        Self {
            objects: Objects::new(store, config.direct_link),
            config,
            contents: Contents::new(records.clone(), pieces.clone()),
            counted: Counted::new(records.clone()),
            views: Views::new(rows),
            pool: Pool::new(PoolConfig::default()),
            decoding: Semaphore::new(DECODING),
            taking: Semaphore::new(limits::UPLOADS_AT_ONCE),
            memory: Arc::new(Semaphore::new(SEGMENTS)),
            spare: Spare::new(SEGMENTS),
            joining: Semaphore::new(1),
            giving: Arc::new(Semaphore::new(limits::DOWNLOADS_AT_ONCE)),
            scans: scanner.map(Scans::new),
            leased: AtomicU64::new(0),
            records,
            pieces,
        }
    }

    /// The largest file, in bytes. What cannot be scanned is not taken.
    pub fn max_bytes(&self) -> u64 {
        let scanned = self.scans.as_ref().map_or(u64::MAX, Scans::max_bytes);
        self.config.max_bytes.min(scanned)
    }

    /// A file in one of its forms, where the reader may have its bytes.
    pub async fn show(
        &self,
        tenant: &TenantId,
        reader: &Reader,
        id: &FileId,
        variant: Variant,
    ) -> Result<Shown, Error> {
        let file = self.file(tenant, reader, id).await?;
        match file.state() {
            FileState::Ready => {}
            FileState::Scanning => {
                let wait = Duration::from_secs(limits::SCAN_WAIT_S);
                return Err(Error::unavailable("the file is being scanned; try again").retry_after(wait));
            }
            FileState::Infected => {
                return Err(Error::new(Code::FailedPrecondition, "a scanner found something in the file"));
            }
            FileState::Deleted | FileState::Unspecified => return Err(Error::not_found("file")),
        }
        let thumbnails = file.description.as_ref().map(|shown| shown.thumbnails.as_slice()).unwrap_or_default();
        let thumbnail = match variant {
            Variant::Whole => {
                let (content_type, size_bytes) = (file.content_type.clone(), file.size_bytes);
                let content = file.content.clone();
                return Ok(Shown { file, content_type, size_bytes, content });
            }
            Variant::Small => thumbnails.first(),
            Variant::Large => thumbnails.last(),
        };
        let thumbnail = thumbnail.ok_or_else(|| Error::not_found("thumbnail"))?.clone();
        Ok(Shown {
            file,
            content_type: thumbnail.content_type,
            size_bytes: thumbnail.size_bytes,
            content: thumbnail.content,
        })
    }

    /// The bytes `first..=last` of a content, a bounded number of them in memory.
    pub async fn bytes(
        &self,
        tenant: &TenantId,
        content: &str,
        first: u64,
        last: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
        let busy = || Error::unavailable("too many files are given at once");
        let permit = Arc::clone(&self.giving).try_acquire_owned().map_err(|_| busy())?;
        self.stream(tenant, content, (first, last), Some(permit)).await
    }

    /// The bytes `first..=last` of a content; `permit` is kept until they were given.
    pub(crate) async fn stream(
        &self,
        tenant: &TenantId,
        content: &str,
        (first, last): (u64, u64),
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
        const STEP: u64 = limits::DOWNLOAD_STEP_BYTES as u64;
        let row = self.contents.find(tenant, content).await?.ok_or_else(|| {
            tracing::error!(tenant.id = %tenant, "file refers to a content that is not there");
            Error::internal()
        })?;
        let given = Given {
            list: PieceList::of_content(&row.pieces),
            pieces: self.pieces.clone(),
            tenant: tenant.clone(),
            _permit: permit,
        };
        let given = Arc::new(given);
        let steps = stream::unfold(first, move |at| {
            let until = last.saturating_add(1).min((at / STEP + 1) * STEP);
            std::future::ready((at <= last).then_some(((at, until), until)))
        });
        let reads = steps.map(move |(from, until)| {
            let given = Arc::clone(&given);
            async move { given.list.read_all(&given.pieces, &given.tenant, from, until).await }
        });
        Ok(reads.buffered(2))
    }

    /// A page of a user's files, and where the next one begins.
    pub async fn files_of(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: Option<&FileId>,
        size: usize,
    ) -> Result<(Vec<(FileId, FileRow)>, Option<FileId>), Error> {
        let range = tables::user_files(tenant, user, from.map(FileId::as_str), size + 1);
        let rows = self.records.rows.range(range).await.map_err(unavailable)?;
        let mut ids: Vec<FileId> = rows.iter().filter_map(|row| FileId::parse(row.key.text(2)).ok()).collect();
        let next = if ids.len() > size { ids.pop() } else { None };
        let mut files = Vec::new();
        for id in ids {
            if let Some(found) = self.records.read::<FileRow>(tables::file(tenant, &id)).await?
                && found.row.state() != FileState::Deleted
            {
                files.push((id, found.row));
            }
        }
        Ok((files, next))
    }
}

/// What a download reads.
struct Given {
    list: PieceList,
    pieces: Pieces,
    tenant: TenantId,
    _permit: Option<OwnedSemaphorePermit>,
}
