//! Blobs in a folder pass the suite of every store, and survive crashes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use stonechat_backends::server::until;
use stonechat_blobs::{BlobError, BlobKey, Blobs, FolderBlobs, conformance::Place};
use stonechat_model::TenantId;

async fn fresh() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Arc::new(FolderBlobs::open(folder.path()).await.unwrap());
    Place { blobs, guard: Box::new(folder) }
}

stonechat_blobs::blobs_conformance!(fresh);

/// How long writing may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Says to a process of this test where it is to write.
const WRITE_TO: &str = "STONECHAT_TEST_WRITE_TO";

fn key(name: &str) -> BlobKey {
    BlobKey::new(&TenantId::parse("acme").unwrap(), name).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn content(number: usize) -> Bytes {
    vec![(number % 251) as u8; 300_000 + number].into()
}

/// No test of its own: the process that is killed. It says each blob that was answered.
#[tokio::test]
async fn writes_until_killed() {
    let Ok(root) = std::env::var(WRITE_TO) else { return };
    let blobs = FolderBlobs::open(Path::new(&root)).await.unwrap();
    for number in 0.. {
        blobs.put(&key(&format!("{number:08}")), vec![content(number)]).await.unwrap();
        fs::write(Path::new(&root).join("answered"), number.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_answered_whole_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed_in_the_middle = 0;
    for round in 1..=5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writes_until_killed", "--exact", "--nocapture"])
            .env(WRITE_TO, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answered = || fs::read_to_string(folder.path().join("answered")).ok()?.parse::<usize>().ok();
        let _ = fs::remove_file(folder.path().join("answered"));
        let enough = until(PATIENCE, async || answered().is_some_and(|count| count >= 3 * round)).await;
        assert!(enough && child.try_wait().unwrap().is_none(), "writer ended or wrote nothing");
        child.kill().unwrap();
        child.wait().unwrap();
        let left = files(&folder.path().join("incoming")).len();
        killed_in_the_middle += usize::from(left > 1);
        let last = answered().unwrap_or(3 * round);
        let blobs = FolderBlobs::open(folder.path()).await.unwrap();
        for number in 0..=last {
            let key = key(&format!("{number:08}"));
            let size = blobs.size(&key).await.unwrap().unwrap();
            assert!(blobs.get(&key, 0..size).await.unwrap() == content(number), "blob {number}");
        }
        for found in blobs.list(key("0").tenant(), None, 1_000).await.unwrap() {
            assert!(found.size_bytes >= 300_000, "half a blob: {found:?}");
        }
        // The lock of the store that is open now.
        assert_eq!(files(&folder.path().join("incoming")).len(), 1);
    }
    eprintln!("killed while a blob was being written: {killed_in_the_middle} of 5");
}

#[tokio::test]
async fn a_store_that_opens_leaves_what_a_running_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let one = FolderBlobs::open(folder.path()).await.unwrap();
    let other = FolderBlobs::open(folder.path()).await.unwrap();
    one.put(&key("a"), vec![Bytes::from_static(b"one")]).await.unwrap();
    other.put(&key("b"), vec![Bytes::from_static(b"other")]).await.unwrap();
    assert_eq!(one.get(&key("b"), 0..5).await.unwrap(), "other");
    let incoming = folder.path().join("incoming");
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 2);
    drop((one, other));
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_none_of_ours_in_the_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(folder.path()).await.unwrap();
    blobs.put(&key("a"), vec![Bytes::from_static(b"one")]).await.unwrap();
    let tenant = folder.path().join("blobs/acme");
    fs::write(tenant.join("stray"), "x").unwrap();
    fs::create_dir(tenant.join("a/folder")).unwrap();
    fs::write(tenant.join("a/Upper.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tenant.join("a/link")).unwrap();
    let found = blobs.list(key("a").tenant(), None, 10).await.unwrap();
    assert_eq!(found.iter().map(|found| found.key.name()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let opened = FolderBlobs::open(&folder.path().join("file/below")).await;
    assert!(matches!(opened.err(), Some(BlobError::Setup(reason)) if reason.contains("file/below")));
}
