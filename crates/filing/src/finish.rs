//! Making the file of an upload that has every byte.
//!
//! All of it may be done again from its beginning, by any process: what it writes follows from the upload, and the
//! upload says at the end that it was done.

use std::time::Duration;

use bytes::Bytes;
use stonechat_errors::Error;
use stonechat_media::{Description, HEAD_BYTES, Kind, MediaError, Source, cost_bytes, describe, sniff};
use stonechat_model::{FileId, TenantId, UserId, limits, now_us};
use stonechat_proto::internal::v1::{
    FileDescription, FileRow, FileState, FileThumbnail, UploadPiece, UploadRow, UploadState,
};
use stonechat_rows::{Put, tables};

use crate::{
    Files, Upload,
    contents::{Hashed, content_id},
    lease::Lease,
    pieces::{PieceList, Pieces},
    records::{Due, corrupt, seconds_us},
    uploads::GRACE_US,
};

/// How often it is looked whether another process has made a file.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For how long.
const MADE_WAIT: Duration = Duration::from_secs(limits::UPLOAD_MADE_WAIT_S);
/// What is served where nothing better is known, and for everything that a browser would run.
const BINARY: &str = "application/octet-stream";

/// An upload's bytes, for decoders on threads of their own.
struct Uploaded {
    list: PieceList,
    pieces: Pieces,
    tenant: TenantId,
    runtime: tokio::runtime::Handle,
}

