//! Membership in a consumer group: which partitions of a topic are this process's.
//!
//! A thread of its own polls the consumer, for that is where partitions come and go, and where a partition that goes
//! waits until its owner has ended. Records come through a queue of each partition, which its reader polls.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use stonechat_model::limits;
use tokio::sync::Notify;

use super::{
    KafkaConfig,
    client::{Logging, blocking, ends, is_of_membership, unavailable},
    reader::{Reader, Slot},
};
use crate::LogError;

/// How often the thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(100);
/// How long a question about positions may take while partitions are assigned.
const ASK: Duration = Duration::from_secs(3);
/// After so long a partition that could not be read is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How long going back in a partition may take.
const SEEK: Duration = Duration::from_secs(5);

/// A group, of which the process becomes a member with its first claim.
pub(super) struct Group {
    config: KafkaConfig,
    shared: Arc<Shared>,
    has_joined: Mutex<bool>,
}

/// What readers, the thread and claims share.
pub(super) struct Shared {
    pub topic: String,
    group: String,
    pub partitions: u32,
    session: Duration,
    consumer: OnceLock<Weak<BaseConsumer<Membership>>>,
    slots: Mutex<BTreeMap<u32, Arc<Slot>>>,
    /// A reader was dropped.
    dropped: Condvar,
    /// A partition may be free, or the group was left.
    claimable: Notify,
    is_leaving: AtomicBool,
    has_left: AtomicBool,
    left: Notify,
    /// When the broker took a commit last.
    confirmed: Mutex<Instant>,
    /// When the thread polled last.
    polled: Mutex<Instant>,
}

impl Group {
    /// Not a member yet.
    pub fn new(config: &KafkaConfig, topic: String, id: String) -> Self {
        let shared = Shared {
            topic,
            group: id,
            partitions: config.partitions,
            session: config.session_timeout,
            consumer: OnceLock::new(),
            slots: Mutex::default(),
            dropped: Condvar::new(),
            claimable: Notify::new(),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            left: Notify::new(),
            confirmed: Mutex::new(Instant::now()),
            polled: Mutex::new(Instant::now()),
        };
        Self { config: config.clone(), shared: Arc::new(shared), has_joined: Mutex::new(false) }
    }

    /// Waits until one more partition is this process's and nobody here has it.
    pub async fn claim(&self) -> Result<Reader, LogError> {
        self.join()?;
        loop {
            let claimable = self.shared.claimable.notified();
            if self.shared.is_leaving.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            if let Some(mut reader) = self.shared.take_free() {
                reader.begin().await?;
                return Ok(reader);
            }
            // One that could not be read is tried again after a while.
            drop(tokio::time::timeout(AGAIN, claimable).await);
        }
    }

    fn join(&self) -> Result<(), LogError> {
        let mut has_joined = self.has_joined.lock();
        if *has_joined {
            return Ok(());
        }
        let membership = Membership { shared: Arc::clone(&self.shared), logging: Logging::default() };
        let consumer: BaseConsumer<Membership> =
            self.config.consumer(&self.shared.group).create_with_context(membership).map_err(unavailable)?;
        consumer.subscribe(&[&self.shared.topic]).map_err(unavailable)?;
        let consumer = Arc::new(consumer);
        drop(self.shared.consumer.set(Arc::downgrade(&consumer)));
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("kafka-group".to_owned());
        thread.spawn(move || poll(consumer, &shared)).map_err(unavailable)?;
        *has_joined = true;
        Ok(())
    }

    /// Leaves the group, after the readers were dropped.
    pub async fn leave(&self) {
        if !*self.has_joined.lock() {
            self.shared.is_leaving.store(true, Ordering::Release);
            return;
        }
        self.shared.begin_leaving();
        loop {
            let left = self.shared.left.notified();
            if self.shared.has_left.load(Ordering::Acquire) {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.shared.begin_leaving();
    }
}

/// The thread's work.
fn poll(consumer: Arc<BaseConsumer<Membership>>, shared: &Shared) {
    while !shared.is_leaving.load(Ordering::Acquire) {
        *shared.polled.lock() = Instant::now();
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) => shared.note(&error),
            // Every partition has a queue from before it is assigned.
            Some(Ok(_)) => tracing::error!(kafka.topic = shared.topic, "record came beside its partition's queue"),
        }
    }
    leave(consumer, shared);
    shared.has_left.store(true, Ordering::Release);
    shared.left.notify_waiters();
}

