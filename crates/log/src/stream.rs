//! The embedded event stream: rows, written in the same batch as the events they tell of.
//!
//! The owner of a partition is its only writer: it enlists records, has them written with the events, and
//! publishes them, one batch after the other. An owner that goes away in between leaves records that nobody
//! knows to be written; consumers find them in the rows or pass over the gap.
//!
//! Offsets only grow, also when every record of a partition has expired: a ceiling that no offset exceeds is
//! stored ahead of them, and the first offset after a start is above it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_model::{LogKey, limits};
use stonechat_proto::internal::v1::CounterRow;
use stonechat_rows::{Key, Put, Rows, tables};
use tokio::sync::Notify;

use crate::{EventStream, LogError, StreamItem, StreamSource};

/// Published records of a partition that are kept in memory for consumers that keep up.
const TAIL_RECORDS: usize = 4_096;
/// Bytes of these records.
const TAIL_BYTES: usize = 4 << 20;
/// Offsets that are reserved with one row.
const RESERVED_OFFSETS: u64 = 1 << 16;
/// The name that ceilings of offsets are kept under, beside the consumers'; no consumer has it.
const CEILING: &str = "";
/// The counter of partitions that hold or held records.
const PARTITIONS: &str = "stream-partitions";

/// An event stream in the rows.
pub struct EmbeddedEventStream {
    rows: Arc<dyn Rows>,
    partitions: Vec<Arc<Partition>>,
    /// By consumer, the partitions that nobody reads for it.
    free: Arc<Mutex<BTreeMap<String, Vec<u32>>>>,
    freed: Arc<Notify>,
}

struct Partition {
    state: Mutex<State>,
    published: Notify,
}

struct State {
    /// The offset of the next record.
    next: u64,
    /// The ceiling that is written; no offset above it becomes visible before a greater one is.
    ceiling: u64,
    /// The ceiling that is enlisted, not yet published.
    next_ceiling: u64,
    /// Every record up to here is written.
    visible: u64,
    /// Enlisted, not yet published.
    enlisted: Vec<StreamItem>,
    /// The newest published records, in order: every one after `tail_from`.
    tail: VecDeque<StreamItem>,
    tail_bytes: usize,
    tail_from: u64,
}

impl State {
    /// Forgets what was enlisted and not published. It may be written, so consumers have to look for it.
    fn abandon(&mut self) {
        if self.enlisted.is_empty() {
            return;
        }
        self.enlisted.clear();
        self.tail.clear();
        self.tail_bytes = 0;
        self.tail_from = self.next - 1;
    }

    fn publish(&mut self) {
        self.ceiling = self.ceiling.max(self.next_ceiling);
        for item in std::mem::take(&mut self.enlisted) {
            self.visible = item.offset;
            self.tail_bytes += item.payload.len();
            self.tail.push_back(item);
        }
        while self.tail.len() > TAIL_RECORDS || self.tail_bytes > TAIL_BYTES {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.payload.len();
            self.tail_from = oldest.offset;
        }
    }
}

impl EmbeddedEventStream {
    /// The stream in these rows. Everything that was written before is visible, also in partitions beyond
    /// `partitions` that an earlier start had.
    pub async fn open(rows: Arc<dyn Rows>, partitions: u32) -> Result<Arc<Self>, LogError> {
        let mut opened = Vec::new();
        for partition in 0..all_partitions(rows.as_ref(), partitions.max(1)).await? {
            let newest = rows.range(tables::stream_range(partition, 0, true, 1)).await?;
            let newest = newest.first().map_or(0, |row| row.key.number(1));
            let visible = newest.max(position(rows.as_ref(), CEILING, partition).await?);
            let state = State {
                next: visible + 1,
                ceiling: visible,
                next_ceiling: visible,
                visible,
                enlisted: Vec::new(),
                tail: VecDeque::new(),
                tail_bytes: 0,
                tail_from: visible,
            };
            opened.push(Arc::new(Partition { state: Mutex::new(state), published: Notify::new() }));
        }
        Ok(Arc::new(Self { rows, partitions: opened, free: Arc::default(), freed: Arc::default() }))
    }
}

/// How many partitions there are or ever were.
async fn all_partitions(rows: &dyn Rows, partitions: u32) -> Result<u32, LogError> {
    let key = tables::counter(PARTITIONS);
    loop {
        let present = read(rows, key.clone()).await?;
        if present >= u64::from(partitions) {
            return Ok(u32::try_from(present).unwrap_or(partitions));
        }
        let put = position_put(key.clone(), u64::from(partitions));
        if rows.compare_and_set(put, (present > 0).then_some(present)).await? {
            return Ok(partitions);
        }
    }
}

async fn position(rows: &dyn Rows, consumer: &str, partition: u32) -> Result<u64, LogError> {
    read(rows, tables::stream_position(consumer, partition)).await
}