impl Source for Uploaded {
    fn size_bytes(&self) -> u64 {
        self.list.size_bytes()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let reading = self.list.read_some(&self.pieces, &self.tenant, at, into.len() as u64);
        let bytes = self.runtime.block_on(reading).map_err(std::io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// What a file consists of.
struct Made {
    content: String,
    size_bytes: u64,
    content_type: &'static str,
    description: FileDescription,
}

/// Text that a browser might take for something to run.
fn is_markup(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// What came of an attempt at an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The file is there.
    Made,
    /// Another process makes it.
    Elsewhere,
    /// There is none to be made.
    None,
}

impl Files {
    /// Makes the file of an upload that has every byte, unless another process is at it; says whether the file is there.
    pub async fn finish(&self, tenant: &TenantId, id: &FileId) -> Result<bool, Error> {
        self.attempt(tenant, id).await.map(|attempt| attempt == Attempt::Made)
    }

    /// Makes the file of an upload that has every byte, or waits for whoever does, or takes their place; says whether the
    /// file is there within [`limits::UPLOAD_MADE_WAIT_S`], which counts what others do.
    pub async fn finished(&self, tenant: &TenantId, id: &FileId) -> Result<bool, Error> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.attempt(tenant, id).await? {
                Attempt::Elsewhere if begun.elapsed() < MADE_WAIT => tokio::time::sleep(LOOK_EVERY).await,
                attempt => return Ok(attempt == Attempt::Made),
            }
        }
    }

    async fn attempt(&self, tenant: &TenantId, id: &FileId) -> Result<Attempt, Error> {
        let found = self.records.read::<UploadRow>(tables::upload(tenant, id)).await?;
        let Some(found) = found else { return Ok(Attempt::None) };
        match found.row.state() {
            UploadState::Finishing => {}
            UploadState::Finished => return Ok(Attempt::Made),
            _ => return Ok(Attempt::None),
        }
        let Some(mut lease) = Lease::take(&self.records, tenant, id, found).await? else {
            return Ok(Attempt::Elsewhere);
        };
        let upload = lease.upload().clone();
        let hashed = Hashed::new(upload.row.hashed.clone());
        let Some(made) = lease.during(&hashed, Box::pin(self.make(&upload, &hashed))).await? else {
            return Ok(Attempt::Elsewhere);
        };
        match made {
            Ok(contents) => {
                let ended_us = now_us();
                self.records.remember(tenant, &Due::Upload(id.clone()), ended_us + GRACE_US).await?;
                let finished = |row: &mut UploadRow| {
                    row.state = UploadState::Finished.into();
                    row.ended_us = ended_us;
                    row.contents = contents;
                    row.hashed.clear();
                };
                lease.end(finished).await?;
                Ok(Attempt::Made)
            }
            Err(error) => {
                lease.end(|row| row.hashed = hashed.stretches()).await?;
                Err(error)
            }
        }
    }

    /// Makes the file; gives its contents.
    async fn make(&self, upload: &Upload, hashed: &Hashed) -> Result<Vec<String>, Error> {
        let Upload { id, tenant, row, .. } = upload;
        let made = self.describe(upload, hashed).await?;
        let created_us = now_us();
        let expires_us = created_us + seconds_us(self.config.unreferenced_s);
        let mut contents = vec![made.content.clone()];
        contents.extend(made.description.thumbnails.iter().map(|thumbnail| thumbnail.content.clone()));
        let file = FileRow {
            owner: row.owner.clone(),
            name: row.name.clone(),
            content_type: made.content_type.to_owned(),
            size_bytes: made.size_bytes,
            state: self.first_state().into(),
            content: made.content,
            description: Some(made.description),
            created_us,
            expires_us,
            counted_bytes: row.size_bytes,
            ..FileRow::default()
        };
        self.records.remember(tenant, &Due::File(id.clone()), expires_us).await?;
        if file.state() == FileState::Scanning {
            let due_us = created_us + seconds_us(limits::SCAN_AGAIN_S);
            self.records.remember(tenant, &Due::File(id.clone()), due_us).await?;
        }
        self.remember_object(tenant, id, &file).await?;
        if let Ok(owner) = UserId::parse(&row.owner) {
            let version = u64::try_from(row.created_us).unwrap_or(0);
            let key = tables::user_file(tenant, &owner, id);
            self.records.write(vec![Put { key, value: Bytes::new(), version, ttl: None }]).await?;
        }
        // Whoever made it before made the same.
        self.records.set(tables::file(tenant, id), &file, None).await?;
        metrics::counter!("stonechat_files_made_total").increment(1);
        Ok(contents)
    }

    /// Finds out what an upload is, and keeps its bytes as contents.
    async fn describe(&self, upload: &Upload, hashed: &Hashed) -> Result<Made, Error> {
        let Upload { id, tenant, row, .. } = upload;
        let list = PieceList::of_upload(&row.pieces);
        let head = list.read_all(&self.pieces, tenant, 0, list.size_bytes().min(HEAD_BYTES as u64)).await?;
        let kind = sniff(&head);
        let described = self.decode(tenant, list.clone(), kind).await?;
        let size_bytes = list.size_bytes();
        let Some(described) = described else {
            // A picture that nobody can decode may be anything.
            let content_type = if kind.is_picture() { BINARY } else { kind.media_type() };
            let content = self.keep(tenant, id, &row.pieces, hashed).await?;
            return Ok(Made { content, size_bytes, content_type, description: FileDescription::default() });
        };
        let is_markup = kind == Kind::Text && is_markup(&head);
        let content_type = if is_markup { BINARY } else { described.media_type() };
        let mut description = FileDescription {
            width: described.width,
            height: described.height,
            duration_ms: described.duration_ms,
            blurhash: described.blurhash,
            waveform: described.waveform,
            animated: described.is_animated,
            thumbnails: Vec::new(),
        };
        for thumbnail in described.thumbnails.into_iter().rev() {
            let size_bytes = thumbnail.bytes.len() as u64;
            let pieces = self.pieces.write_all(tenant, id, thumbnail.bytes.into()).await?;
            description.thumbnails.push(FileThumbnail {
                width: thumbnail.width,
                height: thumbnail.height,
                size_bytes,
                content_type: thumbnail.media_type.to_owned(),
                content: self.keep(tenant, id, &pieces, &Hashed::default()).await?,
            });
        }
        if !kind.is_picture() {
            self.add_poster(upload, &mut description).await?;
        }
        let (content, size_bytes) = match described.stripped {
            Some(stripped) => {
                let size_bytes = stripped.len() as u64;
                let pieces = self.pieces.write_all(tenant, id, stripped.into()).await?;
                (self.keep(tenant, id, &pieces, &Hashed::default()).await?, size_bytes)
            }
            None => (self.keep(tenant, id, &row.pieces, hashed).await?, size_bytes),
        };
        Ok(Made { content, size_bytes, content_type, description })
    }

    async fn keep(
        &self,
        tenant: &TenantId,
        file: &FileId,
        pieces: &[UploadPiece],
        hashed: &Hashed,
    ) -> Result<String, Error> {
        let content = content_id(&self.pieces, tenant, pieces, hashed).await?;
        self.contents.adopt(tenant, &content, pieces, file).await?;
        Ok(content)
    }

    /// What decoders say of an upload; `None` where they say that it is not what it begins like.
    async fn decode(&self, tenant: &TenantId, list: PieceList, kind: Kind) -> Result<Option<Description>, Error> {
        let most = if kind.is_picture() { limits::PICTURE_BYTES } else { u64::MAX };
        if list.size_bytes() > most {
            return Ok(None);
        }
        let _permit = self.decoding.acquire().await.map_err(|_| Error::internal())?;
        let source = Uploaded {
            list,
            pieces: self.pieces.clone(),
            tenant: tenant.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let (source, cost) = if kind.is_picture() {
            let bytes = source.list.read_all(&self.pieces, tenant, 0, source.list.size_bytes()).await?;
            let source = bytes.to_vec();
            let costing = tokio::task::spawn_blocking(move || (cost_bytes(&source), source));
            let (cost, source) = costing.await.map_err(|_| Error::internal())?;
            (Box::new(source) as Box<dyn Source>, cost)
        } else {
            (Box::new(source) as Box<dyn Source>, Ok(limits::DOWNLOAD_STEP_BYTES as u64))
        };
        let described = match cost {
            Ok(cost) => self.pool.run(cost, move |deadline| describe(source.as_ref(), deadline)).await,
            Err(error) => Err(error),
        };
        match described {
            Ok(described) => Ok(Some(described)),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "file could not be looked at now");
                Err(Error::unavailable("files cannot be looked at now"))
            }
            Err(error) => {
                count_refused(&error);
                Ok(None)
            }
        }
    }