/// Commits the last positions and tells the group.
fn leave(consumer: Arc<BaseConsumer<Membership>>, shared: &Shared) {
    let partitions: Vec<u32> = shared.slots.lock().keys().copied().collect();
    shared.wait_for_readers(&partitions);
    consumer.context().commit_last(&consumer, &partitions);
    let slots = std::mem::take(&mut *shared.slots.lock());
    slots.values().for_each(|slot| slot.be_gone());
    drop(slots);
    // Dropping the last one closes it; a reader that did not end in time has another.
    if Arc::strong_count(&consumer) == 1 {
        return;
    }
    if let Err(error) = consumer.close_queue() {
        tracing::warn!(%error, "consumer could not be closed");
        return;
    }
    while !consumer.closed() {
        drop(consumer.poll(POLL));
    }
}

impl Shared {
    fn consumer(&self) -> Result<Arc<BaseConsumer<Membership>>, LogError> {
        self.consumer.get().and_then(Weak::upgrade).ok_or(LogError::Closed)
    }

    fn take_free(self: &Arc<Self>) -> Option<Reader> {
        // A clone: a reader that is dropped looks at the slots itself.
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        slots.iter().find_map(|slot| slot.take(self))
    }

    fn begin_leaving(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.claimable.notify_waiters();
    }

    /// A reader was dropped.
    pub fn freed(&self) {
        // With the lock, so that the thread cannot have looked before and begin to wait after.
        let slots = self.slots.lock();
        self.dropped.notify_all();
        drop(slots);
        self.claimable.notify_waiters();
    }

    /// The queue of a partition that was given tells nothing any more, nor does one that it came back with: they are
    /// the same in librdkafka.
    pub fn deafen(&self, given: &Arc<Slot>) {
        let present = self.slots.lock().get(&given.partition).cloned();
        if let Some(present) = present.filter(|present| !Arc::ptr_eq(present, given)) {
            present.be_deaf();
        }
    }

    /// Has the readers of partitions end, and waits until they have, though not for ever.
    fn wait_for_readers(&self, partitions: &[u32]) {
        let end = Instant::now() + Duration::from_millis(limits::KAFKA_HANDOVER_MS);
        let mut slots = self.slots.lock();
        for partition in partitions {
            if let Some(slot) = slots.get(partition) {
                slot.begin_leaving();
            }
        }
        while partitions.iter().any(|partition| slots.get(partition).is_some_and(|slot| slot.is_held())) {
            if self.dropped.wait_until(&mut slots, end).timed_out() {
                tracing::warn!(kafka.topic = self.topic, "partitions go elsewhere before their owners have ended");
                return;
            }
        }
    }

    /// An error of the consumer or a partition, which was logged where librdkafka told of it.
    pub fn note(&self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            tracing::error!(%error, kafka.topic = self.topic, "kafka failed for good");
        }
    }

    /// Remembers a position; it is committed within moments.
    pub fn store(&self, partition: u32, offset: i64) -> KafkaResult<()> {
        let consumer = self.consumer().map_err(|_| KafkaError::StoreOffset(RDKafkaErrorCode::State))?;
        consumer.store_offset(&self.topic, native(partition), offset)
    }

    /// Goes back to an offset.
    pub async fn seek(&self, partition: u32, offset: i64) -> Result<(), LogError> {
        let (consumer, topic) = (self.consumer()?, self.topic.clone());
        let seek = move || consumer.seek(&topic, native(partition), Offset::Offset(offset), SEEK);
        blocking(seek).await.map_err(unavailable)
    }

    /// Whether the group may have given the partitions to others without this process knowing.
    pub fn is_doubtful(&self) -> bool {
        self.confirmed.lock().elapsed() > self.session / 2
    }

    fn confirm_now(&self) {
        *self.confirmed.lock() = Instant::now();
    }

    /// Commits at once: true when the group took it or cannot be asked, false when it refused.
    pub async fn confirm(&self, partition: u32, next: i64) -> Result<bool, LogError> {
        let (consumer, topic) = (self.consumer()?, self.topic.clone());
        let commit = move || {
            let mut positions = TopicPartitionList::with_capacity(1);
            positions.add_partition_offset(&topic, native(partition), Offset::Offset(next))?;
            consumer.commit(&positions, CommitMode::Sync)
        };
        match blocking(commit).await {
            Ok(()) => self.confirm_now(),
            Err(error) if is_of_membership(error.rdkafka_error_code()) => {
                tracing::warn!(%error, kafka.topic = self.topic, partition, "position was refused");
                return Ok(false);
            }
            // The group goes on once Kafka answers again; until then nobody else gets the partition either.
            Err(error) => tracing::debug!(%error, kafka.topic = self.topic, partition, "position was not committed"),
        }
        Ok(true)
    }
}

