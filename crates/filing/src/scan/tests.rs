//! A scanner that says what a test wants, or nothing.

use std::{sync::Arc, time::Duration};

use stonechat_errors::Code;
use stonechat_model::now_us;
use stonechat_scan::{Address, ScanConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::*;
use crate::{Reader, Variant, tests::World};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What the scanner does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    SayClean,
    SayInfected,
    HangUp,
    /// Takes it all and says nothing until it does something else.
    Wait,
}

/// A scanner; gives where it is, what it does, and how many streams it has taken.
async fn scripted(does: Does) -> (Scanner, watch::Sender<Does>, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let (say, said) = watch::channel(does);
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, said.clone(), count.clone()));
        }
    });
    (Scanner::new(ScanConfig { address, timeout: TIMEOUT, max_bytes: 1 << 20 }), say, counted)
}

async fn answer(mut stream: TcpStream, mut said: watch::Receiver<Does>, count: watch::Sender<usize>) {
    let mut command = [0; 10];
    stream.read_exact(&mut command).await.unwrap();
    loop {
        let Ok(length) = stream.read_u32().await else { return };
        if length == 0 {
            break;
        }
        let mut chunk = vec![0; length as usize];
        stream.read_exact(&mut chunk).await.unwrap();
    }
    count.send_modify(|count| *count += 1);
    let does = *said.wait_for(|does| *does != Does::Wait).await.unwrap();
    let answer: &[u8] = match does {
        Does::SayClean => b"stream: OK\0",
        Does::SayInfected => b"stream: Test FOUND\0",
        Does::HangUp | Does::Wait => b"",
    };
    // Whoever asked may be gone.
    stream.write_all(answer).await.ok();
}

async fn scanned(world: &World, id: &FileId) {
    if let Some(scanning) = world.files.scan(&world.tenant, id) {
        scanning.await.unwrap();
    }
}

/// As if the time had come at which a file's row says that it is scanned again.
async fn pass_time(world: &World, id: &FileId) {
    let key = tables::file(&world.tenant, id);
    let Found { mut row, version } = world.files.records.read::<FileRow>(key.clone()).await.unwrap().unwrap();
    assert!(row.scan_after_us > now_us(), "nothing says when it is scanned again");
    row.scan_after_us = now_us() - 1;
    assert!(world.files.records.set(key, &row, Some(version)).await.unwrap());
    world.files.records.remember(&world.tenant, &Due::File(id.clone()), now_us()).await.unwrap();
}

async fn until(world: &World, id: &FileId, state: FileState) {
    let reached = async {
        while world.file(id).await.state() != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, reached).await.expect("never gets there");
}

async fn refusal(world: &World, id: &FileId, variant: Variant) -> Code {
    let reader = Reader::User(world.alice.clone());
    world.files.show(&world.tenant, &reader, id, variant).await.err().expect("refused").code
}

#[tokio::test]
async fn a_file_is_nobodys_until_the_scanner_says_that_it_is_clean() {
    let (scanner, say, _) = scripted(Does::Wait).await;
    let world = World::scanned(scanner).await;
    let id = world.upload(b"hello").await;
    assert_eq!(world.file(&id).await.state(), FileState::Scanning);
    let scanning = world.files.scan(&world.tenant, &id).unwrap();
    for variant in [Variant::Whole, Variant::Small] {
        assert_eq!(refusal(&world, &id, variant).await, Code::Unavailable);
    }
    // A reference that should not be there gives no way around it.
    world.refer(&id, false).await;
    let bob = Reader::User(stonechat_model::UserId::parse("bob").unwrap());
    assert_eq!(world.files.file(&world.tenant, &bob, &id).await.unwrap_err().code, Code::NotFound);
    say.send_replace(Does::SayClean);
    scanning.await.unwrap();
    assert_eq!(world.fetch(&id).await.unwrap(), b"hello");
    let empty = world.upload(b"").await;
    scanned(&world, &empty).await;
    assert_eq!(world.file(&empty).await.state(), FileState::Ready);
}

