//! What a topic must be like, and what does not fit.

use std::{collections::HashMap, fmt};

use rdkafka::error::KafkaError;
use stonechat_rows::RowsError;

use super::{KafkaConfig, client::KnownTopic, config::BATCH_BYTES};

/// The largest batch of a topic that takes nothing more: no record is so small.
pub(super) const SEALED_BYTES: u64 = 1;

/// Why the logs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSetupError {
    /// A setting cannot be right.
    #[error("kafka settings: {0}")]
    Config(String),
    /// Kafka does not answer, or refuses.
    #[error("kafka does not answer: {0}")]
    Unavailable(String),
    /// Topics are not as they must be.
    #[error("kafka topics do not fit:{}", lines(.0))]
    Misfits(Vec<Misfit>),
    /// The rows that count generations did not answer.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

impl KafkaSetupError {
    pub(super) fn client(error: KafkaError) -> Self {
        Self::Config(error.to_string())
    }

    pub(super) fn unavailable(error: KafkaError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn lines(misfits: &[Misfit]) -> String {
    misfits.iter().map(|misfit| format!("\n  {misfit}")).collect()
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// There is no such topic.
    Missing {
        /// The topic.
        topic: String,
    },
    /// A topic has another number of partitions.
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many are configured.
        wanted: u32,
    },
    /// A partition has fewer replicas.
    Replication {
        /// The topic.
        topic: String,
        /// The partition.
        partition: usize,
        /// How many it has.
        found: usize,
        /// How many are configured.
        wanted: u32,
    },
    /// A setting of a topic has a value that does not do.
    Setting {
        /// The topic.
        topic: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: String,
    },
    /// Kafka refused to make or change a topic.
    Refused {
        /// The topic.
        topic: String,
        /// Why.
        why: String,
    },
    /// The generation is not above one that was used.
    Generation {
        /// The configured one.
        configured: u64,
        /// The newest that was used.
        used: u64,
    },
    /// The topics of the generation before hold records that are not dealt with.
    Unread {
        /// The topic.
        topic: String,
        /// Whose.
        group: String,
        /// How many records.
        records: u64,
    },
    /// The generation before still takes commands.
    NotSealed {
        /// The topic.
        topic: String,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "topic {topic} is not there: run `stonechat admin prepare`"),
            Self::Partitions { topic, found, wanted } => write!(
                f,
                "topic {topic} has {found} partitions, {wanted} are configured: another number needs a new generation"
            ),
            Self::Replication { topic, partition, found, wanted } => {
                write!(f, "topic {topic} has {found} replicas of partition {partition}, must have {wanted}")
            }
            Self::Setting { topic, setting, found, wanted } => {
                write!(f, "topic {topic} has {setting}={found}, must be {wanted}")
            }
            Self::Refused { topic, why } => write!(f, "topic {topic} was refused by kafka: {why}"),
            Self::Generation { configured, used } => {
                write!(f, "generation {configured} is configured, {used} was used: count it up to {}", used + 1)
            }
            Self::Unread { topic, group, records } => write!(
                f,
                "topic {topic} of the generation before has {records} records that {group} has not dealt with: stop \
                 what sends, keep its routers running until they are through, then prepare again"
            ),
            Self::NotSealed { topic } => {
                write!(f, "topic {topic} of the generation before takes commands: run `stonechat admin prepare`")
            }
        }
    }
}

/// The settings of a topic, by name.
pub(super) type Settings = HashMap<String, String>;

/// A topic that is to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its name.
    pub name: String,
    /// What it is made with.
    pub settings: Vec<(&'static str, String)>,
}