fn native(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// What librdkafka calls.
pub(super) struct Membership {
    shared: Arc<Shared>,
    logging: Logging,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logging.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logging.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.shared.topic) else { return };
        let owned = self.shared.slots.lock();
        let partition = |slot: &Arc<Slot>| topic.partitions.get(&native(slot.partition));
        // Of a partition that just came it is not known yet: -1.
        let lag: i64 = owned.values().filter_map(partition).map(|partition| partition.consumer_lag_stored.max(0)).sum();
        metrics::gauge!("stonechat_log_lag_records", "group" => self.shared.group.clone()).set(lag as f64);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, all: &mut TopicPartitionList) {
        let partitions = self.ours(all);
        let done = match what {
            // A cooperative group asks although nothing moves.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if partitions.is_empty() => {
                consumer.incremental_assign(&TopicPartitionList::new())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(consumer, &partitions),
            _ => self.give(consumer, &partitions),
        };
        if let Err(error) = done {
            metrics::counter!("stonechat_kafka_errors_total").increment(1);
            tracing::error!(%error, kafka.topic = self.shared.topic, "partitions could not be taken or given");
        }
        self.shared.claimable.notify_waiters();
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // An answer that arrived before the process stood still, and is read only now, says nothing.
            Ok(()) if self.shared.polled.lock().elapsed() < self.shared.session / 2 => self.shared.confirm_now(),
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                metrics::counter!("stonechat_log_commit_failures_total").increment(1);
                self.logging.complain(&error, "positions were not committed");
            }
        }
    }
}

impl Membership {
    /// The partitions of a list that this generation has.
    fn ours(&self, all: &TopicPartitionList) -> Vec<u32> {
        let mut ours = Vec::with_capacity(all.count());
        for place in all.elements_for_topic(&self.shared.topic) {
            match u32::try_from(place.partition()) {
                Ok(partition) if partition < self.shared.partitions => ours.push(partition),
                _ => tracing::error!(
                    kafka.topic = self.shared.topic,
                    partition = place.partition(),
                    "partition is left alone: the number of partitions changes with the generation only"
                ),
            }
        }
        ours
    }

    fn take(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) -> KafkaResult<()> {
        let Some(shared_consumer) = self.shared.consumer.get().and_then(Weak::upgrade) else { return Ok(()) };
        let mut assigned = TopicPartitionList::with_capacity(partitions.len());
        let starts = self.starts(consumer, partitions);
        let mut slots = Vec::with_capacity(partitions.len());
        for (partition, start) in partitions.iter().zip(starts) {
            let offset = start.offset.map_or(Offset::Stored, Offset::Offset);
            // The position of one that must not be read stays as it is.
            let resume = start.offset.filter(|_| start.broken.is_none());
            assigned.add_partition_offset(&self.shared.topic, native(*partition), offset)?;
            // Before it is assigned, or its first records would come elsewhere.
            if let Some(queue) = shared_consumer.split_partition_queue(&self.shared.topic, native(*partition)) {
                slots.push(Slot::new(*partition, queue, resume, start.broken));
            }
        }
        self.shared.confirm_now();
        consumer.incremental_assign(&assigned)?;
        tracing::info!(kafka.topic = self.shared.topic, ?partitions, "partitions were taken");
        self.shared.slots.lock().extend(slots.into_iter().map(|slot| (slot.partition, slot)));
        Ok(())
    }

