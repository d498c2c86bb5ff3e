//! Reading one partition, and committing what was dealt with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::{Message, Timestamp, consumer::base_consumer::PartitionQueue, message::BorrowedMessage};
use stonechat_model::{LogKey, TimeUs};
use tokio::sync::Notify;

use super::{
    client::{is_of_membership, unavailable},
    group::{AGAIN, Membership, Shared},
};
use crate::LogError;

/// After so long a queue is looked at although it did not tell of anything.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The partition is this process's.
const OWNED: u8 = 0;
/// It goes elsewhere: nothing more is read, what was dealt with can be committed.
const LEAVING: u8 = 1;
/// It is another's.
const GONE: u8 = 2;

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Record {
    pub offset: u64,
    pub time_us: TimeUs,
    pub payload: Bytes,
}

/// A partition while it is assigned to this process.
pub(super) struct Slot {
    pub partition: u32,
    hold: AtomicU8,
    /// Something arrived, or `hold` changed.
    changed: Notify,
    /// The queue does not tell any more when something arrives.
    is_deaf: AtomicBool,
    state: Mutex<SlotState>,
}

struct SlotState {
    /// `None` while a reader has it.
    queue: Option<PartitionQueue<Membership>>,
    /// Where reading begins; `None` while not even the first record is known.
    resume: Option<i64>,
    /// Whether anything was read since reading began at `resume`.
    is_ahead: bool,
    /// Why it cannot be read at all.
    broken: Option<String>,
    /// When it failed to be read, so that others are claimed before it is tried again.
    failed: Option<Instant>,
}

impl Slot {
    /// A partition whose records come through this queue, from `resume` on.
    pub fn new(
        partition: u32,
        queue: PartitionQueue<Membership>,
        resume: Option<i64>,
        broken: Option<String>,
    ) -> Arc<Self> {
        let state = SlotState { queue: Some(queue), resume, is_ahead: false, broken, failed: None };
        Arc::new(Self {
            partition,
            hold: AtomicU8::new(OWNED),
            changed: Notify::new(),
            is_deaf: AtomicBool::new(true),
            state: Mutex::new(state),
        })
    }

    /// Has the queue tell when something arrives, from now on or again.
    fn listen(self: &Arc<Self>, queue: &mut PartitionQueue<Membership>) {
        if self.is_deaf.swap(false, Ordering::AcqRel) {
            let slot = Arc::downgrade(self);
            let tell = move || {
                if let Some(slot) = slot.upgrade() {
                    slot.changed.notify_one();
                }
            };
            queue.set_nonempty_callback(tell);
        }
    }

    /// An earlier reader of the same partition ended, and with it what the queue told.
    pub fn be_deaf(&self) {
        self.is_deaf.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// From now on nothing more is read.
    pub fn begin_leaving(&self) {
        self.hold.fetch_max(LEAVING, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// From now on nothing can be committed.
    pub fn be_gone(&self) {
        self.hold.store(GONE, Ordering::Release);
        self.changed.notify_one();
    }

    /// Where the next reader begins.
    pub fn resume(&self) -> Option<i64> {
        self.state.lock().resume
    }

    /// Whether a reader has it.
    pub fn is_held(&self) -> bool {
        self.state.lock().queue.is_none()
    }

    fn hold(&self) -> u8 {
        self.hold.load(Ordering::Acquire)
    }

    /// Gives the queue to a reader, if nobody has it.
    pub fn take(self: &Arc<Self>, shared: &Arc<Shared>) -> Option<Reader> {
        if self.hold() != OWNED {
            return None;
        }
        let mut state = self.state.lock();
        if state.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
            return None;
        }
        let mut queue = state.queue.take()?;
        self.listen(&mut queue);
        Some(Reader {
            slot: Arc::clone(self),
            queue: Some(queue),
            shared: Arc::clone(shared),
            expected: state.resume,
            committed: None,
            has_read: false,
            is_refused: false,
            seek_to: state.resume.filter(|_| state.is_ahead),
        })
    }
}

/// Reads a partition and commits its position.
pub(super) struct Reader {
    slot: Arc<Slot>,
    /// `None` only while it is dropped.
    queue: Option<PartitionQueue<Membership>>,
    shared: Arc<Shared>,
    /// The offset of the next record.
    expected: Option<i64>,
    /// The newest offset that was committed here.
    committed: Option<u64>,
    /// Whether anything was read here.
    has_read: bool,
    /// Whether the group refused a position.
    is_refused: bool,
    /// What an earlier reader read beyond its commit is read again.
    seek_to: Option<i64>,
}

impl Reader {
    /// The partition.
    pub fn partition(&self) -> u32 {
        self.slot.partition
    }

    /// Goes back to where reading begins. Call it before the first read.
    pub async fn begin(&mut self) -> Result<(), LogError> {
        let begun = self.go_back().await;
        self.slot.state.lock().failed = begun.is_err().then(Instant::now);
        begun
    }

    async fn go_back(&mut self) -> Result<(), LogError> {
        if let Some(broken) = &self.slot.state.lock().broken {
            return Err(LogError::Unavailable(broken.clone()));
        }
        let Some(offset) = self.seek_to else { return Ok(()) };
        self.shared.seek(self.slot.partition, offset).await?;
        self.slot.state.lock().is_ahead = false;
        self.seek_to = None;
        Ok(())
    }

    /// Waits for records; `None` when the partition goes elsewhere.
    pub async fn next_batch(&mut self, max_items: usize, max_bytes: usize) -> Result<Option<Vec<Record>>, LogError> {
        loop {
            if self.slot.hold() != OWNED || self.is_refused {
                return Ok(None);
            }
            let records = self.take(max_items.max(1), max_bytes)?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
            // A change since the look is kept for whoever waits next.
            drop(tokio::time::timeout(LOOK_AGAIN, self.slot.changed.notified()).await);
        }
    }

    /// Takes what has been fetched.
    fn take(&mut self, max_items: usize, max_bytes: usize) -> Result<Vec<Record>, LogError> {
        let Some(mut queue) = self.queue.take() else { return Err(LogError::Closed) };
        self.slot.listen(&mut queue);
        let taken = self.take_from(&queue, max_items, max_bytes);
        self.queue = Some(queue);
        taken
    }

    fn take_from(
        &mut self,
        queue: &PartitionQueue<Membership>,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < max_items && bytes < max_bytes.max(1) {
            let message = match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.shared.note(&error);
                    continue;
                }
            };
            self.advance(message.offset())?;
            if let Some(record) = self.record(&message) {
                bytes += record.payload.len().max(1);
                records.push(record);
            } else if records.is_empty() {
                self.pass_over(message.offset());
            }
        }
        Ok(records)
    }

