//! The event stream on Kafka.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use stonechat_model::{LogKey, limits};
use stonechat_rows::Put;

use super::{
    KafkaConfig,
    client::unavailable,
    group::Group,
    prepare,
    producer::{Delivery, Producer},
    reader::{Reader, Record},
    topics::KafkaSetupError,
};
use crate::{EventStream, LogError, StreamItem, StreamSource};

/// The pause before a record is put into a queue that was full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// An event stream that is a topic, with the partitions of the command log.
pub struct KafkaEventStream {
    config: KafkaConfig,
    producer: Producer,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
}

impl KafkaEventStream {
    /// Opens the event stream of the configured generation, which [`prepare`](super::prepare()) has made. The process
    /// becomes a member of a consumer's group with its first claim.
    ///
    /// # Errors
    /// Kafka does not answer, or its topics do not fit.
    pub async fn open(config: &KafkaConfig) -> Result<Arc<Self>, KafkaSetupError> {
        prepare::check(config).await?;
        // A record that was given up would leave a gap before those behind it, which consumers would take for all.
        let producer = Producer::new(config, config.events_topic(), None)?;
        Ok(Arc::new(Self { config: config.clone(), producer, groups: Mutex::default() }))
    }

    fn group(&self, consumer: &str) -> Arc<Group> {
        let make = || {
            let topic = self.config.events_topic();
            Arc::new(Group::new(&self.config, topic, self.config.consumer_group(consumer)))
        };
        Arc::clone(self.groups.lock().entry(consumer.to_owned()).or_insert_with(make))
    }

    async fn send_all(&self, partition: u32, records: &[(LogKey, Bytes)]) -> Result<(), LogError> {
        let mut deliveries = Vec::with_capacity(records.len());
        for (key, payload) in records {
            deliveries.push(self.send(partition, &key.to_bytes(), payload).await?);
        }
        for delivery in deliveries {
            self.producer.delivered(delivery).await?;
        }
        Ok(())
    }

    /// Waits for room: the owner, whose events these are, decides nothing meanwhile.
    async fn send(&self, partition: u32, key: &[u8], payload: &[u8]) -> Result<Delivery, LogError> {
        loop {
            match self.producer.send(partition, key, payload) {
                Err(LogError::Full) => tokio::time::sleep(FULL_PAUSE).await,
                sent => return sent,
            }
        }
    }
}

#[async_trait]
impl EventStream for KafkaEventStream {
    fn enlist(&self, _: u32, _: &[(LogKey, Bytes)]) -> Vec<Put> {
        Vec::new()
    }

    async fn publish(&self, partition: u32, records: Vec<(LogKey, Bytes)>) -> Result<(), LogError> {
        let limit = Duration::from_millis(limits::KAFKA_PUBLISH_TIMEOUT_MS);
        match tokio::time::timeout(limit, self.send_all(partition, &records)).await {
            Ok(sent) => sent,
            Err(_) => Err(unavailable("events are not acknowledged in time")),
        }
    }

    async fn claim(&self, consumer: &str) -> Result<Box<dyn StreamSource>, LogError> {
        let group = self.group(consumer);
        Ok(Box::new(KafkaStreamSource { reader: group.claim().await? }))
    }

    async fn leave(&self) {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        futures::future::join_all(groups.iter().map(|group| group.leave())).await;
    }
}

struct KafkaStreamSource {
    reader: Reader,
}

#[async_trait]
impl StreamSource for KafkaStreamSource {
    fn partition(&self) -> u32 {
        self.reader.partition()
    }

    async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<StreamItem>>, LogError> {
        let records = self.reader.next_batch(max_items, limits::KAFKA_FETCH_BYTES).await?;
        let item = |Record { offset, payload, .. }| StreamItem { offset, payload };
        Ok(records.map(|records| records.into_iter().map(item).collect()))
    }

    async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        self.reader.commit(offset).await
    }

    async fn pass(&mut self, offset: u64) -> Result<(), LogError> {
        self.reader.commit(offset).await
    }
}
