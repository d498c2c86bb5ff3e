//! Topics are made, checked, and replaced by those of the next generation.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use stonechat_log::{
    CommandLog, EventStream, KafkaCommandLog, KafkaConfig, KafkaEventStream, KafkaSetupError, LogError, Misfit, prepare,
};
use stonechat_model::Position;

use super::{
    owners::key,
    world::{PATIENCE, World, broker, config, rows},
};

fn admin(config: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap()
}

fn misfits<T>(result: Result<T, KafkaSetupError>) -> Vec<String> {
    match result.err() {
        Some(KafkaSetupError::Misfits(misfits)) => misfits.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn topics_are_made_once_and_fit() {
    let kafka = broker().await;
    let config = config(kafka.bootstrap());
    let (rows, _folder) = rows();
    let missing = misfits(KafkaCommandLog::open(&config).await);
    assert_eq!(missing.len(), 2);
    assert!(missing[0].contains(&config.commands_topic()) && missing[0].contains("stonechat admin prepare"));
    let prepared = prepare(&config, rows.as_ref()).await.unwrap();
    assert_eq!(prepared.made, [config.commands_topic(), config.events_topic()]);
    let again = prepare(&config, rows.as_ref()).await.unwrap();
    assert_eq!(again.made, [""; 0]);
    KafkaCommandLog::open(&config).await.unwrap();
    KafkaEventStream::open(&config).await.unwrap();
}

#[tokio::test]
async fn everything_that_does_not_fit_is_told() {
    let kafka = broker().await;
    let config = config(kafka.bootstrap());
    let (topic, events) = (config.commands_topic(), config.events_topic());
    let made = [
        NewTopic::new(&topic, 3, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "CreateTime")
            .set("retention.ms", "60000")
            .set("cleanup.policy", "compact")
            .set("max.message.bytes", "5000000"),
        NewTopic::new(&events, 4, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("retention.ms", "-1"),
    ];
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin(&config).create_topics(&made, &options).await.unwrap();
    let found = misfits(KafkaEventStream::open(&config).await);
    let expected = [
        format!("topic {topic} has 3 partitions, 4 are configured: another number needs a new generation"),
        format!("topic {topic} has cleanup.policy=compact, must be delete"),
        format!("topic {topic} has retention.ms=60000, must be at least 604800000, or -1"),
        format!("topic {topic} has message.timestamp.type=CreateTime, must be LogAppendTime"),
        format!("topic {events} has max.message.bytes=1048588, must be at least 4194304"),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn more_replicas_than_brokers_are_told() {
    let kafka = broker().await;
    let config = KafkaConfig { replication: 3, min_insync_replicas: 2, ..config(kafka.bootstrap()) };
    let (rows, _folder) = rows();
    let found = misfits(prepare(&config, rows.as_ref()).await);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("there are not 3 brokers to replicate to"), "{found:?}");
}

#[tokio::test]
async fn kafka_that_is_away_is_told_in_time() {
    let config = config("127.0.0.1:9".to_owned());
    let (rows, _folder) = rows();
    let error = tokio::time::timeout(PATIENCE, prepare(&config, rows.as_ref())).await.unwrap().unwrap_err();
    assert!(matches!(error, KafkaSetupError::Unavailable(_)), "{error}");
}

/// Owns every partition and deals with what is in them.
async fn deal_with_commands(log: &dyn CommandLog, count: usize) -> Position {
    let (mut sources, mut found, mut newest) = (Vec::new(), 0, Position::ZERO);
    for _ in 0..log.partitions() {
        sources.push(tokio::time::timeout(PATIENCE, log.claim()).await.unwrap().unwrap());
    }
    let expected = (0..count as u64).map(|number| key(number).partition(log.partitions()));
    let expected: Vec<u32> = expected.collect();
    for source in &mut sources {
        let mut here = expected.iter().filter(|partition| **partition == source.partition()).count();
        while here > 0 {
            let items = tokio::time::timeout(PATIENCE, source.next_batch(100, 1 << 20)).await.unwrap().unwrap();
            let items = items.unwrap();
            newest = newest.max(items.last().unwrap().position);
            source.commit(items.last().unwrap().position).await.unwrap();
            found += items.len();
            here -= items.len();
        }
    }
    assert_eq!(found, count);
    newest
}

#[tokio::test]
async fn another_number_of_partitions_is_a_new_generation_after_everything_was_dealt_with() {
    let world = World::new().await;
    let before = world.commands().await;
    let events = world.events().await;
    for number in 0..20 {
        before.append(&key(number), "command".into()).await.unwrap();
    }
    events.publish(key(0).partition(4), vec![(key(0), "event".into())]).await.unwrap();
    let next = KafkaConfig { generation: 2, partitions: 6, ..world.config.clone() };
    let found = misfits(prepare(&next, world.rows.as_ref()).await);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("has 20 records that") && found[0].contains(&world.config.owners_group()), "{found:?}");
    assert!(found[1].contains("has 1 records that"), "{found:?}");
    // The old generation still works.
    before.append(&key(20), "command".into()).await.unwrap();
    let newest = deal_with_commands(before.as_ref(), 21).await;
    let mut others = Vec::new();
    let mut reader = loop {
        let source = tokio::time::timeout(PATIENCE, events.claim("fanout")).await.unwrap().unwrap();
        if source.partition() == key(0).partition(4) {
            break source;
        }
        // Kept, so that the right one comes.
        others.push(source);
    };
    let items = tokio::time::timeout(PATIENCE, reader.next_batch(10)).await.unwrap().unwrap().unwrap();
    reader.pass(items[0].offset).await.unwrap();
    drop((reader, others));
    events.leave().await;
    before.leave().await;
    let prepared = prepare(&next, world.rows.as_ref()).await.unwrap();
    assert_eq!(prepared.made, [next.commands_topic(), next.events_topic()]);
    assert_eq!(prepared.sealed, Some(world.config.commands_topic()));
    // Nothing gets into the old generation any more, and nothing starts on it.
    let refused = before.append(&key(0), "late".into()).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    let found = misfits(KafkaCommandLog::open(&world.config).await);
    assert!(found[0].contains("max.message.bytes=1,"), "{found:?}");
    // The new one has greater positions and the new number of partitions.
    let after = KafkaCommandLog::open(&next).await.unwrap();
    assert_eq!(after.partitions(), 6);
    after.append(&key(0), "command".into()).await.unwrap();
    let first = deal_with_commands(after.as_ref(), 1).await;
    assert!(first > newest);
    assert_eq!((first.generation(), first.offset()), (2, 0));
}

#[tokio::test]
async fn a_generation_is_never_used_again() {
    let world = World::new().await;
    let topic = world.config.commands_topic();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin(&world.config).delete_topics(&[&topic], &options).await.unwrap();
    let missing = Misfit::Missing { topic: topic.clone() }.to_string();
    let gone = async || {
        let opened = KafkaCommandLog::open(&world.config).await;
        opened.is_err_and(|error| error.to_string().contains(&missing))
    };
    super::owners::soon("deleting", gone).await;
    let found = misfits(prepare(&world.config, world.rows.as_ref()).await);
    assert_eq!(found, ["generation 1 is configured, 1 was used: count it up to 2"]);
    let next = KafkaConfig { generation: 2, ..world.config.clone() };
    prepare(&next, world.rows.as_ref()).await.unwrap();
    let found = misfits(prepare(&world.config, world.rows.as_ref()).await);
    assert_eq!(found, ["generation 1 is configured, 2 was used: count it up to 3"]);
}