    /// Notes an offset; records follow each other without a gap.
    fn advance(&mut self, offset: i64) -> Result<(), LogError> {
        let mut state = self.slot.state.lock();
        state.is_ahead = true;
        if let Some(expected) = self.expected.filter(|expected| *expected != offset) {
            let (topic, partition) = (self.shared.topic.as_str(), self.slot.partition);
            if self.has_read || offset < expected {
                // Whoever claims it next goes back and finds out whether that is all there is.
                metrics::counter!("stonechat_log_broken_total").increment(1);
                let what = format!("{topic}/{partition} goes on at {offset} where {expected} follows");
                tracing::error!(kafka.topic = topic, partition, "{what}: was the topic made anew?");
                return Err(LogError::Unavailable(what));
            }
            let expired = u64::try_from(offset - expected).unwrap_or(0);
            metrics::counter!("stonechat_log_expired_records_total").increment(expired);
            tracing::error!(kafka.topic = topic, partition, expired, "records expired before they were read");
            state.resume = Some(offset);
        }
        state.resume.get_or_insert(offset);
        self.has_read = true;
        self.expected = Some(offset + 1);
        Ok(())
    }

    /// A record of ours; `None` for what somebody else wrote, which would be in the way for ever if it were an error.
    fn record(&self, message: &BorrowedMessage<'_>) -> Option<Record> {
        let (topic, partition) = (self.shared.topic.as_str(), self.slot.partition);
        let fault = match (message.key(), message.payload()) {
            (None, _) => "it has no key",
            (_, None) => "it has no payload",
            (Some(key), _) if LogKey::partition_of_bytes(key, self.shared.partitions) != partition => {
                "its key belongs to another partition"
            }
            (_, Some(payload)) => {
                let time_us = match message.timestamp() {
                    Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms.saturating_mul(1_000),
                    Timestamp::NotAvailable => 0,
                };
                let offset = u64::try_from(message.offset()).ok()?;
                return Some(Record { offset, time_us, payload: Bytes::copy_from_slice(payload) });
            }
        };
        metrics::counter!("stonechat_log_foreign_records_total").increment(1);
        tracing::error!(kafka.topic = topic, partition, offset = message.offset(), "record was put aside: {fault}");
        None
    }

    /// Moves the position over what is none of ours, when everything before it is committed.
    fn pass_over(&mut self, offset: i64) {
        let mut state = self.slot.state.lock();
        if state.resume == Some(offset) && self.shared.store(self.slot.partition, offset).is_ok() {
            state.resume = Some(offset + 1);
        }
    }

    /// Everything up to the offset was dealt with.
    pub async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        if self.slot.hold() == GONE {
            return Err(LogError::Lost);
        }
        if self.committed.is_some_and(|committed| offset <= committed) {
            return Ok(());
        }
        let native = i64::try_from(offset).map_err(unavailable)?;
        if let Err(error) = self.shared.store(self.slot.partition, native) {
            return Err(if is_of_membership(error.rdkafka_error_code()) { self.lost() } else { unavailable(error) });
        }
        self.committed = Some(offset);
        self.slot.state.lock().resume = Some(native + 1);
        // Whoever was not heard of for a while may be a member no more: a process that stood still does not know.
        if self.shared.is_doubtful() && !self.shared.confirm(self.slot.partition, native + 1).await? {
            return Err(self.lost());
        }
        Ok(())
    }

    /// The group refused a position. Perhaps it shares its partitions anew, of which this one stays here: then it is
    /// claimed again, and otherwise the group tells within moments that it is another's.
    fn lost(&mut self) -> LogError {
        metrics::counter!("stonechat_log_lost_partitions_total").increment(1);
        self.is_refused = true;
        self.slot.state.lock().failed = Some(Instant::now());
        LogError::Lost
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let queue = self.queue.take();
        if self.slot.hold() == GONE {
            // If the partition came back meanwhile, this is what its new queue told by.
            drop(queue);
            self.shared.deafen(&self.slot);
        } else {
            self.slot.state.lock().queue = queue;
        }
        self.shared.freed();
    }
}
