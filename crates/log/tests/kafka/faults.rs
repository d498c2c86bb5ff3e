//! Brokers that are killed, and too few of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stonechat_backends::{kafka::Kafka, server::Size};
use stonechat_log::{CommandLog, EventStream, KafkaCommandLog, KafkaConfig, KafkaEventStream, LogError, prepare};

use super::{
    owners::{Owners, Seen, Senders, check, key, soon},
    world::{PATIENCE, config, rows},
};

/// Three brokers, and topics on each of them.
async fn three(append_timeout: Duration) -> (Kafka, KafkaConfig, tempfile::TempDir) {
    let kafka = Kafka::three(Size::Small).await.unwrap();
    let config = KafkaConfig { replication: 3, min_insync_replicas: 2, append_timeout, ..config(kafka.bootstrap()) };
    let (rows, folder) = rows();
    prepare(&config, rows.as_ref()).await.unwrap();
    (kafka, config, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_brokers_lose_and_reorder_nothing() {
    let (mut kafka, config, _folder) = three(Duration::from_secs(5)).await;
    let seen = Seen::default();
    let owners = Owners::start(KafkaCommandLog::open(&config).await.unwrap(), &seen);
    let senders = Senders::start(&owners.log, 30);
    senders.wait_for(1_000).await;
    let mut away = Vec::new();
    for broker in 0..3 {
        kafka.kill(broker);
        let killed = Instant::now();
        senders.wait_for(100).await;
        away.push(killed.elapsed());
        kafka.restart(broker).unwrap();
        kafka.ready(broker).await.unwrap();
        senders.wait_for(500).await;
    }
    for broker in 0..3 {
        kafka.kill(broker);
    }
    let killed = Instant::now();
    for broker in 0..3 {
        kafka.restart(broker).unwrap();
    }
    for broker in 0..3 {
        kafka.ready(broker).await.unwrap();
    }
    senders.wait_for(500).await;
    println!("without service: one broker killed {away:?}, all {:?}", killed.elapsed());
    let acknowledged = senders.end().await;
    let repeated = check(&seen, &acknowledged, config.partitions).await;
    println!("{} acknowledged, {repeated} seen again", acknowledged.len());
    owners.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_brokers_are_a_retryable_error_in_time_and_pass() {
    let (mut kafka, config, _folder) = three(Duration::from_secs(2)).await;
    let log = KafkaCommandLog::open(&config).await.unwrap();
    let stream = KafkaEventStream::open(&config).await.unwrap();
    log.append(&key(0), "first".into()).await.unwrap();
    kafka.kill(0);
    kafka.kill(1);
    let begun = Instant::now();
    let mut refused = None;
    // The leader may not have noticed yet.
    while begun.elapsed() < PATIENCE && refused.is_none() {
        refused = log.append(&key(0), "second".into()).await.err();
    }
    assert!(matches!(refused, Some(LogError::Unavailable(_))), "{refused:?}");
    let asked = Instant::now();
    assert!(log.append(&key(0), "third".into()).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
    // Events wait: their owner decides nothing meanwhile.
    let publishing = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.publish(key(0).partition(4), vec![(key(0), "event".into())]).await }
    });
    kafka.restart(0).unwrap();
    kafka.restart(1).unwrap();
    kafka.ready(0).await.unwrap();
    kafka.ready(1).await.unwrap();
    soon("appending again", async || log.append(&key(0), "fourth".into()).await.is_ok()).await;
    tokio::time::timeout(PATIENCE, publishing).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once() {
    let mut kafka = Kafka::single(Size::Small).await.unwrap();
    let config = KafkaConfig { append_timeout: Duration::from_secs(20), ..config(kafka.bootstrap()) };
    let (rows, _folder) = rows();
    prepare(&config, rows.as_ref()).await.unwrap();
    let log = KafkaCommandLog::open(&config).await.unwrap();
    log.append(&key(0), "first".into()).await.unwrap();
    kafka.pause(0);
    let payload = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..80 {
        let (log, payload) = (Arc::clone(&log), payload.clone());
        waiting.spawn(async move { log.append(&key(0), payload).await });
    }
    let first = tokio::time::timeout(Duration::from_secs(10), waiting.join_next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(first, Err(LogError::Full)), "{first:?}");
    kafka.go_on(0);
    let mut taken = 0;
    while let Some(done) = waiting.join_next().await {
        taken += u32::from(done.unwrap().is_ok());
    }
    assert!(taken >= 40, "{taken} were taken");
    kafka.kill(0);
}
