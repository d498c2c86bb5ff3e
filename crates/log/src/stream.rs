//! The embedded event stream: rows, written in the same batch as the events they tell of.
//!
//! The owner of a partition is its only writer: it enlists records, has them written with the events, and
//! publishes them, one batch after the other. An offset that was enlisted and never written stays empty.

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
use stonechat_rows::{Put, Rows, tables};
use tokio::sync::Notify;

use crate::{EventStream, LogError, StreamItem, StreamSource};

/// Published records of a partition that are kept in memory for consumers that keep up.
const TAIL_RECORDS: usize = 4_096;

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
    /// Every record up to here is written.
    visible: u64,
    /// Enlisted, not yet published.
    enlisted: Vec<StreamItem>,
    /// The newest published records, in order.
    tail: VecDeque<StreamItem>,
}

impl EmbeddedEventStream {
    /// The stream in these rows. Everything that was written before is visible.
    pub async fn open(rows: Arc<dyn Rows>, partitions: u32) -> Result<Arc<Self>, LogError> {
        let mut opened = Vec::new();
        for partition in 0..partitions.max(1) {
            let newest = rows.range(tables::stream_range(partition, 0, true, 1)).await?;
            let visible = newest.first().map_or(0, |row| row.key.number(1));
            let state = State { next: visible + 1, visible, enlisted: Vec::new(), tail: VecDeque::new() };
            opened.push(Arc::new(Partition { state: Mutex::new(state), published: Notify::new() }));
        }
        Ok(Arc::new(Self { rows, partitions: opened, free: Arc::default(), freed: Arc::default() }))
    }
}

#[async_trait]
impl EventStream for EmbeddedEventStream {
    fn enlist(&self, partition: u32, records: &[(LogKey, Bytes)]) -> Vec<Put> {
        let mut state = self.partitions[partition as usize].state.lock();
        // What an attempt before enlisted and did not publish was not written, or is enlisted again now.
        state.enlisted.clear();
        let mut puts = Vec::with_capacity(records.len());
        for (_, payload) in records {
            let offset = state.next;
            state.next += 1;
            state.enlisted.push(StreamItem { offset, payload: payload.clone() });
            let ttl = Some(Duration::from_secs(limits::STREAM_TTL_S));
            puts.push(Put { key: tables::stream(partition, offset), value: payload.clone(), version: offset, ttl });
        }
        puts
    }

    async fn publish(&self, partition: u32, _: Vec<(LogKey, Bytes)>) -> Result<(), LogError> {
        let partition = &self.partitions[partition as usize];
        {
            let mut state = partition.state.lock();
            let enlisted = std::mem::take(&mut state.enlisted);
            state.visible = enlisted.last().map_or(state.visible, |item| item.offset);
            state.tail.extend(enlisted);
            let excess = state.tail.len().saturating_sub(TAIL_RECORDS);
            state.tail.drain(..excess);
        }
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
        let mut source = EmbeddedStreamSource {
            consumer: consumer.to_owned(),
            partition,
            rows: Arc::clone(&self.rows),
            stream: Arc::clone(&self.partitions[partition as usize]),
            free: Arc::clone(&self.free),
            freed: Arc::clone(&self.freed),
            read: 0,
        };
        let key = tables::stream_position(consumer, partition);
        let position = self.rows.get(&[key]).await?.into_iter().flatten().next();
        source.read = position.map_or(0, |row| row.version);
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
        // The tail has everything after its first record, so it serves whoever has read up to there.
        let begin = state.tail.partition_point(|item| item.offset <= self.read);
        if begin == 0 && state.tail.front().is_none_or(|first| first.offset > self.read + 1) {
            return Next::Rows(state.visible);
        }
        Next::Items(state.tail.range(begin..).take(max_items).cloned().collect())
    }

    async fn from_rows(&self, visible: u64, max_items: usize) -> Result<Vec<StreamItem>, LogError> {
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
        loop {
            let stream = Arc::clone(&self.stream);
            let published = stream.published.notified();
            let items = match self.look(max_items) {
                Next::Items(items) => items,
                Next::Nothing => Vec::new(),
                Next::Rows(visible) => {
                    let items = self.from_rows(visible, max_items).await?;
                    if items.is_empty() {
                        // Everything up to there has expired.
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
        let value = CounterRow { value: offset }.encode_to_vec().into();
        let key = tables::stream_position(&self.consumer, self.partition);
        Ok(self.rows.write(vec![Put { key, value, version: offset, ttl: None }]).await?)
    }
}

impl Drop for EmbeddedStreamSource {
    fn drop(&mut self) {
        self.free.lock().entry(self.consumer.clone()).or_default().push(self.partition);
        self.freed.notify_waiters();
    }
}
