//! Uploads.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderName, Method, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use super::{
    Failures, FileInfo, Files, Progress, SILENCE, broken, broken_at,
    http::{Body, nothing, number, text},
};
use crate::ClientError;

/// What is read of a file at once, in bytes.
const READ_BYTES: usize = 64 << 10;
/// A file is uploaded in parts of at least this many bytes.
const PART_BYTES: u64 = 16 << 20;
/// Parts that are uploaded at once.
const PARTS: u64 = 4;
/// How long a server may take for the file of an upload with every byte: one that was killed begins again later.
const MADE_WITHIN: Duration = Duration::from_secs(300);
/// How often it is asked.
const MADE_LOOK: Duration = Duration::from_secs(1);
const OFFSET_TYPE: &str = "application/offset+octet-stream";
const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// A part of a file on this side.
struct Part {
    path: PathBuf,
    from: u64,
    length: u64,
    /// Bytes of it that were handed over, and those of the whole file.
    sent: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    size: u64,
    progress: Progress,
}

fn versioned(headers: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let version = (VERSION.0, VERSION.1.to_owned());
    std::iter::once(version).chain(headers.iter().cloned()).collect()
}

impl Files {
    /// Uploads a file of this machine under a name, whatever happens to the connection meanwhile: each part goes on where
    /// it broke off. A large file goes in parallel parts.
    ///
    /// # Errors
    /// The file cannot be read or changes its length, the server refuses it, or cannot be reached for long.
    pub async fn upload(&self, path: &Path, name: &str, progress: Progress) -> Result<FileInfo, ClientError> {
        let size = tokio::fs::metadata(path).await.map_err(|e| broken_at(path, &e))?.len();
        let metadata = ("upload-metadata", format!("filename {}", BASE64_STANDARD.encode(name)));
        let all = Arc::new(AtomicU64::new(0));
        let part = |from, length| Part {
            path: path.to_owned(),
            from,
            length,
            sent: Arc::default(),
            all: Arc::clone(&all),
            size,
            progress: Arc::clone(&progress),
        };
        let count = (size / PART_BYTES).clamp(1, PARTS);
        let location = if count == 1 {
            self.upload_part(part(0, size), &[metadata]).await?
        } else {
            let step = size.div_ceil(count);
            let starts = (0..count).map(|number| number * step);
            let parts: Vec<Part> = starts.map(|from| part(from, step.min(size - from))).collect();
            let partial = [("upload-concat", "partial".to_owned())];
            let uploads = parts.into_iter().map(|part| self.upload_part(part, &partial));
            // In order: what is made of them is one after the other.
            let urls: Vec<String> =
                stream::iter(uploads).buffered(usize::try_from(PARTS).unwrap_or(1)).try_collect().await?;
            let concat = ("upload-concat", format!("final;{}", urls.join(" ")));
            self.create(&[concat, metadata]).await?
        };
        self.made(location.rsplit('/').next().unwrap_or_default()).await
    }

    /// The file that became of an upload; a server that was interrupted makes it when it has come to itself.
    async fn made(&self, id: &str) -> Result<FileInfo, ClientError> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.info(id).await {
                Err(ClientError::Refused(error)) if error.code == "not_found" && begun.elapsed() < MADE_WITHIN => {
                    tokio::time::sleep(MADE_LOOK).await;
                }
                found => return found,
            }
        }
    }

    /// Begins an upload; gives its path.
    async fn create(&self, headers: &[(&'static str, String)]) -> Result<String, ClientError> {
        let mut failures = Failures::default();
        loop {
            match self.http.ask(Method::POST, "/v1/uploads", &versioned(headers), nothing()).await {
                Ok(response) => {
                    let location = text(response.headers(), header::LOCATION);
                    // Of a URL the path counts: the server may stand behind another one.
                    let at = location.find("/v1/uploads/").ok_or_else(|| {
                        ClientError::Protocol("an upload was created and its place not said".to_owned())
                    })?;
                    return Ok(location[at..].to_owned());
                }
                // What was created and not said expires by itself.
                Err(error) => failures.pause(error).await?,
            }
        }
    }

    async fn upload_part(&self, part: Part, headers: &[(&'static str, String)]) -> Result<String, ClientError> {
        let length = ("upload-length", part.length.to_string());
        let headers: Vec<_> = std::iter::once(length).chain(headers.iter().cloned()).collect();
        let location = self.create(&headers).await?;
        let (mut offset, mut failures) = (0, Failures::default());
        while offset < part.length {
            let headers = [
                ("upload-offset", offset.to_string()),
                ("content-type", OFFSET_TYPE.to_owned()),
                ("content-length", (part.length - offset).to_string()),
            ];
            let body = part.read_from(offset).await?;
            let headers = versioned(&headers);
            let patched = tokio::select! {
                patched = self.http.ask(Method::PATCH, &location, &headers, body) => patched,
                () = part.stands_still() => Err(ClientError::Unreachable("nothing is taken any more".to_owned())),
            };
            let before = offset;
            let error = match patched {
                Ok(response) => {
                    offset = number(response.headers(), UPLOAD_OFFSET).unwrap_or(offset);
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                failures.pause(error).await?;
                offset = self.offset(&location, &mut failures).await?;
            } else if offset <= before || offset > part.length {
                return Err(ClientError::Protocol("an upload is at an offset where it cannot be".to_owned()));
            }
            if offset > before {
                failures.forget();
            }
            part.is_at(offset);
        }
        Ok(location)
    }

    /// Asks how far an upload is.
    async fn offset(&self, location: &str, failures: &mut Failures) -> Result<u64, ClientError> {
        loop {
            match self.http.ask(Method::HEAD, location, &versioned(&[]), nothing()).await {
                Ok(response) => {
                    let unsaid = || ClientError::Protocol("the server does not say how far an upload is".to_owned());
                    return number(response.headers(), UPLOAD_OFFSET).ok_or_else(unsaid);
                }
                Err(error) => failures.pause(error).await?,
            }
        }
    }
}

impl Part {
    /// A body of what comes from an offset on; it says how much of it was taken.
    async fn read_from(&self, offset: u64) -> Result<Body, ClientError> {
        let mut file = File::open(&self.path).await.map_err(|e| broken_at(&self.path, &e))?;
        file.seek(SeekFrom::Start(self.from + offset)).await.map_err(|e| broken(&e))?;
        let taken = ReaderStream::with_capacity(file.take(self.length - offset), READ_BYTES);
        let (sent, all, size) = (Arc::clone(&self.sent), Arc::clone(&self.all), self.size);
        let progress = Arc::clone(&self.progress);
        let frames = taken.map_ok(move |bytes| {
            let count = bytes.len() as u64;
            sent.fetch_add(count, Ordering::Relaxed);
            progress(all.fetch_add(count, Ordering::Relaxed) + count, size);
            Frame::data(bytes)
        });
        Ok(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    /// Ends when for long nothing was handed over.
    async fn stands_still(&self) {
        let mut before = u64::MAX;
        loop {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent == before {
                return;
            }
            before = sent;
            tokio::time::sleep(SILENCE).await;
        }
    }

    /// The server has this much: what was handed over beyond it was lost.
    fn is_at(&self, offset: u64) {
        let sent = self.sent.swap(offset, Ordering::Relaxed);
        let before = match offset >= sent {
            true => self.all.fetch_add(offset - sent, Ordering::Relaxed) + (offset - sent),
            false => self.all.fetch_sub(sent - offset, Ordering::Relaxed) - (sent - offset),
        };
        (self.progress)(before, self.size);
    }
}
