//! Folders that survive a crash, and the one of this process for what is not yet in its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file that a process locks in its folder under `incoming` for as long as it runs.
const LOCK: &str = "lock";
/// How long a process may take to lock the folder it made.
const MAKING: Duration = Duration::from_secs(60);

/// A folder for what this process writes. It goes with the process, or with the next one that starts.
pub struct Incoming {
    path: PathBuf,
    _lock: fs::File,
}

impl Incoming {
    /// Makes a folder of this process, and removes those of processes that run no more.
    pub fn open(all: &Path) -> io::Result<Self> {
        make_folder(all)?;
        sweep(all)?;
        // Locked before another process can see it.
        let hidden = all.join(format!(".{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&hidden)?;
        let lock = fs::File::create(hidden.join(LOCK))?;
        lock.lock()?;
        let path = all.join(uuid::Uuid::now_v7().simple().to_string());
        fs::rename(&hidden, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What is still being written fails, as it should; what cannot be removed goes at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders whose process runs no more.
fn sweep(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        if is_being_made(&path) || is_running(&path) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => tracing::info!("swept what a crashed process left half-written"),
        }
    }
    Ok(())
}

/// Whether a process may be about to lock it.
fn is_being_made(folder: &Path) -> bool {
    let is_hidden = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let made = fs::metadata(folder).and_then(|data| data.modified());
    is_hidden && made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < MAKING))
}

fn is_running(folder: &Path) -> bool {
    match fs::File::open(folder.join(LOCK)) {
        Ok(lock) => matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// Makes a folder and those above it, each brought to the disk with the one that holds it.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| *above != Path::new("")) {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    folder.parent().filter(|above| *above != Path::new("")).map_or(Ok(()), sync_folder)
}

/// Brings to the disk what a folder holds by name.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
