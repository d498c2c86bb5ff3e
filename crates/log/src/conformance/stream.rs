//! Cases of the event stream.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use bytes::Bytes;
use stonechat_model::{LogKey, limits};
use stonechat_rows::Rows;

use super::{EventStreamUnderTest, Random, key, key_of, payload, poll_times, soon, told};
use crate::{EventStream, StreamItem, StreamSource};

const CONSUMER: &str = "consumer";
const ITEMS: usize = limits::STREAM_BATCH;

/// Enlists, writes and publishes records of keys of one partition, as its owner does.
async fn publish(stream: &dyn EventStream, rows: &dyn Rows, partition: u32, records: Vec<(LogKey, Bytes)>) {
    let puts = stream.enlist(partition, &records);
    if !puts.is_empty() {
        rows.write(puts).await.unwrap();
    }
    stream.publish(partition, records).await.unwrap();
}

/// Publishes the numbers of a range under a key, so many at once.
async fn publish_numbers(test: &EventStreamUnderTest, key: &LogKey, numbers: std::ops::Range<u64>, at_once: usize) {
    let numbers: Vec<u64> = numbers.collect();
    for numbers in numbers.chunks(at_once) {
        let records = numbers.iter().map(|number| (key.clone(), payload(key, *number))).collect();
        publish(test.stream.as_ref(), test.rows.as_ref(), key.partition(test.partitions), records).await;
    }
}

async fn claim_all(stream: &dyn EventStream, partitions: u32, consumer: &str) -> Vec<Box<dyn StreamSource>> {
    let mut sources = Vec::new();
    for _ in 0..partitions {
        sources.push(soon("claiming", stream.claim(consumer)).await.unwrap());
    }
    sources.sort_by_key(|source| source.partition());
    sources
}

async fn claim(test: &EventStreamUnderTest, consumer: &str, partition: u32) -> Box<dyn StreamSource> {
    claim_all(test.stream.as_ref(), test.partitions, consumer).await.swap_remove(partition as usize)
}

