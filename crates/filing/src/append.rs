//! Taking an upload's bytes: cut into pieces, written, and only then counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use stonechat_blobs::Plain;
use stonechat_errors::{Code, Error};
use stonechat_model::{limits, now_us};
use stonechat_proto::internal::v1::{UploadPiece, UploadRow, UploadState};
use stonechat_rows::tables;

use crate::{
    Checksum, Files, Upload,
    pieces::PieceList,
    records::{Due, conflict, seconds_us},
    tus::Summing,
    uploads::FINISH_AGAIN_US,
};

const PIECE: u64 = limits::UPLOAD_PIECE_BYTES as u64;
/// Silence within a body.
const IDLE: Duration = Duration::from_secs(limits::UPLOAD_IDLE_TIMEOUT_S);
/// How long to wait where as much is taken as may.
const LATER: Duration = Duration::from_secs(1);
/// How long to wait for others to write what they have in memory, before a smaller piece is written.
const MEMORY_WAIT: Duration = Duration::from_millis(100);

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The upload is not where the bytes begin, or another request took the same.
    #[error("the upload's offset is another one")]
    Offset,
    /// The bytes are not those of the checksum; none was kept.
    #[error("the checksum is not that of the bytes")]
    Checksum,
    /// The body broke off; what came of it was kept, unless it came with a checksum.
    #[error("the body broke off")]
    Broken,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

/// One request's bytes on their way.
struct Appending<'a> {
    files: &'a Files,
    upload: Upload,
    /// What is not written yet.
    buffer: Plain,
    /// Whether what is written is counted at the end only, when the checksum was right.
    all_or_nothing: bool,
    /// Pieces that the row does not have for sure: it was not tried yet.
    fresh: Vec<String>,
    /// Pieces that the row no longer has.
    stale: Vec<String>,
    /// How many bytes are written.
    written: u64,
}

impl Files {
    /// Takes bytes to the end of an upload as it was read. What was written when a body breaks off is kept.
    pub async fn append<S, E>(&self, upload: Upload, body: S, sum: Option<Checksum>) -> Result<Upload, AppendError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        if !upload.is_open() || upload.is_final() {
            return Err(AppendError::Offset);
        }
        let busy = || Error::unavailable("too many files are taken at once").retry_after(LATER);
        let _permit = self.taking.try_acquire().map_err(|_| busy())?;
        let written = upload.offset_bytes();
        let mut appending = Appending {
            files: self,
            upload,
            buffer: Plain::in_spare(&self.spare),
            all_or_nothing: sum.is_some(),
            fresh: Vec::new(),
            stale: Vec::new(),
            written,
        };
        let done = appending.take_all(body, sum.map(Checksum::begin)).await;
        // What came to nothing is not left behind; what cannot be deleted now is found when the upload is over.
        let unused = if done.is_err() { &appending.fresh } else { &appending.stale };
        if let Err(error) = self.pieces.delete(&appending.upload.tenant, unused.iter().map(String::as_str)).await {
            tracing::debug!(%error, "pieces are left for later");
        }
        done.map(|()| appending.upload)
    }
}

