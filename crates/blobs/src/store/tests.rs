use std::{fs, path::Path};

use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows, tables};
use tempfile::TempDir;

use super::*;
use crate::{BlobsConfig, MasterKeySource, StoreConfig, open};

struct Place {
    folder: TempDir,
    rows: Arc<dyn Rows>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedRowsConfig { cache_bytes: 1 << 20, commit_bytes: 1 << 20, write_queue: 16 };
        let rows = EmbeddedRows::open(&folder.path().join("rows"), config).unwrap();
        Self { folder, rows }
    }

    fn keys(&self) -> std::path::PathBuf {
        self.folder.path().join("master.keys")
    }

    async fn open_at(&self, folder: &Path) -> Arc<Store> {
        let master_keys = MasterKeySource::Made(self.keys());
        let blobs = BlobsConfig::Folder(folder.to_owned());
        open(StoreConfig { blobs, master_keys }, Arc::clone(&self.rows)).await.unwrap()
    }

    async fn open(&self) -> Arc<Store> {
        self.open_at(&self.folder.path().join("files")).await
    }
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// The one file below a folder that is `name`.
fn find(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find_map(|path| if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) })
}

#[tokio::test]
async fn what_was_put_is_read_in_any_range_and_never_stored_plain() {
    let place = Place::new();
    let store = place.open().await;
    let (acme, bytes) = (tenant("acme"), Bytes::from("secret ".repeat(30_000)));
    store.put(&acme, "a1", bytes.clone()).await.unwrap();
    for range in [0..0, 0..1, 65_530..65_550, 0..bytes.len() as u64, 209_999..210_000] {
        let expected = &bytes[range.start as usize..range.end as usize];
        assert_eq!(store.read(&acme, "a1", range).await.unwrap(), expected);
    }
    assert_eq!(store.size(&acme, "a1").await.unwrap(), Some(bytes.len() as u64));
    let stored = fs::read(find(&place.folder.path().join("files"), "a1").unwrap()).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"secret"));
    assert_eq!(store.read(&acme, "a2", 0..1).await, Err(BlobError::NotFound));
    assert_eq!(store.read(&tenant("umbrella"), "a1", 0..1).await, Err(BlobError::NotFound));
    assert_eq!(store.read(&acme, "../acme/a1", 0..1).await, Err(BlobError::InvalidName));
    assert_eq!(store.read(&acme, "a1", 0..210_001).await, Err(BlobError::OutOfRange { size_bytes: 210_000 }));
}

#[tokio::test]
async fn a_deleted_tenants_blobs_are_unreadable_even_from_a_copy() {
    let place = Place::new();
    let store = place.open().await;
    let acme = tenant("acme");
    store.put(&acme, "a1", Bytes::from_static(b"hello")).await.unwrap();
    let copy = place.folder.path().join("copy");
    let file = find(&place.folder.path().join("files"), "a1").unwrap();
    let place_in_copy = copy.join(file.strip_prefix(place.folder.path().join("files")).unwrap());
    fs::create_dir_all(place_in_copy.parent().unwrap()).unwrap();
    fs::copy(&file, &place_in_copy).unwrap();
    let of_copy = place.open_at(&copy).await;
    assert_eq!(of_copy.read(&acme, "a1", 0..5).await.unwrap(), "hello");
    store.delete_tenant(&acme).await.unwrap();
    assert_eq!(store.read(&acme, "a1", 0..5).await, Err(BlobError::NotFound));
    // With the master keys, and opened anew: the tenant's key is nowhere any more.
    let of_copy = place.open_at(&copy).await;
    assert_eq!(of_copy.size(&acme, "a1").await.unwrap(), Some(5));
    assert_eq!(of_copy.read(&acme, "a1", 0..5).await, Err(BlobError::KeyGone));
}

#[tokio::test]
async fn pieces_that_change_places_do_not_open() {
    let place = Place::new();
    let store = place.open().await;
    let acme = tenant("acme");
    store.put(&acme, "a1", Bytes::from_static(b"one")).await.unwrap();
    store.put(&acme, "a2", Bytes::from_static(b"two")).await.unwrap();
    let root = place.folder.path().join("files");
    fs::copy(find(&root, "a1").unwrap(), find(&root, "a2").unwrap()).unwrap();
    assert!(matches!(store.read(&acme, "a2", 0..3).await, Err(BlobError::Corrupt(_))));
    assert_eq!(store.read(&acme, "a1", 0..3).await.unwrap(), "one");
}