async fn read(source: &mut dyn StreamSource, count: usize) -> Vec<StreamItem> {
    let mut items: Vec<StreamItem> = Vec::new();
    while items.len() < count {
        let batch = soon("reading", source.next_batch(ITEMS)).await.unwrap().unwrap();
        assert!(!batch.is_empty(), "an empty batch");
        items.extend(batch);
    }
    assert_eq!(items.len(), count);
    assert!(items.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets do not grow");
    items
}

fn numbers(items: &[StreamItem]) -> Vec<u64> {
    items.iter().map(|item| told(&item.payload).1).collect()
}

/// Whoever publishes to a partition: the records of a key come in their order, all of them, with growing offsets.
pub async fn records_of_a_key_keep_their_order(test: &EventStreamUnderTest) {
    const KEYS: u64 = 40;
    let mut random = Random(1);
    let mut next = BTreeMap::new();
    for _ in 0..200 {
        let partition = u32::try_from(random.below(u64::from(test.partitions))).unwrap();
        let keys: Vec<LogKey> = (0..KEYS).map(key).filter(|key| key.partition(test.partitions) == partition).collect();
        let records = (0..random.below(5)).map(|_| {
            let key = keys[random.below(keys.len() as u64) as usize].clone();
            let number = next.entry(key.clone()).or_insert(0);
            *number += 1;
            (key.clone(), payload(&key, *number))
        });
        let records = records.collect();
        publish(test.stream.as_ref(), test.rows.as_ref(), partition, records).await;
    }
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for mut source in claim_all(test.stream.as_ref(), test.partitions, CONSUMER).await {
        let here = |(key, count): (&LogKey, &u64)| {
            if key.partition(test.partitions) == source.partition() { *count as usize } else { 0 }
        };
        let count = next.iter().map(here).sum();
        for item in read(source.as_mut(), count).await {
            let (key, number) = told(&item.payload);
            found.entry(key).or_default().push(number);
        }
    }
    for (key, count) in next {
        assert_eq!(found.remove(&key.log.to_string()).unwrap(), (1..=count).collect::<Vec<_>>());
    }
    assert!(found.is_empty());
}

/// A batch has at most the records asked for, and always one.
pub async fn a_batch_of_records_keeps_to_its_limit(test: &EventStreamUnderTest) {
    let key = key_of(0, test.partitions);
    publish_numbers(test, &key, 0..30, 30).await;
    let mut source = claim(test, CONSUMER, 0).await;
    let mut found = Vec::new();
    for most in [1, 7, 2, 1, 100] {
        let batch = soon("reading", source.next_batch(most)).await.unwrap().unwrap();
        assert!((1..=most).contains(&batch.len()), "{} of at most {most}", batch.len());
        found.extend(numbers(&batch));
    }
    let rest = read(source.as_mut(), 30 - found.len()).await;
    found.extend(numbers(&rest));
    assert_eq!(found, (0..30).collect::<Vec<_>>());
}

/// Each consumer gets every partition once; a further claim waits until one is dropped.
pub async fn each_partition_is_claimed_once_per_consumer(test: &EventStreamUnderTest) {
    let mut sources = claim_all(test.stream.as_ref(), test.partitions, CONSUMER).await;
    let others = claim_all(test.stream.as_ref(), test.partitions, "other").await;
    for sources in [&sources, &others] {
        let partitions: Vec<u32> = sources.iter().map(|source| source.partition()).collect();
        assert_eq!(partitions, (0..test.partitions).collect::<Vec<_>>());
    }
    let mut waiting = pin!(test.stream.claim(CONSUMER));
    assert!(poll_times(3, waiting.as_mut()).await.is_none(), "a partition was claimed twice");
    let partition = sources.remove(2).partition();
    assert_eq!(soon("claiming again", waiting).await.unwrap().partition(), partition);
}

/// A new source begins after the committed position; without one, at the beginning.
pub async fn a_consumer_resumes_after_its_position(test: &EventStreamUnderTest) {
    let key = key_of(1, test.partitions);
    publish_numbers(test, &key, 0..100, 10).await;
    let mut source = claim(test, CONSUMER, 1).await;
    let first = read(source.as_mut(), 100).await;
    drop(source);
    let mut source = claim(test, CONSUMER, 1).await;
    let again = read(source.as_mut(), 100).await;
    let offsets = |items: &[StreamItem]| items.iter().map(|item| item.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&again), offsets(&first));
    source.commit(again[59].offset).await.unwrap();
    drop(source);
    let mut source = claim(test, CONSUMER, 1).await;
    publish_numbers(test, &key, 100..110, 10).await;
    let rest = read(source.as_mut(), 50).await;
    assert_eq!(numbers(&rest), (60..110).collect::<Vec<_>>());
    // A position never goes back.
    source.commit(rest[49].offset).await.unwrap();
    source.commit(rest[10].offset).await.unwrap();
    drop(source);
    let mut source = claim(test, CONSUMER, 1).await;
    publish_numbers(test, &key, 110..111, 1).await;
    assert_eq!(numbers(&read(source.as_mut(), 1).await), [110]);
}

/// What one consumer reads and commits is nothing to another.
pub async fn consumers_are_independent(test: &EventStreamUnderTest) {
    let key = key_of(2, test.partitions);
    publish_numbers(test, &key, 0..50, 10).await;
    let mut one = claim(test, "one", 2).await;
    let read_by_one = read(one.as_mut(), 50).await;
    one.commit(read_by_one[49].offset).await.unwrap();
    drop(one);
    let mut other = claim(test, "one-other", 2).await;
    assert_eq!(numbers(&read(other.as_mut(), 50).await), (0..50).collect::<Vec<_>>());
    let mut one = claim(test, "one", 2).await;
    assert!(poll_times(3, one.next_batch(ITEMS)).await.is_none(), "read again what was committed");
}

/// A consumer that waits is woken by what is published.
pub async fn a_waiting_consumer_wakes(test: &EventStreamUnderTest) {
    let key = key_of(3, test.partitions);
    let mut source = claim(test, CONSUMER, 3).await;
    for number in 0..50 {
        let mut waiting = pin!(source.next_batch(ITEMS));
        assert!(poll_times(1, waiting.as_mut()).await.is_none());
        publish_numbers(test, &key, number..number + 1, 1).await;
        let items = soon("waking", waiting).await.unwrap().unwrap();
        assert_eq!(numbers(&items), [number]);
    }
}