#[tokio::test]
async fn what_is_infected_has_no_bytes_and_takes_no_quota_and_its_owner_sees_why() {
    let (scanner, say, _) = scripted(Does::SayClean).await;
    let world = World::scanned(scanner).await;
    let clean = world.upload(b"the same bytes").await;
    scanned(&world, &clean).await;
    say.send_replace(Does::SayInfected);
    // Bytes that are known are scanned again: by now the scanner knows better.
    let again = world.upload(b"the same bytes").await;
    let other = world.upload(b"other bytes").await;
    let used = world.used().await;
    for id in [&again, &other] {
        scanned(&world, id).await;
        assert_eq!(refusal(&world, id, Variant::Whole).await, Code::FailedPrecondition);
        assert_eq!(world.file(id).await.state(), FileState::Infected);
    }
    assert_eq!(world.used().await, used - 14 - 11);
    assert_eq!(world.fetch(&clean).await.unwrap(), b"the same bytes");
    for id in [&clean, &again, &other] {
        world.age(id, |row| row.ended_us = now_us() - crate::uploads::GRACE_US - 1).await;
    }
    world.sweep().await;
    assert_eq!(world.blobs().len(), 1, "bytes of an infected file are left");
    world.age_file(&other).await;
    world.files.delete(&world.tenant, &again).await.unwrap();
    world.sweep().await;
    for id in [&again, &other] {
        assert_eq!(world.file(id).await.state(), FileState::Deleted);
    }
    assert_eq!(world.used().await, 14, "given back twice");
}

#[tokio::test]
async fn a_scanner_that_is_away_is_asked_again_each_time_later() {
    let (scanner, say, counted) = scripted(Does::HangUp).await;
    let world = World::scanned(scanner).await;
    let id = world.upload(b"hello").await;
    scanned(&world, &id).await;
    let first = world.file(&id).await;
    assert_eq!((first.state(), first.scans, *counted.borrow()), (FileState::Scanning, 1, 1));
    scanned(&world, &id).await;
    assert_eq!(*counted.borrow(), 1, "asked again at once");
    pass_time(&world, &id).await;
    scanned(&world, &id).await;
    let second = world.file(&id).await;
    assert_eq!((second.state(), second.scans), (FileState::Scanning, 2));
    assert!(pause_us(2) > pause_us(1) && pause_us(u32::MAX) == seconds_us(limits::SCAN_AGAIN_MAX_S));
    say.send_replace(Does::SayClean);
    pass_time(&world, &id).await;
    world.sweep().await;
    until(&world, &id, FileState::Ready).await;
    assert_eq!(world.fetch(&id).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_scan_of_a_lost_process_is_done_again_by_another_and_not_before() {
    let (scanner, say, mut counted) = scripted(Does::Wait).await;
    let world = World::scanned(scanner).await;
    let id = world.upload(b"hello").await;
    let lost = world.files.scan(&world.tenant, &id).unwrap();
    counted.wait_for(|count| *count == 1).await.unwrap();
    lost.abort();
    say.send_replace(Does::SayInfected);
    world.files.records.remember(&world.tenant, &Due::File(id.clone()), now_us()).await.unwrap();
    world.sweep().await;
    scanned(&world, &id).await;
    assert_eq!((*counted.borrow(), world.file(&id).await.state()), (1, FileState::Scanning));
    pass_time(&world, &id).await;
    world.sweep().await;
    until(&world, &id, FileState::Infected).await;
}

#[tokio::test]
async fn a_verdict_on_a_deleted_file_changes_nothing() {
    let (scanner, say, mut counted) = scripted(Does::Wait).await;
    let world = World::scanned(scanner).await;
    let id = world.upload(b"hello").await;
    let scanning = world.files.scan(&world.tenant, &id).unwrap();
    counted.wait_for(|count| *count == 1).await.unwrap();
    world.files.delete(&world.tenant, &id).await.unwrap();
    say.send_replace(Does::SayClean);
    scanning.await.unwrap();
    assert_eq!(world.file(&id).await.state(), FileState::Deleted);
    assert_eq!(world.used().await, 0);
}

#[tokio::test]
async fn what_is_larger_than_is_scanned_is_not_taken_and_no_scanner_makes_nothing_clean() {
    let (scanner, _say, _) = scripted(Does::SayClean).await;
    let world = World::scanned(scanner).await;
    assert_eq!(world.files.max_bytes(), 1 << 20);
    let id = world.upload(b"hello").await;
    // A process that was started without a scanner.
    let without = Arc::new(world.another().await);
    assert!(without.scan(&world.tenant, &id).is_none());
    world.files.records.remember(&world.tenant, &Due::File(id.clone()), now_us()).await.unwrap();
    without.look().await.unwrap();
    without.look().await.unwrap();
    assert_eq!(world.file(&id).await.state(), FileState::Scanning);
}
