//! A store that clients reach, in memory, and what is left in it whoever is killed when.

use std::{collections::BTreeMap, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use stonechat_blobs::{BlobKey, Blobs, Direct, FolderBlobs, Pieces};
use stonechat_errors::Code;
use stonechat_model::UserId;
use stonechat_rows::Put;
use tokio::sync::watch;

use super::*;
use crate::{Reader, Variant, tests::World};

const TIMEOUT: Duration = Duration::from_secs(20);
/// As large as a file with an object is at least.
const LARGE: usize = limits::DIRECT_BYTES as usize;

/// What the store does when an object is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Write,
    Fail,
    /// Has every byte, and waits before they become an object.
    WaitBefore,
    /// Waits after they became one.
    WaitAfter,
}

struct Reachable {
    folder: FolderBlobs,
    does: watch::Sender<Does>,
    /// What was begun, by the store's names of it, and the keys.
    begun: Mutex<BTreeMap<String, String>>,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How many objects were to be written.
    asked: watch::Sender<usize>,
}

fn path(key: &BlobKey) -> String {
    format!("{key:?}")
}

#[async_trait]
impl Blobs for Reachable {
    async fn put(&self, key: &BlobKey, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.folder.put(key, parts).await
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.folder.get(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        self.folder.size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.folder.delete(key).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> Result<Vec<stonechat_blobs::Found>, BlobError> {
        self.folder.list(tenant, after, limit).await
    }

    async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), BlobError> {
        self.objects.lock().retain(|path, _| !path.starts_with(&format!("{tenant}/")));
        self.folder.delete_tenant(tenant).await
    }

    fn direct(&self) -> Option<&dyn Direct> {
        Some(self)
    }
}

#[async_trait]
impl Direct for Reachable {
    async fn begin(&self, key: &BlobKey) -> Result<String, BlobError> {
        let begun = uuid::Uuid::now_v7().to_string();
        self.begun.lock().insert(begun.clone(), path(key));
        Ok(begun)
    }

    async fn compose(&self, key: &BlobKey, begun: &str, pieces: Pieces<'_>) -> Result<u64, BlobError> {
        self.asked.send_modify(|asked| *asked += 1);
        let bytes = pieces.try_collect::<Vec<Bytes>>().await?.concat();
        let length = bytes.len() as u64;
        let mut does = self.does.subscribe();
        if *does.wait_for(|does| *does != Does::WaitBefore).await.unwrap() == Does::Fail {
            return Err(BlobError::Unavailable("as the test wants it".to_owned()));
        }
        if self.begun.lock().remove(begun) != Some(path(key)) {
            return Err(BlobError::NotFound);
        }
        self.objects.lock().insert(path(key), bytes);
        does.wait_for(|does| *does != Does::WaitAfter).await.unwrap();
        Ok(length)
    }

    async fn give_up(&self, key: &BlobKey, begun: &str) -> Result<(), BlobError> {
        let given_up = self.begun.lock().remove(begun);
        assert!(given_up.is_none_or(|of| of == path(key)), "another object's");
        Ok(())
    }

    async fn presign_get(&self, key: &BlobKey, link: &Link) -> Result<String, BlobError> {
        Ok(format!("memory:{}?{}&{}&{:?}", path(key), link.content_disposition, link.content_type, link.expiry))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.objects.lock().remove(&path(key));
        Ok(())
    }
}

/// Files whose store clients reach, and a tenant that allows it.
struct Place {
    world: World,
    store: Arc<Reachable>,
}

impl Place {
    async fn new() -> Self {
        let mut world = World::new().await;
        let folder = FolderBlobs::open(&world.folder("blobs")).await.unwrap();
        let store = Arc::new(Reachable {
            folder,
            does: watch::Sender::new(Does::Write),
            begun: Mutex::default(),
            objects: Mutex::default(),
            asked: watch::Sender::new(0),
        });
        world.files = Arc::new(world.process_on(Arc::clone(&store) as Arc<dyn Blobs>));
        let place = Self { world, store };
        place.allow(true).await;
        place
    }

