//! The command log on Kafka.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_model::{LogKey, Position, limits};

use super::{
    KafkaConfig,
    group::Group,
    prepare,
    producer::Producer,
    reader::{Reader, Record},
    topics::KafkaSetupError,
};
use crate::{CommandItem, CommandLog, CommandSource, LogError};

/// A command log that is a topic.
pub struct KafkaCommandLog {
    generation: u64,
    partitions: u32,
    producer: Producer,
    group: Group,
}

impl KafkaCommandLog {
    /// Opens the command log of the configured generation, which [`prepare`](super::prepare()) has made. The process
    /// becomes a member of the owners' group with its first claim.
    ///
    /// # Errors
    /// Kafka does not answer, or its topics do not fit.
    pub async fn open(config: &KafkaConfig) -> Result<Arc<Self>, KafkaSetupError> {
        prepare::check(config).await?;
        let topic = config.commands_topic();
        let producer = Producer::new(config, topic.clone(), Some(config.append_timeout))?;
        let group = Group::new(config, topic, config.owners_group());
        Ok(Arc::new(Self { generation: config.generation, partitions: config.partitions, producer, group }))
    }
}

#[async_trait]
impl CommandLog for KafkaCommandLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    async fn append(&self, key: &LogKey, payload: Bytes) -> Result<(), LogError> {
        if payload.len() > limits::LOG_RECORD_BYTES {
            return Err(LogError::TooLarge);
        }
        let delivery = self.producer.send(key.partition(self.partitions), &key.to_bytes(), &payload)?;
        self.producer.delivered(delivery).await
    }

    async fn claim(&self) -> Result<Box<dyn CommandSource>, LogError> {
        let reader = self.group.claim().await?;
        Ok(Box::new(KafkaSource { generation: self.generation, reader }))
    }

    async fn leave(&self) {
        self.group.leave().await;
    }
}

struct KafkaSource {
    generation: u64,
    reader: Reader,
}

#[async_trait]
impl CommandSource for KafkaSource {
    fn partition(&self) -> u32 {
        self.reader.partition()
    }

    async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        let Some(records) = self.reader.next_batch(max_items, max_bytes).await? else { return Ok(None) };
        let item = |Record { offset, time_us, payload }| {
            let position = Position::new(self.generation, offset);
            let position = position.ok_or_else(|| LogError::Unavailable("positions are used up".to_owned()))?;
            Ok(CommandItem { position, time_us, payload })
        };
        records.into_iter().map(item).collect::<Result<_, _>>().map(Some)
    }

    async fn commit(&mut self, position: Position) -> Result<(), LogError> {
        if position.generation() != self.generation {
            return Err(LogError::Lost);
        }
        self.reader.commit(position.offset()).await
    }
}
