//! Members of a group come and go.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use stonechat_backends::server::{Folder, Program, Server};
use stonechat_log::{CommandLog, CommandSource, EventStream, GroupProtocol, KafkaCommandLog, KafkaConfig, LogError};
use stonechat_model::LogKey;

use super::{
    owners::{Owners, Seen, Senders, check, key, soon},
    world::{PATIENCE, World, broker, config},
};

async fn world(protocol: GroupProtocol) -> World {
    let kafka = broker().await;
    let config = KafkaConfig { protocol, partitions: 8, ..config(kafka.bootstrap()) };
    World::with(config, kafka).await
}

async fn nothing_is_skipped_while_members_come_and_go(protocol: GroupProtocol) {
    let world = world(protocol).await;
    let seen = Seen::default();
    let first = Owners::start(world.commands().await, &seen);
    let senders = Senders::start(&first.log, 30);
    soon("owning all", async || first.owned.lock().len() == 8).await;
    senders.wait_for(300).await;
    let second = Owners::start(world.commands().await, &seen);
    soon("sharing", async || first.owned.lock().len() == 4 && second.owned.lock().len() == 4).await;
    senders.wait_for(300).await;
    let log = Arc::clone(&first.log);
    first.leave().await;
    soon("taking over", async || second.owned.lock().len() == 8).await;
    senders.wait_for(300).await;
    let third = Owners::start(world.commands().await, &seen);
    soon("sharing again", async || second.owned.lock().len() == 4 && third.owned.lock().len() == 4).await;
    senders.wait_for(300).await;
    let acknowledged = senders.end().await;
    let repeated = check(&seen, &acknowledged, 8).await;
    assert_eq!(repeated, 0, "an owner began before the one before had ended");
    second.leave().await;
    third.leave().await;
    drop(log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_skipped_or_repeated_while_members_come_and_go() {
    nothing_is_skipped_while_members_come_and_go(GroupProtocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_skipped_or_repeated_in_a_group_of_kip_848() {
    nothing_is_skipped_while_members_come_and_go(GroupProtocol::Consumer).await;
}

/// The log, the brokers and the protocol of a process that [`owner_in_a_process_of_its_own`] is.
const OWNER: &str = "STONECHAT_TEST_OWNER";

fn owner_process(config: &KafkaConfig, folder: &Folder) -> Server {
    let protocol = if config.protocol == GroupProtocol::Consumer { "consumer" } else { "cooperative" };
    let mut program = Program::new(std::env::current_exe().unwrap(), folder.path()).with([
        "--exact",
        "members::owner_in_a_process_of_its_own",
        "--ignored",
        "--nocapture",
    ]);
    let settings = format!("{} {} {protocol}", config.brokers, config.prefix);
    program.environment.push((OWNER.to_owned(), settings));
    Server::start(program).unwrap()
}

/// Owns every partition, takes what is in them at once, commits it one by one, and tells what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by other tests, as a process"]
async fn owner_in_a_process_of_its_own() {
    let Ok(settings) = std::env::var(OWNER) else { return };
    let [brokers, prefix, protocol] = settings.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let protocol = if protocol == "consumer" { GroupProtocol::Consumer } else { GroupProtocol::Cooperative };
    let config = KafkaConfig { prefix: prefix.to_owned(), ..stalling(brokers, protocol) };
    let log = KafkaCommandLog::open(&config).await.unwrap();
    let mut source = log.claim().await.unwrap();
    let mut items = Vec::new();
    while items.len() < 1_000 {
        items.extend(source.next_batch(1_000, 1 << 20).await.unwrap().unwrap());
    }
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for item in items {
        pace.tick().await;
        match source.commit(item.position).await {
            Ok(()) => println!("committed {}", item.position.offset()),
            Err(LogError::Lost) => {
                println!("refused {}", item.position.offset());
                break;
            }
            Err(error) => println!("failed: {error}"),
        }
    }
    match source.next_batch(1, 1).await {
        Ok(None) => println!("ended"),
        other => println!("went on: {other:?}"),
    }
    drop(source);
    // A member like every other from now on.
    let _again = log.claim().await.unwrap();
    println!("claimed again");
    std::future::pending::<()>().await;
}

fn stalling(brokers: &str, protocol: GroupProtocol) -> KafkaConfig {
    KafkaConfig {
        partitions: 1,
        protocol,
        session_timeout: Duration::from_secs(if protocol == GroupProtocol::Consumer { 6 } else { 2 }),
        ..config(brokers.to_owned())
    }
}

async fn a_member_that_stood_still_is_fenced(protocol: GroupProtocol) {
    let kafka = broker().await;
    let world = World::with(stalling(&kafka.bootstrap(), protocol), kafka).await;
    let log = world.commands().await;
    let key = key(0);
    for number in 0..1_000 {
        log.append(&key, number.to_string().into()).await.unwrap();
    }
    let folder = Folder::new().unwrap();
    let process = owner_process(&world.config, &folder);
    let path = folder.path().join(&process.program().log);
    let told = || std::fs::read_to_string(&path).unwrap_or_default();
    soon("committing", async || told().contains("committed 5\n")).await;
    process.pause();
    // Another owns the partition now, and goes on.
    let mut source = tokio::time::timeout(PATIENCE, log.claim()).await.unwrap().unwrap();
    let committed = told().matches("committed").count() as u64;
    let mut next = None;
    while next != Some(1_000) {
        let items = source.next_batch(1_000, 1 << 20).await.unwrap().unwrap();
        let first = items[0].position.offset();
        let expected = next.unwrap_or(first);
        assert_eq!(first, expected);
        assert!(next.is_some() || first <= committed, "the next owner skipped {committed} to {first}");
        source.commit(items.last().unwrap().position).await.unwrap();
        next = Some(items.last().unwrap().position.offset() + 1);
    }
    process.go_on();
    soon("being refused", async || told().contains("refused")).await;
    soon("ending", async || told().contains("ended\n")).await;
    assert!(!told().contains("went on"), "{}", told());
    assert!(told().matches("committed").count() as u64 <= committed + 1, "it committed on: {}", told());
    // Its commits changed nothing, and it is a member again.
    drop(source);
    log.leave().await;
    soon("being a member again", async || told().contains("claimed again\n")).await;
    drop(process);
    let again = world.commands().await;
    let mut source = tokio::time::timeout(PATIENCE, again.claim()).await.unwrap().unwrap();
    again.append(&key, "newest".into()).await.unwrap();
    let items = source.next_batch(1_000, 1 << 20).await.unwrap().unwrap();
    assert_eq!(items[0].payload, "newest", "the position went back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stood_still_longer_than_its_session_notices() {
    a_member_that_stood_still_is_fenced(GroupProtocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_in_a_group_of_kip_848_that_stood_still_notices() {
    a_member_that_stood_still_is_fenced(GroupProtocol::Consumer).await;
}

async fn write(world: &World, topic: &str, partition: u32, key: Option<&[u8]>, payload: Option<&[u8]>) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &world.config.brokers).create().unwrap();
    let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(i32::try_from(partition).unwrap());
    record.key = key;
    record.payload = payload;
    producer.send(record, PATIENCE).await.unwrap();
}

fn key_of(partition: u32, partitions: u32) -> LogKey {
    (0..).map(key).find(|key| key.partition(partitions) == partition).unwrap()
}

#[tokio::test]
async fn records_that_nobody_of_ours_wrote_are_put_aside() {
    let world = World::new().await;
    let log = world.commands().await;
    let stream = world.events().await;
    let (here, elsewhere) = (key_of(0, 4), key_of(1, 4));
    let mut source = log.claim().await.unwrap();
    assert_eq!(source.partition(), 0);
    let mut events = stream.claim("fanout").await.unwrap();
    assert_eq!(events.partition(), 0);
    let (commands_topic, events_topic) = (world.config.commands_topic(), world.config.events_topic());
    for round in 0..3 {
        for topic in [&commands_topic, &events_topic] {
            write(&world, topic, 0, None, Some(b"no key")).await;
            write(&world, topic, 0, Some(&here.to_bytes()), None).await;
            write(&world, topic, 0, Some(&elsewhere.to_bytes()), Some(b"misplaced")).await;
            write(&world, topic, 0, Some(b""), Some(b"")).await;
        }
        let text = format!("ours {round}");
        log.append(&here, text.clone().into()).await.unwrap();
        stream.publish(0, vec![(here.clone(), text.clone().into())]).await.unwrap();
        let items = tokio::time::timeout(PATIENCE, source.next_batch(10, 1_000)).await.unwrap().unwrap().unwrap();
        assert_eq!(items.iter().map(|item| &item.payload[..]).collect::<Vec<_>>(), [text.as_bytes()]);
        source.commit(items[0].position).await.unwrap();
        let items = tokio::time::timeout(PATIENCE, events.next_batch(10)).await.unwrap().unwrap().unwrap();
        assert_eq!(items.iter().map(|item| &item.payload[..]).collect::<Vec<_>>(), [text.as_bytes()]);
        events.commit(items[0].offset).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_tells_how_far_it_is_behind() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let world = World::new().await;
    let log = world.commands().await;
    let key = key_of(0, 4);
    for number in 0..50 {
        log.append(&key, number.to_string().into()).await.unwrap();
    }
    let mut source = log.claim().await.unwrap();
    let items = tokio::time::timeout(PATIENCE, source.next_batch(20, 1_000)).await.unwrap().unwrap().unwrap();
    source.commit(items.last().unwrap().position).await.unwrap();
    let group = world.config.owners_group();
    let lag = format!("stonechat_log_lag_records{{group=\"{group}\"}} {}\n", 50 - items.len());
    soon("telling", async || recorder.render().contains(&lag)).await;
}

#[tokio::test]
async fn a_record_above_the_limit_is_refused() {
    let world = World::new().await;
    let log = world.commands().await;
    let limit = stonechat_model::limits::LOG_RECORD_BYTES;
    log.append(&key_of(0, 4), vec![0; limit].into()).await.unwrap();
    let refused = log.append(&key_of(0, 4), vec![0; limit + 1].into()).await;
    assert!(matches!(refused, Err(LogError::TooLarge)), "{refused:?}");
    let mut source = log.claim().await.unwrap();
    let items = tokio::time::timeout(PATIENCE, source.next_batch(1, 1)).await.unwrap().unwrap().unwrap();
    assert_eq!(items[0].payload.len(), limit);
}

#[tokio::test]
async fn partitions_that_were_added_by_hand_are_left_alone_and_refused_at_the_next_start() {
    let world = World::new().await;
    let log = world.commands().await;
    let mut sources: Vec<Box<dyn CommandSource>> = Vec::new();
    for _ in 0..4 {
        sources.push(tokio::time::timeout(PATIENCE, log.claim()).await.unwrap().unwrap());
    }
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &world.config.brokers).create().unwrap();
    let topic = world.config.commands_topic();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin.create_partitions(&[NewPartitions::new(&topic, 6)], &options).await.unwrap();
    soon("refusing", async || KafkaCommandLog::open(&world.config).await.is_err()).await;
    let error = KafkaCommandLog::open(&world.config).await.err().unwrap().to_string();
    assert!(error.contains("has 6 partitions, 4 are configured"), "{error}");
    for source in &mut sources {
        let key = key_of(source.partition(), 4);
        log.append(&key, "still here".into()).await.unwrap();
        let items = tokio::time::timeout(PATIENCE, source.next_batch(1, 1)).await.unwrap().unwrap().unwrap();
        assert_eq!(items[0].payload, "still here");
    }
}