    async fn allow(&self, is_allowed: bool) {
        let key = tables::tenant(&self.world.tenant);
        let records = &self.world.files.records;
        let found = records.read::<TenantRow>(key.clone()).await.unwrap();
        let row = TenantRow { direct_downloads: is_allowed, ..TenantRow::default() };
        assert!(records.set(key, &row, found.map(|found| found.version)).await.unwrap());
    }

    async fn upload(&self, seed: u8) -> FileId {
        self.world.upload(&content(seed)).await
    }

    /// Uploads, and has the object made.
    async fn upload_and_compose(&self, seed: u8) -> FileId {
        let id = self.upload(seed).await;
        self.compose(&id).await;
        assert!(self.world.file(&id).await.has_object);
        id
    }

    async fn compose(&self, id: &FileId) {
        self.world.files.compose(&self.world.tenant, id).expect("not too much waits").await.unwrap();
    }

    /// Begins to make an object and waits until the store does as it was told.
    async fn compose_and_wait(&self, id: &FileId, does: Does) -> JoinHandle<()> {
        self.store.does.send_replace(does);
        let before = *self.store.asked.borrow();
        let composing = self.world.files.compose(&self.world.tenant, id).expect("not too much waits");
        let mut asked = self.store.asked.subscribe();
        let asked = asked.wait_for(|asked| *asked > before);
        tokio::time::timeout(TIMEOUT, asked).await.expect("never asked").unwrap();
        if does == Does::WaitAfter {
            until("an object", || std::future::ready(!self.store.objects.lock().is_empty())).await;
        }
        composing
    }

    async fn link(&self, id: &FileId) -> Option<String> {
        let reader = Reader::User(self.world.alice.clone());
        let tenant = &self.world.tenant;
        let shown = self.world.files.show(tenant, &reader, id, Variant::Whole).await.ok()?;
        let linked = self.world.files.direct_link(tenant, &shown.file, "inline".to_owned(), "a/b".to_owned()).await;
        linked.unwrap()
    }

    /// Everything that is due within the next hours and is an object.
    async fn due_objects(&self) -> Vec<Due> {
        let this_hour = tables::due_hour(now_us());
        let mut found = Vec::new();
        for hour in this_hour..this_hour + 4 {
            let rows = self.world.files.records.rows.range(tables::file_dues(hour, TimeUs::MAX, 1_000)).await.unwrap();
            found.extend(rows.iter().filter_map(|row| Due::parse(row.key.text(3))));
        }
        found.retain(|due| matches!(due, Due::Object { .. }));
        found
    }

    /// As if so much time had passed that nobody is at a file's object any more.
    async fn pass_time(&self, id: &FileId) {
        let (records, tenant) = (&self.world.files.records, &self.world.tenant);
        if let Some(Found { mut row, version }) = records.read::<FileRow>(tables::file(tenant, id)).await.unwrap() {
            row.object_after_us = row.object_after_us.min(now_us() - 1);
            assert!(records.set(tables::file(tenant, id), &row, Some(version)).await.unwrap());
        }
        for due in self.due_objects().await {
            records.remember(tenant, &due, now_us()).await.unwrap();
        }
    }

    /// Looks at a file, and at what is due then.
    async fn look(&self, id: &FileId) {
        let due = Due::File(id.clone());
        self.world.files.records.remember(&self.world.tenant, &due, now_us()).await.unwrap();
        self.world.sweep().await;
        self.world.sweep().await;
    }

    async fn until_object(&self, id: &FileId) {
        until("the object", || async { self.world.file(id).await.has_object }).await;
    }

