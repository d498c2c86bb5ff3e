//! A server whose disk runs full.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use stonechat_model::UserId;

use crate::{
    RealWorld,
    link::{Link, World, WorldError},
    probe::{counter, get},
};

/// How much a disk holds: more than a storm of seconds writes.
const DISK_MIB: u32 = 256;
/// How long the server may take to find out that its disk is full.
const FOUND: Duration = Duration::from_secs(60);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(100);
/// What a full disk is filled with, at once.
static CHUNK: [u8; 64 * 1024] = [1; 64 * 1024];

/// A small file system in memory, unmounted with this value.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at a folder, which is made.
    ///
    /// # Errors
    /// Mounting is not permitted, or there is no `mount`.
    pub fn mount(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={DISK_MIB}m");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output()?;
        if output.status.success() {
            return Ok(Self { path: path.to_owned() });
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Leaves no space.
    fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.ballast())?;
        let mut chunk = &CHUNK[..];
        while !chunk.is_empty() {
            match file.write(chunk) {
                Ok(_) => {}
                // Smaller and smaller pieces, until the last byte is taken.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => chunk = &chunk[..chunk.len() / 2],
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the space back.
    fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still end.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.path).status();
        drop(unmounted);
    }
}

/// A server on a small disk. Its harm, so many times: the disk is full until senders are told so; then there is space,
/// and the server is killed and started again. After that it is only killed, since nobody sends who could be told.
pub struct FullDiskWorld {
    inner: RealWorld,
    disk: SmallDisk,
    fills: usize,
}

impl FullDiskWorld {
    /// A server of this program with its data on a small disk, and its log beside it.
    ///
    /// # Errors
    /// The disk cannot be mounted; no free port.
    pub fn new(program: PathBuf, folder: &Path, fills: usize) -> io::Result<Self> {
        let disk = SmallDisk::mount(&folder.join("data"))?;
        Ok(Self { inner: RealWorld::new(program, folder)?, disk, fills })
    }

    /// Waits until the server refuses what it cannot write, and says that it is not ready.
    async fn refuses(&self) -> Result<(), WorldError> {
        let (address, until) = (self.inner.address(), Instant::now() + FOUND);
        while Instant::now() < until {
            let metrics = get(address, "/metrics").await.unwrap_or_default();
            let refused = counter(&metrics, "stonechat_router_unwritable_commands_total");
            if refused > 0 && get(address, "/readyz").await.is_none() && get(address, "/livez").await.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(WorldError("the disk is full, and nobody was told".to_owned()))
    }
}

#[async_trait]
impl World for FullDiskWorld {
    fn link(&self, user: &UserId, device: &str) -> Result<Box<dyn Link>, WorldError> {
        self.inner.link(user, device)
    }

    fn start(&mut self) -> Result<(), WorldError> {
        self.inner.start()
    }

    async fn ready(&mut self) -> Result<Duration, WorldError> {
        self.inner.ready().await
    }

    async fn kill(&mut self) -> Result<(), WorldError> {
        let Some(fills) = self.fills.checked_sub(1) else { return self.inner.kill().await };
        self.fills = fills;
        let failed = |error: io::Error| WorldError(format!("the disk: {error}"));
        self.disk.fill().map_err(failed)?;
        self.refuses().await?;
        self.disk.free().map_err(failed)?;
        self.inner.kill().await
    }

    fn harm(&self) -> String {
        "disk full".to_owned()
    }

    fn has_ended(&mut self) -> bool {
        self.inner.has_ended()
    }
}
