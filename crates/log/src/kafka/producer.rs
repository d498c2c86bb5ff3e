//! Appending to a topic.

use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};

use super::{
    KafkaConfig,
    client::{Logging, unavailable},
    topics::KafkaSetupError,
};
use crate::LogError;

type Inner = FutureProducer<Logging>;

/// An idempotent producer of one topic, made anew when it fails for good.
pub(super) struct Producer {
    topic: String,
    config: ClientConfig,
    inner: RwLock<Inner>,
}

impl Producer {
    /// A producer; records that wait longer than `timeout` fail, without one they never do.
    pub fn new(config: &KafkaConfig, topic: String, timeout: Option<Duration>) -> Result<Self, KafkaSetupError> {
        let config = config.producer(timeout);
        let inner = create(&config).map_err(KafkaSetupError::client)?;
        Ok(Self { topic, config, inner: RwLock::new(inner) })
    }

    /// Puts a record into the queue of its partition, whose order is that of the calls.
    pub fn send(&self, partition: u32, key: &[u8], payload: &[u8]) -> Result<DeliveryFuture, LogError> {
        let partition = i32::try_from(partition).map_err(unavailable)?;
        let record = FutureRecord::to(&self.topic).partition(partition).key(key).payload(payload);
        let sent = self.inner.read().send_result(record);
        sent.map_err(|(error, _)| self.failed(&error))
    }

    /// Waits until every in-sync replica has a record.
    pub async fn delivered(&self, delivery: DeliveryFuture) -> Result<(), LogError> {
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(self.failed(&error)),
            // Its producer was made anew.
            Err(_) => Err(unavailable("producer was replaced")),
        }
    }

    fn failed(&self, error: &KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                metrics::counter!("stonechat_log_full_total").increment(1);
                LogError::Full
            }
            Some(RDKafkaErrorCode::MessageTimedOut) => unavailable("not acknowledged in time"),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => unavailable(format!("{} takes no such record", self.topic)),
            _ => {
                self.replace_where_fatal();
                unavailable(error)
            }
        }
    }

    fn replace_where_fatal(&self) {
        let Some((code, reason)) = self.inner.read().client().fatal_error() else { return };
        let mut inner = self.inner.write();
        if inner.client().fatal_error().is_none() {
            return;
        }
        metrics::counter!("stonechat_kafka_producers_replaced_total").increment(1);
        tracing::error!(kafka.code = ?code, kafka.topic = self.topic, "producer failed for good: {reason}");
        match create(&self.config) {
            Ok(next) => {
                let old = std::mem::replace(&mut *inner, next);
                // Dropping waits for its thread.
                std::thread::spawn(move || drop(old));
            }
            Err(error) => tracing::error!(%error, "producer could not be made anew"),
        }
    }
}

fn create(config: &ClientConfig) -> Result<Inner, KafkaError> {
    config.create_with_context(Logging::default())
}
