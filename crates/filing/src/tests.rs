//! What holds of files over rows and blobs, whoever does what when.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use stonechat_blobs::{Blobs, BlobsConfig, MasterKeySource, MasterKeys, Sealer, Store, StoreConfig};
use stonechat_model::{ConversationId, FileId, TenantId, UserId, now_us};
use stonechat_proto::internal::v1::{FileRefRow, FileRow, FileState, UploadRow, UploadState};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Put, Rows, tables};
use stonechat_scan::Scanner;
use tempfile::TempDir;

mod making;
mod memory;

use crate::{
    AppendError, Files, FilesConfig, FilesDependencies, NewUpload, Reader, Upload,
    records::{Due, Found},
    uploads::GRACE_US,
};

const MIB: usize = 1 << 20;
const QUOTA: u64 = 1 << 40;

fn config() -> FilesConfig {
    FilesConfig { max_bytes: 1 << 32, unreferenced_s: 3_600, direct_link: Duration::from_secs(60) }
}

pub(crate) struct World {
    pub files: Arc<Files>,
    pub tenant: TenantId,
    pub alice: UserId,
    folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(None).await
    }

    pub async fn scanned(scanner: Scanner) -> Self {
        Self::with(Some(scanner)).await
    }

    async fn with(scanner: Option<Scanner>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: Arc<dyn Rows> =
            EmbeddedRows::open(&folder.path().join("rows"), EmbeddedRowsConfig::default()).unwrap();
        let files = Arc::new(Self::open(&folder, &rows, scanner).await);
        let (tenant, alice) = (TenantId::parse("acme").unwrap(), UserId::parse("alice").unwrap());
        Self { files, tenant, alice, folder }
    }

    /// A process of its own on the same rows and blobs.
    async fn open(folder: &TempDir, rows: &Arc<dyn Rows>, scanner: Option<Scanner>) -> Files {
        let (folder, master) = (folder.path().join("blobs"), folder.path().join("master.key"));
        let stored = StoreConfig { blobs: BlobsConfig::Folder(folder), master_keys: MasterKeySource::Made(master) };
        let store = stonechat_blobs::open(stored, Arc::clone(rows)).await.unwrap();
        Files::new(config(), FilesDependencies { rows: Arc::clone(rows), store, scanner })
    }

    pub async fn another(&self) -> Files {
        Self::open(&self.folder, &self.files.records.rows, None).await
    }

    /// A process on a store of its own, the same rows and the same master keys.
    pub fn process_on(&self, blobs: Arc<dyn Blobs>) -> Files {
        let rows = Arc::clone(&self.files.records.rows);
        let masters = MasterKeys::load_or_make(&self.folder("master.key")).unwrap();
        let store = Arc::new(Store::new(blobs, Sealer::new(Arc::clone(&rows), masters)));
        Files::new(config(), FilesDependencies { rows, store, scanner: None })
    }

    /// A place in this world's folder.
    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn begin(&self, size: usize, is_part: bool) -> Upload {
        let new = NewUpload { size_bytes: size as u64, is_part, ..self.joined() };
        self.files.create(&self.tenant, QUOTA, new).await.unwrap()
    }

    /// What parts are to become.
    fn joined(&self) -> NewUpload {
        NewUpload {
            owner: Some(self.alice.clone()),
            name: "a.bin".to_owned(),
            size_bytes: 0,
            is_part: false,
            metadata: String::new(),
            concat: String::new(),
            poster: None,
        }
    }

    pub async fn upload(&self, content: &[u8]) -> FileId {
        let upload = self.begin(content.len(), false).await;
        // Without bytes it has every one.
        let upload = if upload.is_open() { append(&self.files, upload, content).await.unwrap() } else { upload };
        assert!(self.files.finish(&self.tenant, &upload.id).await.unwrap());
        upload.id
    }

    pub async fn fetch(&self, id: &FileId) -> Option<Vec<u8>> {
        use futures::TryStreamExt as _;
        let reader = Reader::User(self.alice.clone());
        let shown = self.files.show(&self.tenant, &reader, id, crate::Variant::Whole).await.ok()?;
        let bytes = self.files.bytes(&self.tenant, &shown.content, 0, shown.size_bytes - 1).await.unwrap();
        Some(bytes.try_collect::<Vec<Bytes>>().await.unwrap().concat())
    }

    pub async fn file(&self, id: &FileId) -> FileRow {
        let found = self.files.records.read::<FileRow>(tables::file(&self.tenant, id)).await.unwrap();
        found.unwrap().row
    }

    /// Changes an upload's row as if time had passed.
    pub async fn age(&self, id: &FileId, change: impl Fn(&mut UploadRow)) {
        let key = tables::upload(&self.tenant, id);
        let Found { mut row, version } = self.files.records.read::<UploadRow>(key.clone()).await.unwrap().unwrap();
        change(&mut row);
        assert!(self.files.records.set(key, &row, Some(version)).await.unwrap());
        self.files.records.remember(&self.tenant, &Due::Upload(id.clone()), now_us()).await.unwrap();
    }

    pub async fn age_file(&self, id: &FileId) {
        let key = tables::file(&self.tenant, id);
        let Found { mut row, version } = self.files.records.read::<FileRow>(key.clone()).await.unwrap().unwrap();
        row.expires_us = now_us() - 1;
        assert!(self.files.records.set(key, &row, Some(version)).await.unwrap());
        self.files.records.remember(&self.tenant, &Due::File(id.clone()), now_us()).await.unwrap();
    }

    /// Says that a message refers to a file, or no longer does.
    pub async fn refer(&self, id: &FileId, removed: bool) {
        let chat = ConversationId::parse("chat").unwrap();
        let row = FileRefRow { removed, sender: "alice".to_owned() };
        let key = tables::file_ref(&self.tenant, id, &chat, 1);
        let value = prost::Message::encode_to_vec(&row).into();
        let put = Put { key, value, version: 1 + u64::from(removed), ttl: None };
        self.files.records.write(vec![put]).await.unwrap();
    }

    pub async fn sweep(&self) {
        // The first look says from where on.
        self.files.look().await.unwrap();
        self.files.look().await.unwrap();
    }

    pub async fn used(&self) -> u64 {
        crate::used_bytes(&self.files.records.rows, &self.tenant).await.unwrap()
    }

    /// Every blob in the store.
    pub fn blobs(&self) -> BTreeSet<std::path::PathBuf> {
        fn walk(folder: &std::path::Path, found: &mut BTreeSet<std::path::PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.insert(path);
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.folder.path().join("blobs").join("blobs").join("acme"), &mut found);
        found
    }
}

