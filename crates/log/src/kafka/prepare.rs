//! Topics are made, and looked at before they are used.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode,
};
use stonechat_proto::internal::v1::CounterRow;
use stonechat_rows::{Put, Rows, tables};

use super::{
    KafkaConfig,
    client::{ASK_TIMEOUT, KnownTopic, Logging, Questions},
    config::BATCH_BYTES,
    topics::{KafkaSetupError, Misfit, SEALED_BYTES, Settings, Wanted, is_sealed, settings, shape, wanted},
};

/// The counter of the newest generation that had topics.
const GENERATION: &str = "kafka-generation";
/// How often topics are looked at until every partition has a leader.
const LOOKS: u32 = 100;
/// The pause between looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What [`prepare`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The topics that were made; none when all were there.
    pub made: Vec<String>,
    /// The topic of the generation before, which takes no commands any more.
    pub sealed: Option<String>,
}

/// Makes the topics of the configured generation where they are not there, and looks whether all fits. It can be
/// repeated. A new generation begins only when everything of the one before is dealt with; its commands are closed to
/// appends then.
///
/// # Errors
/// Everything that does not fit, Kafka or rows that do not answer, settings that cannot be right.
pub async fn prepare(config: &KafkaConfig, rows: &dyn Rows) -> Result<Prepared, KafkaSetupError> {
    config.check()?;
    let brokers = Brokers::new(config)?;
    let known = brokers.questions.topics().await?;
    let missing: Vec<Wanted> =
        wanted(config).into_iter().filter(|wanted| !known.iter().any(|topic| topic.name == wanted.name)).collect();
    let makes_commands = missing.iter().any(|wanted| wanted.name == config.commands_topic());
    let used = used_generation(rows).await?;
    if used > config.generation || (makes_commands && used == config.generation) {
        // Positions of a topic that was made anew would be among those that were used.
        return Err(misfit(Misfit::Generation { configured: config.generation, used }));
    }
    let mut sealed = None;
    if makes_commands && let Some(before) = generation_before(config, &known) {
        sealed = Some(brokers.end_generation(before, &known).await?);
    }
    brokers.make(&missing).await?;
    brokers.wait_for(&missing).await?;
    count_generation(rows, used, config.generation).await?;
    brokers.check().await?;
    Ok(Prepared { made: missing.into_iter().map(|wanted| wanted.name).collect(), sealed })
}

/// Looks whether the topics of the configured generation are there and fit, and the generation before has ended.
///
/// # Errors
/// Everything that does not fit, Kafka that does not answer, settings that cannot be right.
pub(super) async fn check(config: &KafkaConfig) -> Result<(), KafkaSetupError> {
    config.check()?;
    Brokers::new(config)?.check().await
}

fn misfit(misfit: Misfit) -> KafkaSetupError {
    KafkaSetupError::Misfits(vec![misfit])
}

/// The newest generation before the configured one that has a topic of commands.
fn generation_before(config: &KafkaConfig, known: &[KnownTopic]) -> Option<u64> {
    let is_known = |generation: &u64| known.iter().any(|topic| topic.name == config.commands_topic_of(*generation));
    (1..config.generation).rev().find(is_known)
}

async fn used_generation(rows: &dyn Rows) -> Result<u64, KafkaSetupError> {
    let found = rows.get(&[tables::counter(GENERATION)]).await?;
    Ok(found.into_iter().flatten().next().map_or(0, |row| row.version))
}

async fn count_generation(rows: &dyn Rows, used: u64, generation: u64) -> Result<(), KafkaSetupError> {
    if used == generation {
        return Ok(());
    }
    let value = prost::Message::encode_to_vec(&CounterRow { value: generation }).into();
    let put = Put { key: tables::counter(GENERATION), value, version: generation, ttl: None };
    if rows.compare_and_set(put, (used > 0).then_some(used)).await? {
        return Ok(());
    }
    // Somebody else prepared meanwhile; the same generation is no harm.
    match used_generation(rows).await? {
        used if used == generation => Ok(()),
        used => Err(misfit(Misfit::Generation { configured: generation, used })),
    }
}

/// The brokers, asked and told about topics.
struct Brokers<'a> {
    config: &'a KafkaConfig,
    questions: Questions,
    admin: AdminClient<Logging>,
}

