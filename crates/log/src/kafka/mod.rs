//! The logs on Apache Kafka.
//!
//! Each is one topic. A record's key is its tenant and log, and its partition is the one that
//! [`LogKey::partition`](stonechat_model::LogKey::partition) says, which Kafka is told; a record elsewhere is none of
//! ours. Producers are idempotent and wait for every in-sync replica. No transactions: positions are committed after
//! everything that follows was done, so what is in between is done again.
//!
//! **Owners.** The command log is read by one consumer group, so a partition has one owner, which may not know yet
//! that it lost it. A process whose partition goes elsewhere ends its owner first and commits its position, so that
//! the next one goes on exactly there. One that stood still for longer than its session finds its commits refused.
//!
//! **Generations.** A position is `generation * 2^40 + offset` of the record. Offsets begin anew, and keys go to
//! other partitions, when a topic is made anew or with another number of partitions; so both are done by counting
//! the generation up, which is part of the topics' and groups' names. [`prepare`] makes the topics of the new
//! generation once everything of the old one is read, and closes the old one to appends, so that no two owners of
//! different generations ever decide for one log. A topic whose number of partitions was changed by other means does
//! not fit, and nothing starts on it.

mod client;
mod commands;
mod config;
mod group;
mod prepare;
mod producer;
mod reader;
mod stream;
mod topics;

pub use commands::KafkaCommandLog;
pub use config::{GroupProtocol, KafkaConfig};
pub use prepare::{Prepared, prepare};
pub use stream::KafkaEventStream;
pub use topics::{KafkaSetupError, Misfit};
