//! The embedded event stream passes the suite of every event stream, and keeps what is its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use stonechat_log::{EmbeddedEventStream, EventStream, StreamSource, conformance::EventStreamUnderTest};
use stonechat_model::{ConversationId, LogId, LogKey, TenantId};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows, tables};

const PARTITIONS: u32 = 4;
const CONSUMER: &str = "consumer";

async fn fresh() -> EventStreamUnderTest {
    let folder = tempfile::tempdir().unwrap();
    let rows: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let stream = open(&rows, PARTITIONS).await;
    let of_reopen = Arc::clone(&rows);
    let reopen = move || {
        let rows = Arc::clone(&of_reopen);
        Box::pin(async move { open(&rows, PARTITIONS).await as Arc<dyn EventStream> }) as _
    };
    EventStreamUnderTest { stream, rows, partitions: PARTITIONS, reopen: Box::new(reopen), guard: Box::new(folder) }
}

async fn open(rows: &Arc<dyn Rows>, partitions: u32) -> Arc<EmbeddedEventStream> {
    EmbeddedEventStream::open(Arc::clone(rows), partitions).await.unwrap()
}

stonechat_log::event_stream_conformance!(fresh);

fn records(texts: &[&str]) -> Vec<(LogKey, Bytes)> {
    let conversation = ConversationId::parse("general").unwrap();
    let key = LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(conversation) };
    texts.iter().map(|text| (key.clone(), Bytes::copy_from_slice(text.as_bytes()))).collect()
}

async fn publish(stream: &EmbeddedEventStream, rows: &dyn Rows, partition: u32, texts: &[&str]) {
    let records = records(texts);
    rows.write(stream.enlist(partition, &records)).await.unwrap();
    stream.publish(partition, records).await.unwrap();
}

async fn claim(stream: &EmbeddedEventStream, partition: u32) -> Box<dyn StreamSource> {
    let mut others = Vec::new();
    loop {
        let source = stream.claim(CONSUMER).await.unwrap();
        if source.partition() == partition {
            return source;
        }
        // Kept until this one is found, so that they are not given again.
        others.push(source);
    }
}

async fn read(source: &mut dyn StreamSource, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let items = source.next_batch(100).await.unwrap().unwrap();
        found.extend(items.into_iter().map(|item| String::from_utf8(item.payload.to_vec()).unwrap()));
    }
    found
}

#[tokio::test]
async fn records_that_were_enlisted_and_never_written_are_passed_over() {
    let test = fresh().await;
    let stream = open(&test.rows, PARTITIONS).await;
    let mut source = claim(&stream, 0).await;
    publish(&stream, test.rows.as_ref(), 0, &["a"]).await;
    assert_eq!(read(source.as_mut(), 1).await, ["a"]);
    drop(stream.enlist(0, &records(&["never", "written"])));
    publish(&stream, test.rows.as_ref(), 0, &["b", "c"]).await;
    assert_eq!(read(source.as_mut(), 2).await, ["b", "c"]);
    publish(&stream, test.rows.as_ref(), 0, &["d"]).await;
    assert_eq!(read(source.as_mut(), 1).await, ["d"]);
}

#[tokio::test]
async fn records_that_were_written_and_not_published_come_before_the_next() {
    let test = fresh().await;
    let stream = open(&test.rows, PARTITIONS).await;
    let mut source = claim(&stream, 0).await;
    publish(&stream, test.rows.as_ref(), 0, &["a"]).await;
    assert_eq!(read(source.as_mut(), 1).await, ["a"]);
    // Their owner went away after the write.
    test.rows.write(stream.enlist(0, &records(&["b", "c"]))).await.unwrap();
    publish(&stream, test.rows.as_ref(), 0, &["d"]).await;
    assert_eq!(read(source.as_mut(), 3).await, ["b", "c", "d"]);
}

#[tokio::test]
async fn records_that_were_written_and_not_published_are_there_after_a_restart() {
    let test = fresh().await;
    let stream = open(&test.rows, PARTITIONS).await;
    publish(&stream, test.rows.as_ref(), 0, &["a"]).await;
    test.rows.write(stream.enlist(0, &records(&["b"]))).await.unwrap();
    let stream = open(&test.rows, PARTITIONS).await;
    let mut source = claim(&stream, 0).await;
    assert_eq!(read(source.as_mut(), 2).await, ["a", "b"]);
}

#[tokio::test]
async fn offsets_go_on_when_every_record_is_gone() {
    let test = fresh().await;
    let stream = open(&test.rows, PARTITIONS).await;
    let mut source = claim(&stream, 0).await;
    for number in 0..50 {
        publish(&stream, test.rows.as_ref(), 0, &[&number.to_string()]).await;
    }
    let items = source.next_batch(100).await.unwrap().unwrap();
    let last = items.last().unwrap().offset;
    source.commit(last).await.unwrap();
    drop(source);
    // As if they had expired.
    let keys: Vec<_> = (0..=last).map(|offset| tables::stream(0, offset)).collect();
    test.rows.delete(&keys).await.unwrap();
    for round in 0..3 {
        let stream = open(&test.rows, PARTITIONS).await;
        let mut source = claim(&stream, 0).await;
        let text = format!("round {round}");
        publish(&stream, test.rows.as_ref(), 0, &[&text]).await;
        let items = source.next_batch(100).await.unwrap().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].payload, text);
        assert!(items[0].offset > last);
        source.commit(items[0].offset).await.unwrap();
    }
}

#[tokio::test]
async fn fewer_partitions_than_before_leave_no_record_unread() {
    let test = fresh().await;
    let stream = open(&test.rows, 6).await;
    publish(&stream, test.rows.as_ref(), 5, &["old"]).await;
    let stream = open(&test.rows, 2).await;
    publish(&stream, test.rows.as_ref(), 1, &["new"]).await;
    assert_eq!(read(claim(&stream, 5).await.as_mut(), 1).await, ["old"]);
    assert_eq!(read(claim(&stream, 1).await.as_mut(), 1).await, ["new"]);
}

#[tokio::test]
async fn large_records_leave_memory_and_are_read_from_the_rows() {
    let test = fresh().await;
    let stream = open(&test.rows, PARTITIONS).await;
    let mut source = claim(&stream, 0).await;
    let large = "x".repeat(1 << 20);
    for _ in 0..12 {
        publish(&stream, test.rows.as_ref(), 0, &[&large]).await;
    }
    let found = read(source.as_mut(), 12).await;
    assert!(found.iter().all(|text| *text == large));
}