impl<'a> Brokers<'a> {
    fn new(config: &'a KafkaConfig) -> Result<Self, KafkaSetupError> {
        let admin = config.client().create_with_context(Logging::default()).map_err(KafkaSetupError::client)?;
        Ok(Self { config, questions: Questions::new(config)?, admin })
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT))
    }

    async fn make(&self, missing: &[Wanted]) -> Result<(), KafkaSetupError> {
        let partitions = i32::try_from(self.config.partitions).unwrap_or(i32::MAX);
        let replication = i32::try_from(self.config.replication).unwrap_or(i32::MAX);
        let mut topics = Vec::with_capacity(missing.len());
        for wanted in missing {
            let mut topic = NewTopic::new(&wanted.name, partitions, TopicReplication::Fixed(replication));
            for (setting, value) in &wanted.settings {
                topic = topic.set(setting, value);
            }
            topics.push(topic);
        }
        if topics.is_empty() {
            return Ok(());
        }
        let made = self.admin.create_topics(&topics, &Self::options()).await.map_err(KafkaSetupError::unavailable)?;
        let refused = made.into_iter().filter_map(|made| match made {
            // Somebody else prepared meanwhile.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => None,
            Err((topic, RDKafkaErrorCode::InvalidReplicationFactor)) => {
                let why = format!("there are not {replication} brokers to replicate to");
                Some(Misfit::Refused { topic, why })
            }
            Err((topic, code)) => Some(Misfit::Refused { topic, why: code.to_string() }),
        });
        let refused: Vec<Misfit> = refused.collect();
        if refused.is_empty() { Ok(()) } else { Err(KafkaSetupError::Misfits(refused)) }
    }

    /// Waits until the brokers know the topics and each partition has a leader.
    async fn wait_for(&self, made: &[Wanted]) -> Result<(), KafkaSetupError> {
        for _ in 0..LOOKS {
            let known = self.questions.topics().await?;
            let is_there = |wanted: &Wanted| {
                known.iter().any(|topic| topic.name == wanted.name && topic.is_led && !topic.replicas.is_empty())
            };
            if made.iter().all(is_there) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(KafkaSetupError::Unavailable("topics that were made have no leaders yet".to_owned()))
    }

    async fn check(&self) -> Result<(), KafkaSetupError> {
        let known = self.questions.topics().await?;
        let mut misfits = Vec::new();
        for wanted in wanted(self.config) {
            match known.iter().find(|topic| topic.name == wanted.name) {
                None => misfits.push(Misfit::Missing { topic: wanted.name }),
                Some(topic) => {
                    misfits.extend(shape(self.config, topic));
                    misfits.extend(settings(&wanted, &self.values(&self.settings(&wanted.name).await?)));
                }
            }
        }
        if let Some(before) = generation_before(self.config, &known) {
            let topic = self.config.commands_topic_of(before);
            if !is_sealed(&self.values(&self.settings(&topic).await?)) {
                misfits.push(Misfit::NotSealed { topic });
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(KafkaSetupError::Misfits(misfits)) }
    }

    async fn settings(&self, topic: &str) -> Result<Vec<(String, String, ConfigSource)>, KafkaSetupError> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let found =
            self.admin.describe_configs(&asked, &Self::options()).await.map_err(KafkaSetupError::unavailable)?;
        let mut settings = Vec::new();
        for resource in found {
            let resource = resource.map_err(|code| KafkaSetupError::Unavailable(format!("{topic}: {code}")))?;
            let values = resource.entries.into_iter();
            settings.extend(values.filter_map(|entry| Some((entry.name, entry.value?, entry.source))));
        }
        Ok(settings)
    }

    fn values(&self, settings: &[(String, String, ConfigSource)]) -> Settings {
        settings.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect::<HashMap<_, _>>()
    }

    /// Closes a generation to appends, once everything of it is dealt with.
    async fn end_generation(&self, generation: u64, known: &[KnownTopic]) -> Result<String, KafkaSetupError> {
        let topic = self.config.commands_topic_of(generation);
        self.check_read(generation, known).await?;
        self.set_max_bytes(&topic, SEALED_BYTES).await?;
        if let Err(error) = self.check_read(generation, known).await {
            // What came in between has to be decided, which may lead to further commands.
            self.set_max_bytes(&topic, BATCH_BYTES as u64).await?;
            return Err(error);
        }
        Ok(topic)
    }

    /// Whether every group has dealt with everything of a generation.
    async fn check_read(&self, generation: u64, known: &[KnownTopic]) -> Result<(), KafkaSetupError> {
        let owners = (self.config.commands_topic_of(generation), self.config.owners_group_of(generation));
        let of_consumer = |consumer: &String| {
            (self.config.events_topic_of(generation), self.config.consumer_group_of(consumer, generation))
        };
        let mut misfits = Vec::new();
        for (topic, group) in std::iter::once(owners).chain(self.config.consumers.iter().map(of_consumer)) {
            let Some(found) = known.iter().find(|found| found.name == topic) else { continue };
            let records = self.questions.unread(topic.clone(), found.replicas.len(), &group).await?;
            if records > 0 {
                misfits.push(Misfit::Unread { topic, group, records });
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(KafkaSetupError::Misfits(misfits)) }
    }

    /// Changes one setting of a topic. Kafka takes all or none, so those that were set before are told again.
    async fn set_max_bytes(&self, topic: &str, bytes: u64) -> Result<(), KafkaSetupError> {
        const SETTING: &str = "max.message.bytes";
        let bytes = bytes.to_string();
        let present = self.settings(topic).await?;
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value, source) in &present {
            if *source == ConfigSource::DynamicTopic && name != SETTING {
                change = change.set(name, value);
            }
        }
        let change = change.set(SETTING, &bytes);
        let changed =
            self.admin.alter_configs(&[change], &Self::options()).await.map_err(KafkaSetupError::unavailable)?;
        for changed in changed {
            changed.map_err(|(_, code)| {
                misfit(Misfit::Refused { topic: topic.to_owned(), why: format!("{SETTING}={bytes}: {code}") })
            })?;
        }
        Ok(())
    }
}