    /// Shows a video by the picture that its client sent for it.
    async fn add_poster(&self, upload: &Upload, description: &mut FileDescription) -> Result<(), Error> {
        let Ok(poster) = FileId::parse(&upload.row.poster) else { return Ok(()) };
        let tenant = &upload.tenant;
        let Some(found) = self.records.read::<FileRow>(tables::file(tenant, &poster)).await? else { return Ok(()) };
        // Its thumbnails are pictures that were made here, which no scanner has to look at.
        let is_there = matches!(found.row.state(), FileState::Ready | FileState::Scanning);
        if found.row.owner != upload.row.owner || !is_there {
            return Ok(());
        }
        let shown = found.row.description.ok_or_else(|| corrupt("files"))?;
        for thumbnail in shown.thumbnails {
            if self.contents.share(tenant, &thumbnail.content, &upload.id).await? {
                description.thumbnails.push(thumbnail);
            }
        }
        description.blurhash = shown.blurhash;
        Ok(())
    }
}

fn count_refused(error: &MediaError) {
    let why = match error {
        MediaError::TooManyPixels { .. } => "pixels",
        MediaError::TooLarge(_) => "size",
        MediaError::TooManySteps | MediaError::TimedOut => "time",
        MediaError::Panicked => "panic",
        _ => "malformed",
    };
    metrics::counter!("stonechat_files_not_described_total", "why" => why).increment(1);
}