/// A number that is its row's version; 0 where there is none.
async fn read(rows: &dyn Rows, key: Key) -> Result<u64, LogError> {
    let found = rows.get(&[key]).await?.into_iter().flatten().next();
    Ok(found.map_or(0, |row| row.version))
}

fn position_put(key: Key, value: u64) -> Put {
    Put { key, value: CounterRow { value }.encode_to_vec().into(), version: value, ttl: None }
}

#[async_trait]
impl EventStream for EmbeddedEventStream {
    fn enlist(&self, partition: u32, records: &[(LogKey, Bytes)]) -> Vec<Put> {
        let mut state = self.partitions[partition as usize].state.lock();
        state.abandon();
        let mut puts = Vec::with_capacity(records.len() + 1);
        let last = state.next + records.len() as u64 - 1;
        if last > state.ceiling {
            state.next_ceiling = last + RESERVED_OFFSETS;
            puts.push(position_put(tables::stream_position(CEILING, partition), state.next_ceiling));
        }
        for (_, payload) in records {
            let offset = state.next;
            state.next += 1;
            state.enlisted.push(StreamItem { offset, payload: payload.clone() });
            let ttl = Some(Duration::from_secs(limits::STREAM_TTL_S));
            // Each is written once, so its version says nothing.
            puts.push(Put { key: tables::stream(partition, offset), value: payload.clone(), version: 0, ttl });
        }
        puts
    }

    async fn publish(&self, partition: u32, _: Vec<(LogKey, Bytes)>) -> Result<(), LogError> {
        let partition = &self.partitions[partition as usize];
        partition.state.lock().publish();
        partition.published.notify_waiters();
        Ok(())
    }

    async fn claim(&self, consumer: &str) -> Result<Box<dyn StreamSource>, LogError> {
        let partition = loop {
            let freed = self.freed.notified();
            let all = || (0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)).rev().collect();
            if let Some(partition) = self.free.lock().entry(consumer.to_owned()).or_insert_with(all).pop() {
                break partition;
            }
            freed.await;
        };
        // Made before the read, so that a failure or cancellation frees the partition again.
        let mut source = EmbeddedStreamSource {
            consumer: consumer.to_owned(),
            partition,
            rows: Arc::clone(&self.rows),
            stream: Arc::clone(&self.partitions[partition as usize]),
            free: Arc::clone(&self.free),
            freed: Arc::clone(&self.freed),
            read: 0,
        };
        source.read = position(self.rows.as_ref(), consumer, partition).await?;
        Ok(Box::new(source))
    }
}

struct EmbeddedStreamSource {
    consumer: String,
    partition: u32,
    rows: Arc<dyn Rows>,
    stream: Arc<Partition>,
    free: Arc<Mutex<BTreeMap<String, Vec<u32>>>>,
    freed: Arc<Notify>,
    /// The newest offset that was read here.
    read: u64,
}

/// Where the next records are.
enum Next {
    /// Here.
    Items(Vec<StreamItem>),
    /// In the rows, up to this offset.
    Rows(u64),
    /// Nowhere yet.
    Nothing,
}

impl EmbeddedStreamSource {
    fn look(&self, max_items: usize) -> Next {
        let state = self.stream.state.lock();
        if state.visible <= self.read {
            return Next::Nothing;
        }
        if self.read < state.tail_from {
            return Next::Rows(state.visible);
        }
        let begin = state.tail.partition_point(|item| item.offset <= self.read);
        Next::Items(state.tail.range(begin..).take(max_items).cloned().collect())
    }

    async fn read_rows(&self, visible: u64, max_items: usize) -> Result<Vec<StreamItem>, LogError> {
        let limit = max_items.min(limits::RANGE_ROWS);
        let rows = self.rows.range(tables::stream_range(self.partition, self.read + 1, false, limit)).await?;
        let items = rows.into_iter().map(|row| StreamItem { offset: row.key.number(1), payload: row.value });
        Ok(items.take_while(|item| item.offset <= visible).collect())
    }
}

#[async_trait]
impl StreamSource for EmbeddedStreamSource {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<StreamItem>>, LogError> {
        let max_items = max_items.max(1);
        loop {
            let stream = Arc::clone(&self.stream);
            let published = stream.published.notified();
            let items = match self.look(max_items) {
                Next::Items(items) => items,
                Next::Nothing => Vec::new(),
                Next::Rows(visible) => {
                    let items = self.read_rows(visible, max_items).await?;
                    if items.is_empty() {
                        // Everything up to there has expired or was never written.
                        self.read = visible;
                        continue;
                    }
                    items
                }
            };
            if let Some(last) = items.last() {
                self.read = last.offset;
                return Ok(Some(items));
            }
            published.await;
        }
    }

    async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        let key = tables::stream_position(&self.consumer, self.partition);
        Ok(self.rows.write(vec![position_put(key, offset)]).await?)
    }
}

impl Drop for EmbeddedStreamSource {
    fn drop(&mut self) {
        self.free.lock().entry(self.consumer.clone()).or_default().push(self.partition);
        self.freed.notify_waiters();
    }
}
