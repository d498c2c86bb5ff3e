//! How Kafka is reached and used.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;
use stonechat_model::{Position, limits};

use super::topics::KafkaSetupError;

/// How often a group tells how far its readers are behind.
const STATISTICS_EVERY_MS: u64 = 5_000;
/// How often a member is heard of at least, and learns that partitions are shared anew.
const HEARTBEAT_MS: u128 = 1_000;
/// How long a record waits for others. Kafka's own producer has 5 since 4.0 (KIP-1030); 10 saves a tenth of a router
/// and a sixth of a broker, at some hundred commands a second.
const LINGER_MS: &str = "10";
/// How often positions are committed.
const COMMIT_EVERY_MS: u64 = 200;
/// A record with its key and framing: an event is not much larger than the command that led to it.
const MESSAGE_BYTES: usize = 2 * limits::LOG_RECORD_BYTES;
/// The largest batch that topics take: what waits together, and one record more.
pub(super) const BATCH_BYTES: usize = 2 * MESSAGE_BYTES;

/// How a consumer group shares its partitions; either way only those that move are interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// The classic protocol, cooperative-sticky; works everywhere, and the session's length is the member's to say.
    #[default]
    Cooperative,
    /// KIP-848, of Kafka 4; the session's length is the broker's to say (`group.consumer.session.timeout.ms`, by
    /// default 45 s, which is how long a killed process keeps its partitions).
    Consumer,
}

