//! Who makes a file, and who goes on when that process is slow or lost.

use super::*;
use crate::contents::{Hashed, content_id};

/// How long a lease lasts, in microseconds.
const LEASE_US: i64 = stonechat_model::limits::UPLOAD_LEASE_S as i64 * 1_000_000;

/// An upload with every byte, and a task that makes its file and does not come beyond the decoders.
struct Stuck {
    world: World,
    id: FileId,
    making: tokio::task::JoinHandle<bool>,
    content: Vec<u8>,
}

impl Stuck {
    async fn new() -> Self {
        let world = World::new().await;
        let content = content(MIB, 11);
        let upload = world.begin(content.len(), false).await;
        let id = append(&world.files, upload, &content).await.unwrap().id;
        world.files.decoding.forget_permits(usize::MAX);
        let (files, tenant, of) = (Arc::clone(&world.files), world.tenant.clone(), id.clone());
        let making = tokio::spawn(async move { files.finish(&tenant, &of).await.unwrap() });
        let stuck = Self { world, id, making, content };
        stuck.until(|row| row.leased_until_us > 0).await;
        stuck
    }

    fn go_on(&self) {
        self.world.files.decoding.add_permits(1);
    }

    async fn row(&self) -> Found<UploadRow> {
        let key = tables::upload(&self.world.tenant, &self.id);
        self.world.files.records.read(key).await.unwrap().unwrap()
    }

    /// Waits until the upload's row is as it should be.
    async fn until(&self, is_so: impl Fn(&UploadRow) -> bool) -> UploadRow {
        loop {
            let Found { row, .. } = self.row().await;
            if is_so(&row) {
                return row;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn whoever_makes_a_file_has_it_alone_for_as_long_as_it_goes_on() {
    let stuck = Stuck::new().await;
    let other = stuck.world.another().await;
    let taken = stuck.row().await.row;
    assert!(taken.leased_until_us <= now_us() + LEASE_US, "after a kill others wait for no longer");
    stuck.until(|row| row.leased_until_us > taken.leased_until_us).await;
    assert!(!other.finish(&stuck.world.tenant, &stuck.id).await.unwrap());
    stuck.go_on();
    assert!(other.finished(&stuck.world.tenant, &stuck.id).await.unwrap(), "a request that joins sees the end");
    assert!(stuck.making.await.unwrap());
    assert_eq!(stuck.world.fetch(&stuck.id).await.unwrap(), stuck.content);
}

#[tokio::test]
async fn who_waits_goes_on_when_the_maker_is_killed() {
    let stuck = Stuck::new().await;
    stuck.making.abort();
    let other = stuck.world.another().await;
    assert!(!other.finish(&stuck.world.tenant, &stuck.id).await.unwrap(), "the lease has not lapsed");
    assert!(other.finished(&stuck.world.tenant, &stuck.id).await.unwrap());
    assert_eq!(stuck.world.fetch(&stuck.id).await.unwrap(), stuck.content);
}

#[tokio::test]
async fn a_maker_whose_upload_another_one_took_stops() {
    let stuck = Stuck::new().await;
    // As a process does it that thought the lease lapsed.
    let Found { mut row, version } = stuck.row().await;
    row.leased_until_us = now_us() + 100 * LEASE_US;
    assert!(
        stuck
            .world
            .files
            .records
            .set(tables::upload(&stuck.world.tenant, &stuck.id), &row, Some(version))
            .await
            .unwrap()
    );
    assert!(!stuck.making.await.unwrap(), "it stopped though it was stuck");
    let after = stuck.world.files.records.read::<UploadRow>(tables::upload(&stuck.world.tenant, &stuck.id)).await;
    assert_eq!(after.unwrap().unwrap().row, row, "and left the other one's row alone");
}

#[tokio::test]
async fn what_was_hashed_before_a_kill_is_not_read_again() {
    let world = World::new().await;
    let content = content(18 * MIB, 12);
    let whole = world.upload(&content).await;
    let mut parts = Vec::new();
    for part in content.chunks(9 * MIB) {
        let upload = world.begin(part.len(), true).await;
        parts.push(append(&world.files, upload, part).await.unwrap().id);
    }
    let reader = Reader::User(world.alice.clone());
    let made = world.files.concatenate(&world.tenant, &reader, &parts, world.joined()).await.unwrap();
    let (files, tenant, pieces) = (&world.files, &world.tenant, &made.row.pieces);
    let hashed = Hashed::default();
    content_id(&files.pieces, tenant, pieces, &hashed).await.unwrap();
    let stretches = hashed.stretches();
    assert_eq!((pieces.len(), stretches.len()), (4, 3));
    // Needed for the stretch from 8 to 16 MiB alone.
    let gone = world.blobs().into_iter().find(|path| path.ends_with(&pieces[1].name)).unwrap();
    std::fs::remove_file(gone).unwrap();
    assert!(files.finish(tenant, &made.id).await.is_err());
    let kept = files.upload(tenant, &reader, &made.id).await.unwrap().row;
    assert_eq!((kept.hashed, kept.leased_until_us), (stretches[..1].to_vec(), 0), "as far as it came");
    world.age(&made.id, |row| row.hashed = stretches[..2].to_vec()).await;
    assert!(files.finish(tenant, &made.id).await.unwrap());
    assert_eq!(world.file(&made.id).await.content, world.file(&whole).await.content);
    assert!(files.upload(tenant, &reader, &made.id).await.unwrap().row.hashed.is_empty());
}
