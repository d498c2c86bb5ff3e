//! Appending to a topic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tokio::sync::oneshot;

use super::{
    KafkaConfig,
    client::{Logging, unavailable},
    topics::KafkaSetupError,
};
use crate::LogError;

/// How often the thread of a producer looks whether it is to end. What is delivered is told at once; but the last
/// millisecond of each look is spent spinning, so that a tenth of a second would cost a hundredth of a core.
const LOOK: Duration = Duration::from_secs(5);

/// What became of a record.
pub(super) type Delivery = oneshot::Receiver<Result<(), KafkaError>>;

/// Logs, and tells senders what became of their records.
#[derive(Default)]
struct Telling(Logging);

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Telling {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let told = match delivered {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever waited may have gone meanwhile.
        let _ = sender.send(told);
    }
}

/// A producer with the thread that tells what was delivered.
struct Inner {
    producer: Arc<BaseProducer<Telling>>,
    is_over: Arc<AtomicBool>,
}

impl Inner {
    fn create(config: &ClientConfig) -> Result<Self, KafkaError> {
        let producer: Arc<BaseProducer<Telling>> = Arc::new(config.create_with_context(Telling::default())?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (polled, ends) = (Arc::clone(&producer), Arc::clone(&is_over));
        let thread = std::thread::Builder::new().name("kafka-producer".to_owned());
        let poll = move || {
            while !ends.load(Ordering::Acquire) {
                polled.poll(LOOK);
            }
        };
        thread.spawn(poll).map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self { producer, is_over })
    }
}

impl Drop for Inner {
    /// The thread ends with its next look, and with it what it polls.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

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
        let inner = Inner::create(&config).map_err(KafkaSetupError::client)?;
        Ok(Self { topic, config, inner: RwLock::new(inner) })
    }

    /// Puts a record into the queue of its partition, whose order is that of the calls.
    pub fn send(&self, partition: u32, key: &[u8], payload: &[u8]) -> Result<Delivery, LogError> {
        let partition = i32::try_from(partition).map_err(unavailable)?;
        let (sender, delivery) = oneshot::channel();
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(sender));
        let sent = self.inner.read().producer.send(record.partition(partition).key(key).payload(payload));
        match sent {
            Ok(()) => Ok(delivery),
            Err((error, _)) => Err(self.failed(&error)),
        }
    }

    /// Waits until every in-sync replica has a record.
    pub async fn delivered(&self, delivery: Delivery) -> Result<(), LogError> {
        match delivery.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
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
        let Some((code, reason)) = self.inner.read().producer.client().fatal_error() else { return };
        let mut inner = self.inner.write();
        if inner.producer.client().fatal_error().is_none() {
            return;
        }
        metrics::counter!("stonechat_kafka_producers_replaced_total").increment(1);
        tracing::error!(kafka.code = ?code, kafka.topic = self.topic, "producer failed for good: {reason}");
        match Inner::create(&self.config) {
            Ok(next) => *inner = next,
            Err(error) => tracing::error!(%error, "producer could not be made anew"),
        }
    }
}