async fn append(files: &Files, upload: Upload, content: &[u8]) -> Result<Upload, AppendError> {
    let body: Vec<Result<Bytes, std::io::Error>> =
        content.chunks(100_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    files.append(upload, futures::stream::iter(body), None).await
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251).to_le_bytes()[0] ^ seed).collect()
}

#[tokio::test]
async fn small_requests_become_whole_pieces_and_the_same_content() {
    let world = World::new().await;
    let content = content(9 * MIB, 1);
    let whole = world.upload(&content).await;
    let mut upload = world.begin(content.len(), false).await;
    for part in content.chunks(99_999) {
        upload = append(&world.files, upload, part).await.unwrap();
        assert!(upload.row.pieces.len() <= 1 + stonechat_model::limits::UPLOAD_TAIL_PIECES);
    }
    assert_eq!(upload.row.pieces.len(), 2, "8 MiB and the rest");
    assert!(world.files.finish(&world.tenant, &upload.id).await.unwrap());
    assert_eq!(world.file(&whole).await.content, world.file(&upload.id).await.content);
    assert!(world.fetch(&upload.id).await.unwrap() == content);
    world.age(&upload.id, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    world.age(&whole, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    world.sweep().await;
    assert_eq!(world.blobs().len(), 2, "the same bytes are stored once");
    assert!(world.fetch(&whole).await.unwrap() == content);
}

#[tokio::test]
async fn an_upload_that_rests_expires_and_leaves_nothing() {
    let world = World::new().await;
    let upload = world.begin(10 * MIB, false).await;
    let upload = append(&world.files, upload, &content(9 * MIB, 2)).await.unwrap();
    assert_eq!(world.used().await, 10 * MIB as u64);
    world.age(&upload.id, |row| row.expires_us = now_us() - 1).await;
    world.sweep().await;
    assert_eq!(world.used().await, 0);
    assert!(matches!(append(&world.files, upload.clone(), b"more").await, Err(AppendError::Offset)));
    world.age(&upload.id, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    world.sweep().await;
    assert_eq!(world.blobs(), BTreeSet::new(), "pieces are left");
    assert_eq!(world.used().await, 0, "given back twice, or taken again");
}

#[tokio::test]
async fn what_a_killed_process_left_is_finished_by_another() {
    let world = World::new().await;
    let content = content(MIB, 3);
    let upload = world.begin(content.len(), false).await;
    let upload = append(&world.files, upload, &content).await.unwrap();
    assert!(world.fetch(&upload.id).await.is_none());
    let other = Arc::new(world.another().await);
    // Begun by a process that was lost: its lease has run out.
    world.age(&upload.id, |row| row.leased_until_us = now_us() - 1).await;
    other.look().await.unwrap();
    other.look().await.unwrap();
    assert!(world.fetch(&upload.id).await.unwrap() == content);
    assert!(world.files.finish(&world.tenant, &upload.id).await.unwrap(), "finishing again changes nothing");
}

#[tokio::test]
async fn a_file_stays_while_a_message_refers_to_it() {
    let world = World::new().await;
    let (shown, alone) = (world.upload(&content(1_000, 4)).await, world.upload(&content(2_000, 4)).await);
    world.refer(&shown, false).await;
    world.age_file(&shown).await;
    world.age_file(&alone).await;
    world.sweep().await;
    assert_eq!(world.file(&alone).await.state(), FileState::Deleted);
    assert!(world.fetch(&alone).await.is_none());
    assert!(world.file(&shown).await.expires_us > now_us());
    assert!(world.fetch(&shown).await.is_some());
    assert_eq!(world.used().await, 1_000);
    world.refer(&shown, true).await;
    world.age_file(&shown).await;
    world.sweep().await;
    assert!(world.fetch(&shown).await.is_none());
    assert_eq!(world.used().await, 0);
    for id in [&shown, &alone] {
        world.age(id, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    }
    world.sweep().await;
    assert_eq!(world.blobs(), BTreeSet::new());
}

#[tokio::test]
async fn a_file_that_was_just_kept_for_a_message_is_not_deleted() {
    let world = World::new().await;
    let id = world.upload(&content(1_000, 5)).await;
    world.age_file(&id).await;
    // As whoever sends a message does it, between the sweep's reading and its writing or before.
    let key = tables::file(&world.tenant, &id);
    let Found { mut row, version } = world.files.records.read::<FileRow>(key.clone()).await.unwrap().unwrap();
    row.expires_us = now_us() + 1_000_000_000;
    assert!(world.files.records.set(key, &row, Some(version)).await.unwrap());
    world.sweep().await;
    assert!(world.fetch(&id).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_come_and_go_at_once_are_never_lost() {
    let world = Arc::new(World::new().await);
    let content = content(5_000, 6);
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let (world, content) = (Arc::clone(&world), content.clone());
        rounds.push(tokio::spawn(async move {
            for _ in 0..25 {
                let id = world.upload(&content).await;
                // Others have deleted the same bytes a hundred times meanwhile.
                assert!(world.fetch(&id).await.unwrap() == content, "a file without its bytes");
                world.files.delete(&world.tenant, &id).await.unwrap();
                assert!(world.fetch(&id).await.is_none());
            }
        }));
    }
    for round in rounds {
        round.await.unwrap();
    }
    assert_eq!(world.used().await, 0);
    let last = world.upload(&content).await;
    assert!(world.fetch(&last).await.unwrap() == content);
}

#[tokio::test]
async fn a_request_that_lost_deletes_nothing_of_the_one_that_won() {
    let world = World::new().await;
    let content = content(9 * MIB, 7);
    let upload = world.begin(content.len(), false).await;
    let won = append(&world.files, upload.clone(), &content).await.unwrap();
    let other = world.another().await;
    assert!(matches!(append(&other, upload, &content).await, Err(AppendError::Offset)));
    assert!(world.files.finish(&world.tenant, &won.id).await.unwrap());
    assert!(world.fetch(&won.id).await.unwrap() == content);
    world.age(&won.id, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    world.sweep().await;
    assert_eq!(world.blobs().len(), 2, "what the loser wrote is left");
    assert!(world.fetch(&won.id).await.unwrap() == content);
}

#[tokio::test]
async fn parts_go_the_way_of_what_was_made_of_them() {
    let world = World::new().await;
    let content = content(3 * MIB, 8);
    let mut parts = Vec::new();
    for part in content.chunks(MIB + 1) {
        let upload = world.begin(part.len(), true).await;
        parts.push(append(&world.files, upload, part).await.unwrap().id);
    }
    let reader = Reader::User(world.alice.clone());
    let new = world.joined();
    let made = world.files.concatenate(&world.tenant, &reader, &parts, new.clone()).await.unwrap();
    let again = world.files.concatenate(&world.tenant, &reader, &parts, new.clone()).await.unwrap();
    assert_eq!(again.id, made.id, "the client had not heard of it");
    let backwards: Vec<_> = parts.iter().rev().cloned().collect();
    for others in [&backwards[..], &parts[1..]] {
        assert!(world.files.concatenate(&world.tenant, &reader, others, new.clone()).await.is_err());
    }
    assert!(world.files.finish(&world.tenant, &made.id).await.unwrap());
    for id in parts.iter().chain([&made.id]) {
        world.age(id, |row| row.ended_us = now_us() - GRACE_US - 1).await;
    }
    world.sweep().await;
    assert!(world.fetch(&made.id).await.unwrap() == content, "a part took its bytes along");
    assert_eq!(world.used().await, content.len() as u64);
    world.files.delete(&world.tenant, &made.id).await.unwrap();
    assert_eq!((world.used().await, world.blobs().len()), (0, 0));
    let after = world.files.concatenate(&world.tenant, &reader, &parts, new).await;
    assert!(after.is_ok_and(|after| after.id == made.id), "parts are taken once");
    assert_eq!((world.used().await, world.blobs().len()), (0, 0));
}

#[tokio::test]
async fn a_final_upload_that_goes_on_takes_no_part_that_another_one_took() {
    let world = World::new().await;
    let mut parts = Vec::new();
    for part in content(2 * MIB, 9).chunks(MIB) {
        let upload = world.begin(part.len(), true).await;
        parts.push(append(&world.files, upload, part).await.unwrap().id);
    }
    let reader = Reader::User(world.alice.clone());
    let new = world.joined();
    let made = world.files.concatenate(&world.tenant, &reader, &parts, new.clone()).await.unwrap();
    // It was interrupted before the second part, which was then used for something else.
    let other = FileId::generate().to_string();
    world.age(&made.id, |row| row.state = UploadState::Open.into()).await;
    world.age(&parts[1], |row| row.into = other.clone()).await;
    assert!(world.files.concatenate(&world.tenant, &reader, &parts, new).await.is_err());
    let second = world.files.upload(&world.tenant, &reader, &parts[1]).await.unwrap();
    assert_eq!(second.row.into, other);
    assert!(world.files.upload(&world.tenant, &reader, &made.id).await.unwrap().is_over());
}

#[tokio::test]
async fn what_was_counted_for_an_upload_that_never_was_is_given_back() {
    let world = World::new().await;
    let id = FileId::generate();
    // A process counted, and was killed before it wrote the upload.
    world.files.counted.take(&world.tenant, &id, 1_000, QUOTA).await.unwrap();
    world.files.counted.take(&world.tenant, &id, 1_000, QUOTA).await.unwrap();
    assert_eq!(world.used().await, 1_000, "counting again counts once");
    world.files.records.remember(&world.tenant, &Due::Upload(id.clone()), now_us()).await.unwrap();
    world.sweep().await;
    assert_eq!(world.used().await, 0);
    world.files.counted.give_back(&world.tenant, &id, 1_000).await.unwrap();
    let upload = world.begin(700, false).await;
    world.files.terminate(upload.clone()).await.unwrap();
    world.files.terminate(upload.clone()).await.unwrap();
    let mut row = upload.row;
    row.state = UploadState::Ended.into();
    world.files.give_back(&world.tenant, &upload.id, &mut row, 1).await.unwrap();
    assert_eq!(world.used().await, 0, "giving back again gives back once");
}
