//! The embedded command log passes the suite of every command log.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use stonechat_log::{CommandLog, EmbeddedCommandLog, QueueBounds, conformance::CommandLogUnderTest, next_generation};
use stonechat_model::{ConversationId, LogId, LogKey, Position, TenantId, TimeUs};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig};
use tokio::task::JoinSet;

const BOUNDS: QueueBounds = QueueBounds { records: 2_000, bytes: 200_000 };

/// A clock that goes back now and then.
fn clock() -> Arc<dyn Fn() -> TimeUs + Send + Sync> {
    let time = AtomicI64::new(1_000_000);
    Arc::new(move || {
        let before = time.fetch_add(3, Ordering::Relaxed);
        if before % 7 == 0 { before - 100_000 } else { before }
    })
}

async fn fresh() -> CommandLogUnderTest {
    let log = EmbeddedCommandLog::bounded(8, 3, clock(), BOUNDS);
    CommandLogUnderTest { log, bounds: Some(BOUNDS), guard: Box::new(()) }
}

stonechat_log::command_log_conformance!(fresh);

#[tokio::test]
async fn positions_are_of_the_generation_and_above_every_one_before() {
    let conversation = ConversationId::parse("general").unwrap();
    let key = LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(conversation) };
    let mut greatest = Position::ZERO;
    for generation in 1..5 {
        let log = EmbeddedCommandLog::new(1, generation, clock());
        let mut source = log.claim().await.unwrap();
        for _ in 0..3 {
            log.append(&key, "command".into()).await.unwrap();
        }
        let items = source.next_batch(10, 1_000).await.unwrap().unwrap();
        assert_eq!(items.len(), 3);
        for item in items {
            assert!(item.position > greatest);
            greatest = item.position;
        }
        assert_eq!(greatest.get() / Position::OFFSETS, generation);
    }
}

#[tokio::test]
async fn every_start_has_a_generation_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for _ in 0..3 {
        let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        let mut running = JoinSet::new();
        for _ in 0..5 {
            let rows = Arc::clone(&rows);
            running.spawn(async move { next_generation(rows.as_ref()).await.unwrap() });
        }
        let mut generations = running.join_all().await;
        generations.sort_unstable();
        found.extend(generations);
    }
    assert_eq!(found, (1..=15).collect::<Vec<_>>());
}