/// The topics of the configured generation.
pub(super) fn wanted(config: &KafkaConfig) -> Vec<Wanted> {
    let topic = |name, retention: std::time::Duration| Wanted {
        name,
        settings: vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention.as_millis().to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("min.insync.replicas", config.min_insync_replicas.to_string()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("max.message.bytes", BATCH_BYTES.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ],
    };
    vec![topic(config.commands_topic(), config.command_retention), topic(config.events_topic(), config.event_retention)]
}

/// What of a topic's partitions does not fit.
pub(super) fn shape(config: &KafkaConfig, topic: &KnownTopic) -> Vec<Misfit> {
    let name = &topic.name;
    let mut found = Vec::new();
    if topic.replicas.len() != config.partitions as usize {
        found.push(Misfit::Partitions { topic: name.clone(), found: topic.replicas.len(), wanted: config.partitions });
    }
    let few = topic.replicas.iter().enumerate().filter(|(_, replicas)| **replicas < config.replication as usize);
    found.extend(few.map(|(partition, replicas)| Misfit::Replication {
        topic: name.clone(),
        partition,
        found: *replicas,
        wanted: config.replication,
    }));
    found
}

/// What of a topic's settings does not fit.
pub(super) fn settings(wanted: &Wanted, found: &Settings) -> Vec<Misfit> {
    let number = |text: &str| text.parse::<i64>().ok();
    let misfit = |(setting, wanted_value): &(&'static str, String)| {
        let value = found.get(*setting)?;
        let (fits, wanted_text) = match *setting {
            "min.insync.replicas" | "max.message.bytes" => {
                (number(value) >= number(wanted_value), format!("at least {wanted_value}"))
            }
            "retention.ms" => {
                (value == "-1" || number(value) >= number(wanted_value), format!("at least {wanted_value}, or -1"))
            }
            _ => (value == wanted_value, wanted_value.clone()),
        };
        let (topic, setting) = (wanted.name.clone(), *setting);
        (!fits).then(|| Misfit::Setting { topic, setting, found: value.clone(), wanted: wanted_text })
    };
    wanted.settings.iter().filter_map(misfit).collect()
}

/// Whether a topic takes nothing more.
pub(super) fn is_sealed(found: &Settings) -> bool {
    found.get("max.message.bytes").and_then(|value| value.parse::<u64>().ok()) == Some(SEALED_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KafkaConfig {
        KafkaConfig { partitions: 2, ..KafkaConfig::default() }
    }

    fn made(wanted: &Wanted) -> Settings {
        wanted.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_topic_as_it_is_made_fits() {
        for topic in wanted(&config()) {
            assert_eq!(settings(&topic, &made(&topic)), []);
        }
    }

    #[test]
    fn each_setting_that_does_not_do_is_told() {
        let commands = &wanted(&config())[0];
        let cases = [
            ("cleanup.policy", "compact", Some("must be delete")),
            ("retention.ms", "1000", Some("must be at least 604800000, or -1")),
            ("retention.ms", "-1", None),
            ("retention.bytes", "1000000", Some("must be -1")),
            ("min.insync.replicas", "1", Some("must be at least 2")),
            ("min.insync.replicas", "3", None),
            ("message.timestamp.type", "CreateTime", Some("must be LogAppendTime")),
            ("max.message.bytes", "1048588", Some("must be at least 4194304")),
            ("unclean.leader.election.enable", "true", Some("must be false")),
        ];
        for (setting, value, told) in cases {
            let mut found = made(commands);
            found.insert(setting.to_owned(), value.to_owned());
            let misfits: Vec<String> = settings(commands, &found).iter().map(ToString::to_string).collect();
            let expected = told.map(|told| format!("topic stonechat.commands.1 has {setting}={value}, {told}"));
            assert_eq!(misfits, Vec::from_iter(expected));
        }
    }

    #[test]
    fn partitions_and_replicas_that_differ_are_told() {
        let topic = KnownTopic { name: "topic".to_owned(), replicas: vec![3, 1, 3], is_led: true };
        let misfits: Vec<String> = shape(&config(), &topic).iter().map(ToString::to_string).collect();
        let partitions = "topic topic has 3 partitions, 2 are configured: another number needs a new generation";
        assert_eq!(misfits, [partitions, "topic topic has 1 replicas of partition 1, must have 3"]);
    }
}