#[tokio::test]
async fn a_piece_that_another_process_replaced_is_read_as_it_is_now() {
    let place = Place::new();
    let (one, other) = (place.open().await, place.open().await);
    let acme = tenant("acme");
    one.put(&acme, "a1", Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(one.read(&acme, "a1", 0..5).await.unwrap(), "first");
    other.put(&acme, "a1", Bytes::from_static(b"second")).await.unwrap();
    assert_eq!(one.read(&acme, "a1", 0..6).await.unwrap(), "second");
    other.put(&acme, "a1", Bytes::from_static(b"third!")).await.unwrap();
    assert_eq!(one.read(&acme, "a1", 0..6).await.unwrap(), "third!");
}

#[tokio::test]
async fn rotated_keys_seal_what_is_new_and_open_what_is_old() {
    let place = Place::new();
    let (store, other) = (place.open().await, place.open().await);
    let acme = tenant("acme");
    store.put(&acme, "a1", Bytes::from_static(b"old")).await.unwrap();
    assert_eq!(other.read(&acme, "a1", 0..3).await.unwrap(), "old");
    assert_eq!(store.sealer().rotate(&acme).await.unwrap(), 2);
    store.put(&acme, "a2", Bytes::from_static(b"new")).await.unwrap();
    // The other one kept the keys as they were before.
    assert_eq!(other.read(&acme, "a2", 0..3).await.unwrap(), "new");
    assert_eq!(other.read(&acme, "a1", 0..3).await.unwrap(), "old");
    let stored = fs::read(find(&place.folder.path().join("files"), "a2").unwrap()).unwrap();
    assert_eq!(Header::decode(&stored[..Header::BYTES as usize]).unwrap().key_version, 2);
}

#[tokio::test]
async fn a_new_master_key_takes_the_place_of_the_old_one() {
    let place = Place::new();
    let acme = tenant("acme");
    let store = place.open().await;
    store.put(&acme, "a1", Bytes::from_static(b"hello")).await.unwrap();
    store.sealer().rotate(&acme).await.unwrap();
    assert_eq!(store.sealer().rewrap(&acme).await.unwrap(), 0);
    let old = fs::read_to_string(place.keys()).unwrap();
    let new = "f0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    fs::write(place.keys(), format!("{new}\n{old}")).unwrap();
    let store = place.open().await;
    assert_eq!(store.read(&acme, "a1", 0..5).await.unwrap(), "hello");
    assert_eq!(store.sealer().rewrap(&acme).await.unwrap(), 2);
    assert_eq!(store.sealer().rewrap(&acme).await.unwrap(), 0);
    fs::write(place.keys(), new).unwrap();
    assert_eq!(place.open().await.read(&acme, "a1", 0..5).await.unwrap(), "hello");
    fs::write(place.keys(), old).unwrap();
    let failed = place.open().await.read(&acme, "a1", 0..5).await;
    assert!(matches!(failed, Err(BlobError::MasterKeyMissing(_))), "{failed:?}");
}

#[tokio::test]
async fn first_pieces_at_the_same_time_make_one_key() {
    let place = Place::new();
    let acme = tenant("acme");
    let stores = [place.open().await, place.open().await, place.open().await];
    let mut puts = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().cycle().take(12).enumerate() {
        let (store, acme) = (Arc::clone(store), acme.clone());
        puts.spawn(async move { store.put(&acme, &format!("a{number}"), Bytes::from_static(b"x")).await });
    }
    puts.join_all().await.into_iter().for_each(|put| put.unwrap());
    let keys = place.rows.range(tables::file_keys(&acme, 10)).await.unwrap();
    assert_eq!(keys.len(), 1);
    for number in 0..12 {
        assert_eq!(stores[0].read(&acme, &format!("a{number}"), 0..1).await.unwrap(), "x");
    }
}

#[tokio::test]
async fn a_folder_has_no_links_of_its_own() {
    let place = Place::new();
    let store = place.open().await;
    assert!(!store.has_direct());
    let composed = store.compose(&tenant("acme"), "a1", "begun", Box::pin(futures::stream::empty())).await;
    assert!(matches!(composed, Err(BlobError::Unsupported(_))), "{composed:?}");
}