    /// That the store has the object of this file and nothing else.
    async fn has_only(&self, id: &FileId, seed: u8) {
        let row = self.world.file(id).await;
        assert!(row.has_object, "{row:?}");
        let expected = BTreeMap::from([(format!("{}/{}", self.world.tenant, row.object), content(seed))]);
        assert!(*self.store.objects.lock() == expected, "{:?}", self.store.objects.lock().keys());
        assert_eq!(*self.store.begun.lock(), BTreeMap::new());
    }

    fn has_nothing(&self) {
        assert_eq!(self.store.objects.lock().keys().collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(*self.store.begun.lock(), BTreeMap::new());
    }
}

fn content(seed: u8) -> Vec<u8> {
    (0..LARGE + 7).map(|at| (at / 3).to_le_bytes()[0] ^ seed).collect()
}

async fn until<F: Future<Output = bool>>(what: &str, reached: impl Fn() -> F) {
    let reaching = async {
        while !reached().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, reaching).await.unwrap_or_else(|_| panic!("{what} never comes"));
}

/// Ends a task as if its process had been killed.
async fn kill(task: JoinHandle<()>) {
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_large_file_has_a_link_while_its_tenant_allows_it() {
    let place = Place::new().await;
    let id = place.upload_and_compose(1).await;
    place.has_only(&id, 1).await;
    let link = place.link(&id).await.expect("a link");
    assert!(link.ends_with("?inline&a/b&60s"), "{link}");
    let small = place.world.upload(&content(1)[..LARGE - 1]).await;
    place.compose(&small).await;
    assert_eq!(place.link(&small).await, None);
    place.has_only(&id, 1).await;
    place.allow(false).await;
    assert_eq!(place.link(&id).await, None, "the tenant does not allow it any more");
    let other = place.upload(2).await;
    place.compose(&other).await;
    place.has_only(&id, 1).await;
    assert!(place.world.fetch(&id).await.unwrap() == content(1), "it is given by us");
    assert_eq!(place.world.used().await, 3 * LARGE as u64 + 13, "copies are not counted");
}

#[tokio::test]
async fn objects_follow_their_tenants_wish_when_files_are_looked_at() {
    let place = Place::new().await;
    place.allow(false).await;
    let id = place.upload(1).await;
    place.allow(true).await;
    // As when it expires and a message refers to it.
    place.world.refer(&id, false).await;
    place.world.age_file(&id).await;
    place.world.sweep().await;
    place.until_object(&id).await;
    place.has_only(&id, 1).await;
    let first = place.world.file(&id).await.object;
    place.allow(false).await;
    place.look(&id).await;
    place.has_nothing();
    assert!(!place.world.file(&id).await.has_object);
    place.allow(true).await;
    place.look(&id).await;
    place.until_object(&id).await;
    place.has_only(&id, 1).await;
    assert_ne!(place.world.file(&id).await.object, first, "a link to the first would lead to the second");
}

#[tokio::test]
async fn a_new_file_is_looked_at_when_the_process_that_made_it_is_lost() {
    let place = Place::new().await;
    let id = place.upload(1).await;
    let this_hour = tables::due_hour(now_us());
    let mut is_due = false;
    for hour in this_hour..this_hour + 2 {
        let soon = tables::file_dues(hour, now_us() + LOOK_AGAIN_US, 1_000);
        let rows = place.world.files.records.rows.range(soon).await.unwrap();
        is_due |= rows.iter().any(|row| Due::parse(row.key.text(3)) == Some(Due::File(id.clone())));
    }
    assert!(is_due, "it is not looked at before it expires");
}

#[tokio::test]
async fn a_file_has_no_object_while_it_is_scanned_or_when_something_was_found() {
    let place = Place::new().await;
    let (clean, infected) = (place.upload(1).await, place.upload(2).await);
    let set_state = async |id: &FileId, state: FileState| {
        let key = tables::file(&place.world.tenant, id);
        let Found { mut row, version } = place.world.files.records.read::<FileRow>(key.clone()).await.unwrap().unwrap();
        row.state = state.into();
        assert!(place.world.files.records.set(key, &row, Some(version)).await.unwrap());
    };
    for id in [&clean, &infected] {
        set_state(id, FileState::Scanning).await;
        place.compose(id).await;
        place.look(id).await;
        place.has_nothing();
    }
    set_state(&infected, FileState::Infected).await;
    place.compose(&infected).await;
    place.look(&infected).await;
    place.has_nothing();
    set_state(&clean, FileState::Ready).await;
    place.look(&clean).await;
    place.until_object(&clean).await;
    place.has_only(&clean, 1).await;
}

#[tokio::test]
async fn what_a_killed_process_left_of_an_object_goes_and_another_makes_it() {
    for does in [Does::WaitBefore, Does::WaitAfter] {
        let place = Place::new().await;
        let id = place.upload(1).await;
        kill(place.compose_and_wait(&id, does).await).await;
        place.store.does.send_replace(Does::Write);
        let left = (place.store.begun.lock().len(), place.store.objects.lock().len());
        assert_eq!(left, if does == Does::WaitBefore { (1, 0) } else { (0, 1) });
        assert_eq!(place.link(&id).await, None);
        place.compose(&id).await;
        place.look(&id).await;
        assert!(!place.world.file(&id).await.has_object, "others keep off while it may still be at work");
        place.pass_time(&id).await;
        place.look(&id).await;
        place.until_object(&id).await;
        place.pass_time(&id).await;
        place.look(&id).await;
        place.has_only(&id, 1).await;
        assert!(place.link(&id).await.is_some());
    }
}

#[tokio::test]
async fn whoever_is_late_with_an_object_deletes_it_and_none_of_another() {
    let place = Place::new().await;
    let id = place.upload(1).await;
    let late = place.compose_and_wait(&id, Does::WaitAfter).await;
    place.pass_time(&id).await;
    let other = place.world.process_on(Arc::clone(&place.store) as Arc<dyn Blobs>);
    let claimed = other.claim_object(&place.world.tenant, &id).await.unwrap().expect("its time is over");
    place.store.does.send_replace(Does::Write);
    late.await.unwrap();
    place.has_nothing();
    other.write_object(&place.world.tenant, &id, &claimed).await.unwrap();
    other.keep_object(&place.world.tenant, &id, &claimed.object).await.unwrap();
    // What is due of the late one finds another object.
    place.pass_time(&id).await;
    place.look(&id).await;
    place.has_only(&id, 1).await;
}

#[tokio::test]
async fn an_object_goes_with_its_file() {
    let place = Place::new().await;
    let (deleted, taken_back) = (place.upload_and_compose(1).await, place.upload_and_compose(2).await);
    place.world.files.delete(&place.world.tenant, &deleted).await.unwrap();
    place.has_only(&taken_back, 2).await;
    // No message refers to it any more.
    place.world.age_file(&taken_back).await;
    place.world.sweep().await;
    assert_eq!(place.world.file(&taken_back).await.state(), FileState::Deleted);
    place.has_nothing();
}

#[tokio::test]
async fn an_object_that_is_being_made_goes_with_its_file_whoever_is_killed() {
    for (does, is_killed) in
        [(Does::WaitBefore, false), (Does::WaitBefore, true), (Does::WaitAfter, false), (Does::WaitAfter, true)]
    {
        let place = Place::new().await;
        let id = place.upload(1).await;
        let composing = place.compose_and_wait(&id, does).await;
        place.world.files.delete(&place.world.tenant, &id).await.unwrap();
        if is_killed {
            kill(composing).await;
        } else {
            place.store.does.send_replace(Does::Write);
            composing.await.unwrap();
            place.has_nothing();
        }
        place.pass_time(&id).await;
        place.world.sweep().await;
        place.has_nothing();
    }
}

#[tokio::test]
async fn what_was_begun_for_a_tenant_that_was_deleted_goes_though_no_row_is_left() {
    for does in [Does::WaitBefore, Does::WaitAfter] {
        let place = Place::new().await;
        let id = place.upload(1).await;
        let composing = place.compose_and_wait(&id, does).await;
        crate::forget_tenant(&place.world.files.records.rows, &place.world.tenant).await.unwrap();
        place.world.files.records.delete(&[tables::file(&place.world.tenant, &id)]).await.unwrap();
        kill(composing).await;
        place.world.sweep().await;
        place.pass_time(&id).await;
        place.world.sweep().await;
        place.has_nothing();
    }
}

#[tokio::test]
async fn an_object_that_could_not_be_made_is_tried_again_and_not_at_once() {
    let place = Place::new().await;
    let id = place.upload(1).await;
    place.store.does.send_replace(Does::Fail);
    place.compose(&id).await;
    place.has_nothing();
    place.store.does.send_replace(Does::Write);
    place.compose(&id).await;
    assert!(place.world.file(&id).await.object_after_us > now_us());
    place.has_nothing();
    assert!(place.world.fetch(&id).await.unwrap() == content(1), "it is given by us meanwhile");
    place.pass_time(&id).await;
    place.look(&id).await;
    place.until_object(&id).await;
    place.has_only(&id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_make_one_object() {
    let place = Place::new().await;
    let id = place.upload(1).await;
    let composing = (0..8).map(|_| place.world.files.compose(&place.world.tenant, &id).unwrap());
    for one in composing.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(*place.store.asked.borrow(), 1);
    place.has_only(&id, 1).await;
}

#[tokio::test]
async fn few_objects_are_made_at_once_and_small_files_wait_for_none() {
    let place = Place::new().await;
    let mut composing = Vec::new();
    for seed in 0..=u8::try_from(limits::DIRECT_AT_ONCE).unwrap() {
        let id = place.upload(seed).await;
        if usize::from(seed) < limits::DIRECT_AT_ONCE {
            composing.push(place.compose_and_wait(&id, Does::WaitBefore).await);
        } else {
            composing.push(place.world.files.compose(&place.world.tenant, &id).unwrap());
        }
    }
    let small = place.world.upload(b"small").await;
    tokio::time::timeout(TIMEOUT, place.compose(&small)).await.expect("a small file waits");
    assert_eq!(*place.store.asked.borrow(), limits::DIRECT_AT_ONCE);
    place.store.does.send_replace(Does::Write);
    for one in composing {
        one.await.unwrap();
    }
    assert_eq!(place.store.objects.lock().len(), limits::DIRECT_AT_ONCE + 1);
}

#[tokio::test]
async fn nobody_is_led_to_the_object_of_a_file_that_is_not_theirs() {
    let place = Place::new().await;
    let id = place.upload_and_compose(1).await;
    let bob = Reader::User(UserId::parse("bob").unwrap());
    let shown = place.world.files.show(&place.world.tenant, &bob, &id, Variant::Whole).await;
    assert_eq!(shown.err().expect("refused").code, Code::NotFound);
}

#[tokio::test]
async fn in_a_folder_there_are_no_objects() {
    let world = World::new().await;
    let row = TenantRow { direct_downloads: true, ..TenantRow::default() };
    let put = Put {
        key: tables::tenant(&world.tenant),
        value: prost::Message::encode_to_vec(&row).into(),
        version: 1,
        ttl: None,
    };
    world.files.records.write(vec![put]).await.unwrap();
    let id = world.upload(&content(1)).await;
    assert!(world.files.compose(&world.tenant, &id).is_none());
    let file = world.file(&id).await;
    let link = world.files.direct_link(&world.tenant, &file, String::new(), String::new()).await.unwrap();
    assert_eq!((link, file.has_object), (None, false));
    world.files.delete(&world.tenant, &id).await.unwrap();
    assert_eq!(world.used().await, 0);
}