/// Many thousands of records that were published while a consumer was away all come, in order.
pub async fn a_consumer_that_was_away_misses_nothing(test: &EventStreamUnderTest) {
    const RECORDS: u64 = 20_000;
    let key = key_of(0, test.partitions);
    publish_numbers(test, &key, 0..100, 100).await;
    let mut source = claim(test, CONSUMER, 0).await;
    let items = read(source.as_mut(), 100).await;
    source.commit(items[99].offset).await.unwrap();
    drop(source);
    publish_numbers(test, &key, 100..RECORDS, 500).await;
    let mut source = claim(test, CONSUMER, 0).await;
    let items = read(source.as_mut(), RECORDS as usize - 100).await;
    assert_eq!(numbers(&items), (100..RECORDS).collect::<Vec<_>>());
}

/// A consumer that reads while much is published, now from memory, now from further back, misses nothing.
pub async fn a_consumer_keeps_up_with_its_publisher(test: &EventStreamUnderTest) {
    const RECORDS: u64 = 15_000;
    let key = key_of(0, test.partitions);
    let mut source = claim(test, CONSUMER, 0).await;
    let publishing = async {
        let mut random = Random(5);
        let mut next = 0;
        while next < RECORDS {
            let until = RECORDS.min(next + 1 + random.below(400));
            publish_numbers(test, &key, next..until, 400).await;
            next = until;
        }
    };
    let reading = async {
        let mut random = Random(6);
        let mut found = Vec::new();
        while found.len() < RECORDS as usize {
            let most = 1 + random.below(ITEMS as u64) as usize;
            let batch = soon("reading", source.next_batch(most)).await.unwrap().unwrap();
            found.extend(numbers(&batch));
            // Falls behind now and then.
            for _ in 0..random.below(8) {
                tokio::task::yield_now().await;
            }
        }
        found
    };
    let ((), found) = tokio::join!(publishing, reading);
    assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
}

/// A read that is dropped at any moment takes nothing with it.
pub async fn a_cancelled_read_of_records_loses_nothing(test: &EventStreamUnderTest) {
    let key = key_of(0, test.partitions);
    let mut source = claim(test, CONSUMER, 0).await;
    let (mut random, mut found, mut published) = (Random(3), Vec::new(), 0);
    while found.len() < 300 {
        let count = random.below(3);
        publish_numbers(test, &key, published..published + count, 3).await;
        published += count;
        let items = 1 + random.below(4) as usize;
        if let Some(batch) = poll_times(random.below(3), source.next_batch(items)).await {
            found.extend(numbers(&batch.unwrap().unwrap()));
        }
    }
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
}

/// What was published before a restart is read after it, and what comes then follows.
pub async fn a_reopened_stream_has_everything(test: &EventStreamUnderTest) {
    let key = key_of(1, test.partitions);
    publish_numbers(test, &key, 0..300, 100).await;
    let mut stream: Arc<dyn EventStream> = Arc::clone(&test.stream);
    for round in 1..4 {
        stream = (test.reopen)().await;
        let records = (0..100).map(|number| (key.clone(), payload(&key, 200 + round * 100 + number))).collect();
        publish(stream.as_ref(), test.rows.as_ref(), 1, records).await;
    }
    let mut source = claim_all(stream.as_ref(), test.partitions, CONSUMER).await.swap_remove(1);
    assert_eq!(numbers(&read(source.as_mut(), 600).await), (0..600).collect::<Vec<_>>());
}

/// A consumer goes on after its position when everything was started again.
pub async fn positions_survive_a_restart(test: &EventStreamUnderTest) {
    let key = key_of(1, test.partitions);
    publish_numbers(test, &key, 0..100, 100).await;
    let mut source = claim(test, CONSUMER, 1).await;
    let items = read(source.as_mut(), 100).await;
    source.commit(items[49].offset).await.unwrap();
    drop(source);
    let stream = (test.reopen)().await;
    let mut source = claim_all(stream.as_ref(), test.partitions, CONSUMER).await.swap_remove(1);
    assert_eq!(numbers(&read(source.as_mut(), 50).await), (50..100).collect::<Vec<_>>());
}
