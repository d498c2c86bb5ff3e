//! What every client of Kafka does alike: it logs, and it asks about topics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{KafkaConfig, topics::KafkaSetupError};
use crate::LogError;

/// How long a question about topics may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two warnings of a client; what comes in between is counted and seen at the level of debugging.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Logs what librdkafka says. While brokers are away that is a lot; what it leads to is told where it matters.
#[derive(Default)]
pub(super) struct Logging {
    complained: Mutex<Option<Instant>>,
}

impl Logging {
    /// Warns of an error that passes by itself, though not again and again.
    pub fn complain(&self, error: &KafkaError, reason: &str) {
        let mut complained = self.complained.lock();
        if complained.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY) {
            tracing::debug!(%error, "kafka: {reason}");
            return;
        }
        *complained = Some(Instant::now());
        tracing::warn!(%error, "kafka: {reason}");
    }
}

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            // It says that the setting is experimental, at each start.
            _ if message.contains("enable.gapless.guarantee") => tracing::debug!("{message}"),
            RDKafkaLogLevel::Warning => tracing::warn!(kafka.facility = facility, "{message}"),
            // Errors come as such, too.
            _ => tracing::debug!(kafka.facility = facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        metrics::counter!("stonechat_kafka_errors_total").increment(1);
        self.complain(&error, reason);
    }
}

/// The error of a log for an error of Kafka.
pub(super) fn unavailable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(format!("kafka: {error}"))
}

/// Whether somebody else may have the partitions.
pub(super) fn is_of_membership(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    let codes = [
        Code::UnknownMemberId,
        Code::IllegalGeneration,
        Code::FencedInstanceId,
        Code::FencedMemberEpoch,
        Code::StaleMemberEpoch,
        Code::State,
        Code::AssignmentLost,
    ];
    code.is_some_and(|code| codes.contains(&code))
}

/// Runs what blocks apart from the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(run).await.unwrap_or(Err(KafkaError::Canceled))
}

/// A topic as the brokers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownTopic {
    /// Its name.
    pub name: String,
    /// By partition, its replicas.
    pub replicas: Vec<usize>,
    /// Whether each partition has a leader.
    pub is_led: bool,
}

/// Asks about topics and positions, as a member of no group.
#[derive(Clone)]
pub(super) struct Questions {
    config: KafkaConfig,
    consumer: Arc<BaseConsumer>,
}

impl Questions {
    /// Connects when it is first asked.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let consumer = config.client().create().map_err(KafkaSetupError::client)?;
        Ok(Self { config: config.clone(), consumer: Arc::new(consumer) })
    }

    /// Every topic.
    pub async fn topics(&self) -> Result<Vec<KnownTopic>, KafkaSetupError> {
        let consumer = Arc::clone(&self.consumer);
        let found = blocking(move || {
            let metadata = consumer.fetch_metadata(None, ASK_TIMEOUT)?;
            let topics = metadata.topics().iter().map(|topic| KnownTopic {
                name: topic.name().to_owned(),
                replicas: topic.partitions().iter().map(|partition| partition.replicas().len()).collect(),
                is_led: topic.partitions().iter().all(|partition| partition.leader() >= 0),
            });
            Ok(topics.collect())
        });
        found.await.map_err(KafkaSetupError::unavailable)
    }

    /// How many records of a topic a group has not committed.
    pub async fn unread(&self, topic: String, partitions: usize, group: &str) -> Result<u64, KafkaSetupError> {
        let member: BaseConsumer = self
            .config
            .client()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .map_err(KafkaSetupError::client)?;
        let found = blocking(move || {
            let mut asked = rdkafka::TopicPartitionList::with_capacity(partitions);
            asked.add_partition_range(&topic, 0, i32::try_from(partitions).unwrap_or(i32::MAX) - 1);
            let committed = member.committed_offsets(asked, ASK_TIMEOUT)?;
            let mut unread = 0;
            for place in committed.elements_for_topic(&topic) {
                let (low, high) = ends(member.client(), &topic, place.partition(), ASK_TIMEOUT)?;
                let from = place.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(low).max(low);
                unread += u64::try_from(high - from).unwrap_or(0);
            }
            Ok(unread)
        });
        found.await.map_err(KafkaSetupError::unavailable)
    }
}

/// The first offset of a partition, and the one after the last.
pub(super) fn ends<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    timeout: Duration,
) -> Result<(i64, i64), KafkaError> {
    client.fetch_watermarks(topic, partition, timeout)
}