impl Appending<'_> {
    async fn take_all<S, E>(&mut self, body: S, mut sum: Option<Summing>) -> Result<(), AppendError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        let mut body = std::pin::pin!(body);
        let is_whole = loop {
            match tokio::time::timeout(IDLE, body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    if let Some(sum) = &mut sum {
                        sum.update(&bytes);
                    }
                    self.take(bytes).await?;
                }
                Ok(None) => break true,
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        };
        if let Some(sum) = sum {
            if !is_whole {
                return Err(AppendError::Broken);
            }
            if !sum.is_right() {
                return Err(AppendError::Checksum);
            }
        }
        self.flush().await?;
        self.count().await?;
        if is_whole { Ok(()) } else { Err(AppendError::Broken) }
    }

    /// Takes some bytes; writes a piece when one is full.
    async fn take(&mut self, mut bytes: Bytes) -> Result<(), AppendError> {
        let end = self.written + (self.buffer.len() + bytes.len()) as u64;
        if end > self.upload.size_bytes() {
            return Err(Error::new(Code::TooLarge, "more bytes than the upload has").into());
        }
        while !bytes.is_empty() {
            self.make_room().await?;
            let at = self.written + self.buffer.len() as u64;
            let left = usize::try_from(PIECE - at % PIECE).unwrap_or(usize::MAX);
            let some = bytes.split_to(bytes.len().min(left).min(self.buffer.room()));
            self.buffer.extend(&some);
            if some.len() == left {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Makes room for more bytes: by memory that is had, or by writing what there is. The first segment is had always, so
    /// that everybody goes on whoever is slow.
    async fn make_room(&mut self) -> Result<(), AppendError> {
        if self.buffer.room() > 0 {
            return Ok(());
        }
        let mut memory = None;
        if !self.buffer.is_empty() {
            let getting = tokio::time::timeout(MEMORY_WAIT, Arc::clone(&self.files.memory).acquire_owned());
            memory = getting.await.ok().and_then(Result::ok);
            if memory.is_none() {
                self.write().await?;
            }
        }
        self.buffer.grow(memory);
        Ok(())
    }

    /// Writes what is in the buffer, and counts it where it is not all or nothing.
    async fn write(&mut self) -> Result<(), AppendError> {
        self.flush().await?;
        if self.all_or_nothing { Ok(()) } else { self.count().await }
    }

    /// Writes what is in the buffer, which lies in one stretch of a piece's size. What earlier requests left of this
    /// stretch becomes one piece with it when the stretch is whole, or when they left much.
    async fn flush(&mut self) -> Result<(), AppendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut plain = std::mem::replace(&mut self.buffer, Plain::in_spare(&self.files.spare));
        let end = self.written + plain.len() as u64;
        let begin = self.written - self.written % PIECE;
        let tail = self.tail_from(begin);
        let left = self.upload.row.pieces.len() - tail;
        let is_whole = end.is_multiple_of(PIECE) || end == self.upload.size_bytes();
        let (files, tenant) = (self.files, self.upload.tenant.clone());
        let mut joining = None;
        if left > 0 && (is_whole || left >= limits::UPLOAD_TAIL_PIECES) {
            joining = Some(files.joining.acquire().await.map_err(|_| Error::internal())?);
            let earlier: Vec<UploadPiece> = self.upload.row.pieces.split_off(tail);
            let mut joined = PieceList::of_upload(&earlier).read_plain(&files.pieces, &tenant, &files.spare).await?;
            joined.append(plain);
            plain = joined;
            self.stale.extend(earlier.into_iter().map(|piece| piece.name));
        }
        let piece = files.pieces.write(&tenant, &self.upload.id, plain).await?;
        drop(joining);
        self.fresh.push(piece.name.clone());
        self.upload.row.pieces.push(piece);
        self.written = end;
        Ok(())
    }

    /// The first piece that begins at or after a place.
    fn tail_from(&self, begin: u64) -> usize {
        let (mut at, mut index) = (0, 0);
        for piece in &self.upload.row.pieces {
            if at >= begin {
                break;
            }
            at += piece.size_bytes;
            index += 1;
        }
        index
    }

    /// Moves the row's offset over what is written.
    async fn count(&mut self) -> Result<(), AppendError> {
        let Upload { id, tenant, row, version } = &mut self.upload;
        if self.written == row.offset_bytes {
            return Ok(());
        }
        let now_us = now_us();
        row.offset_bytes = self.written;
        let latest_us = row.created_us + seconds_us(limits::UPLOAD_AGE_S);
        row.expires_us = (now_us + seconds_us(limits::UPLOAD_TTL_S)).min(latest_us);
        if row.offset_bytes == row.size_bytes {
            row.state = if row.is_part { UploadState::Part } else { UploadState::Finishing }.into();
        }
        if row.state() == UploadState::Finishing {
            // Should this process be lost now, somebody makes the file.
            self.files.records.remember(tenant, &Due::Upload(id.clone()), now_us + FINISH_AGAIN_US).await?;
        }
        // From here on the row may have them, even where the answer is that it was not so or none at all.
        self.fresh.clear();
        let key = tables::upload(tenant, id);
        if self.files.records.set(key.clone(), &*row, Some(*version)).await? {
            *version += 1;
            return Ok(());
        }
        // A call that was repeated on its way finds its own first doing.
        match self.files.records.read::<UploadRow>(key).await? {
            Some(found) if found.row == *row => {
                *version = found.version;
                Ok(())
            }
            _ => Err(AppendError::Offset),
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Offset => conflict(),
            AppendError::Checksum => Self::invalid("the checksum is not that of the bytes"),
            AppendError::Broken => Self::invalid("body broke off"),
            AppendError::Other(error) => error,
        }
    }
}