    fn give(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) -> KafkaResult<()> {
        let is_lost = consumer.assignment_lost();
        if is_lost {
            metrics::counter!("stonechat_log_lost_partitions_total").increment(partitions.len() as u64);
            for slot in self.slots(partitions) {
                slot.be_gone();
            }
        } else {
            self.shared.wait_for_readers(partitions);
            self.commit_last(consumer, partitions);
        }
        for partition in partitions {
            if let Some(slot) = self.shared.slots.lock().remove(partition) {
                slot.be_gone();
            }
        }
        let mut given = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            given.add_partition(&self.shared.topic, native(*partition));
        }
        tracing::info!(kafka.topic = self.shared.topic, ?partitions, is_lost, "partitions were given");
        consumer.incremental_unassign(&given)
    }

    fn slots(&self, partitions: &[u32]) -> Vec<Arc<Slot>> {
        let slots = self.shared.slots.lock();
        partitions.iter().filter_map(|partition| slots.get(partition).cloned()).collect()
    }

    /// Commits where the next owners begin.
    fn commit_last(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) {
        let mut positions = TopicPartitionList::with_capacity(partitions.len());
        for slot in self.slots(partitions) {
            if let Some(next) = slot.resume() {
                // A partition and an offset that it had: there is nothing to refuse.
                drop(positions.add_partition_offset(&self.shared.topic, native(slot.partition), Offset::Offset(next)));
            }
        }
        if positions.count() > 0
            && let Err(error) = consumer.commit(&positions, CommitMode::Sync)
        {
            tracing::warn!(%error, kafka.topic = self.shared.topic, "last positions were not committed");
        }
    }

    /// Where reading begins. What cannot be asked now is left to librdkafka.
    fn starts(&self, consumer: &BaseConsumer<Self>, partitions: &[u32]) -> Vec<Start> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.shared.topic, native(*partition));
        }
        let committed = match consumer.committed_offsets(asked, ASK) {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%error, kafka.topic = self.shared.topic, "positions could not be read");
                return partitions.iter().map(|_| Start::default()).collect();
            }
        };
        let mut answers = true;
        let start = |partition: &u32| {
            let place = committed.find_partition(&self.shared.topic, native(*partition));
            let offset = place.and_then(|place| place.offset().to_raw()).filter(|offset| *offset >= 0);
            let ends = answers.then(|| ends(consumer.client(), &self.shared.topic, native(*partition), ASK));
            match ends {
                Some(Ok(ends)) => self.start(*partition, offset, ends),
                _ => {
                    answers = false;
                    Start { offset, broken: None }
                }
            }
        };
        partitions.iter().map(start).collect()
    }

    fn start(&self, partition: u32, committed: Option<i64>, (first, end): (i64, i64)) -> Start {
        let topic = self.shared.topic.as_str();
        let Some(committed) = committed else { return Start { offset: Some(first), broken: None } };
        if committed > end {
            metrics::counter!("stonechat_log_broken_total").increment(1);
            let what = format!("{topic}/{partition} ends at {end}, was read up to {committed}: it was made anew");
            tracing::error!(kafka.topic = topic, partition, "{what}; the generation must be counted up");
            return Start { offset: Some(end), broken: Some(what) };
        }
        if committed < first {
            let expired = u64::try_from(first - committed).unwrap_or(0);
            metrics::counter!("stonechat_log_expired_records_total").increment(expired);
            tracing::error!(kafka.topic = topic, partition, expired, "records expired before they were read");
        }
        Start { offset: Some(committed.max(first)), broken: None }
    }
}

/// Where reading a partition begins.
#[derive(Default)]
struct Start {
    /// The offset; `None` when it is not known.
    offset: Option<i64>,
    /// Why it must not be read.
    broken: Option<String>,
}
