//! Blobs in a folder: `blobs/<tenant>/<begin of the name>/<name>`, and `incoming/<process>` for what is being written.
//!
//! A blob is written under `incoming`, brought to the disk, and renamed to its place, whose folder is brought to the disk
//! too: a crash leaves it whole or not at all. What a process left in `incoming` is swept at the next start; a lock on its
//! folder there says that it still runs, so that several processes may share a folder.

mod paths;
mod walk;

use std::{
    fs,
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_model::{TenantId, limits};
use tokio::sync::Semaphore;

use crate::{BlobError, BlobKey, Blobs, Found, key::tenant_folder, length_bytes};
use paths::{Incoming, make_folder, sync_folder};

/// Blobs in a folder of this machine, or one that is mounted.
pub struct FolderBlobs {
    inner: Arc<Inner>,
    /// One permit for each thread that works on the disk.
    permits: Arc<Semaphore>,
}

struct Inner {
    blobs: PathBuf,
    incoming: Incoming,
    written: AtomicU64,
}

impl FolderBlobs {
    /// Opens a folder, makes it where there is none, and sweeps what crashed processes left half-done.
    ///
    /// # Errors
    /// [`BlobError::Setup`] when the folder cannot be made or written.
    pub async fn open(root: &Path) -> Result<Self, BlobError> {
        let root = root.to_owned();
        let opening = tokio::task::spawn_blocking(move || Inner::open(&root));
        let inner = opening.await.map_err(|_| BlobError::Setup("opening the folder of blobs failed".to_owned()))?;
        Ok(Self { inner: Arc::new(inner?), permits: Arc::new(Semaphore::new(limits::BLOBS_AT_ONCE)) })
    }

    /// Runs work on the disk in a thread that may wait, few at once. The work goes on when the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let closed = |_| BlobError::Unavailable("folder is closed".to_owned());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let inner = Arc::clone(&self.inner);
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner)
        });
        working.await.map_err(|_| BlobError::Unavailable("work on the folder broke off".to_owned()))?
    }
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn put(&self, key: &BlobKey, parts: Vec<Bytes>) -> Result<(), BlobError> {
        if length_bytes(&parts) > limits::BLOB_BYTES {
            return Err(BlobError::TooLarge);
        }
        let key = key.clone();
        self.blocking(move |inner| inner.put(&key, &parts).map_err(unavailable)).await
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let key = key.clone();
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        // Allocated by the thread that will free it, as a rule: for what others free an allocator keeps the memory with
        // the thread that had it, and of those that wait for the disk there are many.
        let bytes = if length > limits::BLOB_BYTES { Vec::new() } else { vec![0; length] };
        self.blocking(move |inner| inner.get(&key, range, bytes)).await
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        let key = key.clone();
        self.blocking(move |inner| match fs::metadata(inner.path(&key)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        })
        .await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let key = key.clone();
        self.blocking(move |inner| inner.delete(&key).map_err(unavailable)).await
    }

    async fn list(&self, tenant: &TenantId, after: Option<&BlobKey>, limit: usize) -> Result<Vec<Found>, BlobError> {
        let limit = limit.min(limits::BLOBS_LISTED);
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.blocking(move |inner| {
            walk::list(&inner.blobs.join(tenant_folder(&tenant)), &tenant, after.as_ref(), limit).map_err(unavailable)
        })
        .await
    }

    async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), BlobError> {
        let tenant = tenant.clone();
        self.blocking(move |inner| inner.delete_tenant(&tenant).map_err(unavailable)).await
    }
}

impl Inner {
    fn open(root: &Path) -> Result<Self, BlobError> {
        let opened = || -> io::Result<Self> {
            let blobs = root.join("blobs");
            make_folder(&blobs)?;
            let incoming = Incoming::open(&root.join("incoming"))?;
            Ok(Self { blobs, incoming, written: AtomicU64::new(0) })
        };
        opened().map_err(|error| BlobError::Setup(format!("folder of blobs {}: {error}", root.display())))
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        let mut path = self.blobs.join(tenant_folder(key.tenant()));
        path.push(key.folder());
        path.push(key.name());
        path
    }

    /// A path under `incoming` that nobody else has.
    fn fresh(&self) -> PathBuf {
        self.incoming.path().join(self.written.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn put(&self, key: &BlobKey, parts: &[Bytes]) -> io::Result<()> {
        let fresh = self.fresh();
        let put = write_durably(&fresh, parts).and_then(|()| place(&fresh, &self.path(key)));
        if put.is_err() {
            // What is left, if anything is, goes at the next start.
            let _ = fs::remove_file(&fresh);
        }
        put
    }

    /// Reads a range into bytes of its length.
    fn get(&self, key: &BlobKey, range: Range<u64>, mut bytes: Vec<u8>) -> Result<Bytes, BlobError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound,
            _ => unavailable(error),
        };
        let file = fs::File::open(self.path(key)).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        if range.start > range.end || range.end > size_bytes {
            return Err(BlobError::OutOfRange { size_bytes });
        }
        if range.end - range.start > limits::BLOB_BYTES as u64 {
            return Err(BlobError::TooLarge);
        }
        file.read_exact_at(&mut bytes, range.start).map_err(failed)?;
        Ok(bytes.into())
    }

    fn delete(&self, key: &BlobKey) -> io::Result<()> {
        let path = self.path(key);
        absent_is_fine(fs::remove_file(&path))?;
        if let Some(folder) = path.parent() {
            // Only an empty one goes.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Renames first: from then on nothing is found any more, and what a crash leaves goes at the next start.
    fn delete_tenant(&self, tenant: &TenantId) -> io::Result<()> {
        let gone = self.fresh();
        match fs::rename(self.blobs.join(tenant_folder(tenant)), &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        sync_folder(&self.blobs)?;
        fs::remove_dir_all(gone)
    }
}

fn write_durably(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Renames a file to its place, whose folder may be removed as empty by a deletion at any time.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    const ATTEMPTS: usize = 16;
    let folder = to.parent().unwrap_or(to);
    let mut placed = Err(io::ErrorKind::NotFound.into());
    for _ in 0..ATTEMPTS {
        placed = make_folder(folder).and_then(|()| fs::rename(from, to));
        match &placed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => break,
        }
    }
    placed?;
    sync_folder(folder)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// An error of the file system; its text names no path.
fn unavailable(error: io::Error) -> BlobError {
    BlobError::Unavailable(error.to_string())
}