/// How Kafka is reached and used. Every process must have the same.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port` of some brokers, with commas between them.
    pub brokers: String,
    /// What the names of topics and groups begin with.
    pub prefix: String,
    /// The generation of positions, from 1 on; part of the names.
    pub generation: u64,
    /// The partitions of each topic of this generation.
    pub partitions: u32,
    /// On how many brokers each record is.
    pub replication: u32,
    /// On how many of them a record is before it is acknowledged.
    pub min_insync_replicas: u32,
    /// How long commands are kept; they are read within moments, unless every router is away.
    pub command_retention: Duration,
    /// How long events are kept for consumers that are away.
    pub event_retention: Duration,
    /// How long a process may be silent before others get its partitions.
    pub session_timeout: Duration,
    /// How long an append waits to be acknowledged.
    pub append_timeout: Duration,
    /// How groups share partitions.
    pub protocol: GroupProtocol,
    /// Consumers of the event stream that must have read everything before a new generation begins.
    pub consumers: Vec<String>,
    /// Settings of librdkafka beside those above, for example `security.protocol`.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            prefix: "stonechat".to_owned(),
            generation: 1,
            partitions: 8,
            replication: 3,
            min_insync_replicas: 2,
            command_retention: days(7),
            event_retention: days(7),
            // Longer than a group takes to get another coordinator when a broker is killed.
            session_timeout: Duration::from_secs(10),
            append_timeout: Duration::from_millis(limits::KAFKA_APPEND_TIMEOUT_MS),
            protocol: GroupProtocol::default(),
            consumers: vec!["fanout".to_owned()],
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// The topic of commands.
    pub fn commands_topic(&self) -> String {
        self.commands_topic_of(self.generation)
    }

    /// The topic of events.
    pub fn events_topic(&self) -> String {
        self.events_topic_of(self.generation)
    }

    pub(super) fn commands_topic_of(&self, generation: u64) -> String {
        format!("{}.commands.{generation}", self.prefix)
    }

    pub(super) fn events_topic_of(&self, generation: u64) -> String {
        format!("{}.events.{generation}", self.prefix)
    }

    /// The group of the partitions' owners.
    pub fn owners_group(&self) -> String {
        self.owners_group_of(self.generation)
    }

    /// The group of a consumer of events.
    pub fn consumer_group(&self, consumer: &str) -> String {
        self.consumer_group_of(consumer, self.generation)
    }

    pub(super) fn owners_group_of(&self, generation: u64) -> String {
        format!("{}.owners.{generation}", self.prefix)
    }

    pub(super) fn consumer_group_of(&self, consumer: &str, generation: u64) -> String {
        format!("{}.consumer.{consumer}.{generation}", self.prefix)
    }

    /// Whether it can be right at all.
    ///
    /// # Errors
    /// The first setting that cannot.
    pub fn check(&self) -> Result<(), KafkaSetupError> {
        let wrong = |what: String| Err(KafkaSetupError::Config(what));
        if self.generation == 0 || self.generation >= Position::GENERATIONS {
            return wrong(format!("generation is {}, must be 1 to {}", self.generation, Position::GENERATIONS - 1));
        }
        if self.partitions == 0 || self.partitions > limits::LOG_PARTITIONS {
            return wrong(format!("partitions are {}, must be 1 to {}", self.partitions, limits::LOG_PARTITIONS));
        }
        if self.replication == 0 || self.min_insync_replicas == 0 || self.min_insync_replicas > self.replication {
            let (replicas, insync) = (self.replication, self.min_insync_replicas);
            return wrong(format!(
                "min_insync_replicas is {insync}, must be 1 to the replication, which is {replicas}"
            ));
        }
        if self.replication > 1 && self.min_insync_replicas == self.replication {
            let count = self.replication;
            return wrong(format!(
                "min_insync_replicas is the replication ({count}): nothing works without one broker"
            ));
        }
        if !self.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) || self.prefix.len() > 100 {
            return wrong(format!("prefix {:?} must be at most 100 letters, digits, dots, - or _", self.prefix));
        }
        Ok(())
    }

    /// What every client has.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "stonechat")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("allow.auto.create.topics", "false");
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    /// A producer. Records that wait longer than `timeout` fail; without one they never do, and come in order without
    /// a gap as long as the producer lives.
    pub(super) fn producer(&self, timeout: Option<Duration>) -> ClientConfig {
        let mut client = self.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("enable.gapless.guarantee", if timeout.is_none() { "true" } else { "false" })
            .set("message.timeout.ms", timeout.map_or(0, |timeout| timeout.as_millis()).to_string())
            .set("retry.backoff.ms", "50")
            .set("message.max.bytes", MESSAGE_BYTES.to_string())
            .set("queue.buffering.max.messages", limits::KAFKA_QUEUE_RECORDS.to_string())
            .set("queue.buffering.max.kbytes", (limits::KAFKA_QUEUE_BYTES / 1_024).to_string());
        if !self.properties.contains_key("linger.ms") {
            client.set("linger.ms", LINGER_MS);
        }
        client
    }

    /// A consumer of a group, which stores its positions itself.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut client = self.client();
        client
            .set("group.id", group)
            // A position that is stored when a record is handed over would be committed before it is dealt with.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", COMMIT_EVERY_MS.to_string())
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", STATISTICS_EVERY_MS.to_string())
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", (limits::KAFKA_FETCH_BYTES / 1_024).to_string())
            .set("fetch.message.max.bytes", (limits::KAFKA_FETCH_BYTES / 4).to_string());
        match self.protocol {
            GroupProtocol::Cooperative => client
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
                .set(
                    "heartbeat.interval.ms",
                    (self.session_timeout.as_millis() / 4).clamp(1, HEARTBEAT_MS).to_string(),
                ),
            GroupProtocol::Consumer => client.set("group.protocol", "consumer"),
        };
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_right_are_told() {
        let fits = KafkaConfig::default();
        fits.check().unwrap();
        let cases = [
            (KafkaConfig { generation: 0, ..fits.clone() }, "generation is 0"),
            (KafkaConfig { generation: 1_024, ..fits.clone() }, "generation is 1024"),
            (KafkaConfig { partitions: 0, ..fits.clone() }, "partitions are 0"),
            (KafkaConfig { min_insync_replicas: 4, ..fits.clone() }, "min_insync_replicas is 4"),
            (KafkaConfig { min_insync_replicas: 3, ..fits.clone() }, "nothing works without one broker"),
            (KafkaConfig { prefix: "a b".to_owned(), ..fits }, "prefix \"a b\""),
        ];
        for (config, told) in cases {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn properties_do_not_replace_what_durability_rests_on() {
        let properties = [("acks", "1"), ("enable.idempotence", "false"), ("linger.ms", "7")];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = KafkaConfig { properties, ..KafkaConfig::default() };
        let producer = config.producer(None);
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        assert_eq!(producer.get("linger.ms"), Some("7"));
    }
}
