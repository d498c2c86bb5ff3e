//! Cases of the command log.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use stonechat_model::LogKey;
use tokio::task::JoinSet;

use super::{CommandLogUnderTest, Random, key, key_of, payload, poll_times, soon, told};
use crate::{CommandItem, CommandLog, CommandSource, LogError};

const ITEMS: usize = 1_000;
const BYTES: usize = 1 << 20;

async fn append(log: &dyn CommandLog, key: &LogKey, number: u64) {
    log.append(key, payload(key, number)).await.unwrap();
}

/// Every partition, in their order.
async fn claim_all(log: &dyn CommandLog) -> Vec<Box<dyn CommandSource>> {
    let mut sources = Vec::new();
    for _ in 0..log.partitions() {
        sources.push(soon("claiming", log.claim()).await.unwrap());
    }
    sources.sort_by_key(|source| source.partition());
    sources
}

async fn claim(log: &dyn CommandLog, partition: u32) -> Box<dyn CommandSource> {
    claim_all(log).await.swap_remove(partition as usize)
}

async fn read(source: &mut dyn CommandSource, count: usize) -> Vec<CommandItem> {
    let mut items = Vec::new();
    while items.len() < count {
        let batch = soon("reading", source.next_batch(ITEMS, BYTES)).await.unwrap().unwrap();
        assert!(!batch.is_empty(), "an empty batch");
        items.extend(batch);
    }
    assert_eq!(items.len(), count);
    items
}

fn numbers(items: &[CommandItem]) -> Vec<u64> {
    items.iter().map(|item| told(&item.payload).1).collect()
}

/// The partition of a command is the one that its key says.
pub async fn commands_of_a_key_stay_in_its_partition(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for number in 0..200 {
        let key = key(number);
        append(log, &key, 1).await;
        expected.entry(key.partition(log.partitions())).or_default().push(key.log.to_string());
    }
    assert_eq!(expected.len(), log.partitions() as usize, "the keys do not reach every partition");
    for mut source in claim_all(log).await {
        let expected = &expected[&source.partition()];
        let items = read(source.as_mut(), expected.len()).await;
        assert_eq!(&items.iter().map(|item| told(&item.payload).0).collect::<Vec<_>>(), expected);
    }
}

/// What was appended first is read first.
pub async fn commands_of_a_key_keep_their_order(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key(1);
    let mut source = claim(log, key.partition(log.partitions())).await;
    for round in 0..10 {
        for number in 0..100 {
            append(log, &key, round * 100 + number).await;
        }
        let items = read(source.as_mut(), 100).await;
        assert_eq!(numbers(&items), (round * 100..round * 100 + 100).collect::<Vec<_>>());
    }
}

/// In a partition positions grow strictly, and times never go back.
pub async fn positions_and_times_grow_in_a_partition(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    for number in 0..1_000 {
        append(log, &key(number), number).await;
    }
    let mut count = 0;
    for mut source in claim_all(log).await {
        let partition = source.partition();
        let expected = (0..1_000).filter(|number| key(*number).partition(log.partitions()) == partition).count();
        let items = read(source.as_mut(), expected).await;
        for pair in items.windows(2) {
            assert!(pair[0].position < pair[1].position, "{pair:?}");
            assert!(pair[0].time_us <= pair[1].time_us, "{pair:?}");
        }
        count += items.len();
    }
    assert_eq!(count, 1_000);
}

/// A batch has at most the items asked for and about the bytes, and always one.
pub async fn a_batch_keeps_to_its_limits(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key_of(0, log.partitions());
    for _ in 0..20 {
        log.append(&key, vec![b'x'; 1_000].into()).await.unwrap();
    }
    let mut source = claim(log, 0).await;
    let mut count = 0;
    for (items, bytes, most) in [(1, BYTES, 1), (7, BYTES, 7), (ITEMS, 1, 1), (ITEMS, 2_500, 3), (ITEMS, 999, 1)] {
        let batch = soon("reading", source.next_batch(items, bytes)).await.unwrap().unwrap();
        assert!((1..=most).contains(&batch.len()), "{} of at most {most}", batch.len());
        count += batch.len();
    }
    while count < 20 {
        count += soon("reading", source.next_batch(4, BYTES)).await.unwrap().unwrap().len();
    }
    assert_eq!(count, 20);
}

/// Claims give every partition once; a further one waits.
pub async fn each_partition_is_claimed_once(test: &CommandLogUnderTest) {
    let sources = claim_all(test.log.as_ref()).await;
    let partitions: Vec<u32> = sources.iter().map(|source| source.partition()).collect();
    assert_eq!(partitions, (0..test.log.partitions()).collect::<Vec<_>>());
    assert!(poll_times(3, test.log.claim()).await.is_none(), "a partition was claimed twice");
}

/// A partition whose source was dropped goes to whoever waits.
pub async fn a_dropped_source_frees_its_partition(test: &CommandLogUnderTest) {
    let mut sources = claim_all(test.log.as_ref()).await;
    for place in [2, 0, 2] {
        let mut waiting = pin!(test.log.claim());
        assert!(poll_times(1, waiting.as_mut()).await.is_none());
        let partition = sources.remove(place).partition();
        let again = soon("claiming again", waiting).await.unwrap();
        assert_eq!(again.partition(), partition);
        sources.push(again);
    }
}

/// A new source begins after what was committed, and gives the rest with the same positions and times.
pub async fn a_new_source_reads_again_what_was_not_committed(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key_of(1, log.partitions());
    for number in 0..100 {
        append(log, &key, number).await;
    }
    let mut source = claim(log, 1).await;
    let first = read(source.as_mut(), 100).await;
    drop(source);
    let mut source = claim(log, 1).await;
    let again = read(source.as_mut(), 100).await;
    let places = |items: &[CommandItem]| items.iter().map(|item| (item.position, item.time_us)).collect::<Vec<_>>();
    assert_eq!(places(&again), places(&first));
    assert_eq!(numbers(&again), numbers(&first));
    source.commit(again[59].position).await.unwrap();
    drop(source);
    let mut source = claim(log, 1).await;
    append(log, &key, 100).await;
    assert_eq!(numbers(&read(source.as_mut(), 41).await), (60..=100).collect::<Vec<_>>());
}

/// A source goes on where it was, whatever is committed meanwhile.
pub async fn a_source_reads_nothing_twice(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key_of(1, log.partitions());
    let mut source = claim(log, 1).await;
    let mut expected = 0;
    for round in 0..50 {
        append(log, &key, round * 2).await;
        append(log, &key, round * 2 + 1).await;
        let items = read(source.as_mut(), 2).await;
        assert_eq!(numbers(&items), [expected, expected + 1]);
        expected += 2;
        if round % 3 == 0 {
            source.commit(items[(round % 2) as usize].position).await.unwrap();
        }
    }
}

/// A source that waits is woken by the next command.
pub async fn a_waiting_source_wakes(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key_of(3, log.partitions());
    let mut source = claim(log, 3).await;
    for number in 0..100 {
        let mut waiting = pin!(source.next_batch(ITEMS, BYTES));
        assert!(poll_times(1, waiting.as_mut()).await.is_none());
        append(log, &key, number).await;
        let items = soon("waking", waiting).await.unwrap().unwrap();
        assert_eq!(numbers(&items), [number]);
    }
}

/// Of what many tasks append at once everything is read, each task's in its order.
pub async fn concurrent_appends_are_all_read_in_order(test: &CommandLogUnderTest) {
    const TASKS: u64 = 8;
    const EACH: u64 = 300;
    let mut appending = JoinSet::new();
    for task in 0..TASKS {
        let log = Arc::clone(&test.log);
        appending.spawn(async move {
            for number in 0..EACH {
                append(log.as_ref(), &key(task), number).await;
                if number % 10 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for mut source in claim_all(test.log.as_ref()).await {
        let here = |task: &u64| key(*task).partition(test.log.partitions()) == source.partition();
        let count = (0..TASKS).filter(here).count() * EACH as usize;
        for item in read(source.as_mut(), count).await {
            let (key, number) = told(&item.payload);
            found.entry(key).or_default().push(number);
        }
    }
    while let Some(done) = appending.join_next().await {
        done.unwrap();
    }
    assert_eq!(found.len() as u64, TASKS);
    for numbers in found.values() {
        assert_eq!(*numbers, (0..EACH).collect::<Vec<_>>());
    }
}

/// A read that is dropped at any moment takes nothing with it.
pub async fn a_cancelled_read_loses_nothing(test: &CommandLogUnderTest) {
    let log = test.log.as_ref();
    let key = key_of(0, log.partitions());
    let mut source = claim(log, 0).await;
    let (mut random, mut found, mut appended) = (Random(3), Vec::new(), 0);
    while found.len() < 500 {
        for _ in 0..random.below(3) {
            append(log, &key, appended).await;
            appended += 1;
        }
        let items = 1 + random.below(4) as usize;
        if let Some(batch) = poll_times(random.below(3), source.next_batch(items, BYTES)).await {
            found.extend(numbers(&batch.unwrap().unwrap()));
        }
    }
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
}

/// A partition that is full refuses; reading frees nothing, committing does. Other partitions go on.
pub async fn a_full_partition_refuses_until_it_is_committed(test: &CommandLogUnderTest) {
    let Some(bounds) = test.bounds else { return };
    let log = test.log.as_ref();
    let (key, other) = (key_of(0, log.partitions()), key_of(1, log.partitions()));
    for number in 0..bounds.records as u64 {
        append(log, &key, number).await;
    }
    let refused = |result| matches!(result, Err(LogError::Full));
    assert!(refused(log.append(&key, payload(&key, 0)).await));
    append(log, &other, 0).await;
    let mut source = claim(log, 0).await;
    let items = read(source.as_mut(), bounds.records).await;
    assert!(refused(log.append(&key, payload(&key, 0)).await));
    source.commit(items[9].position).await.unwrap();
    for _ in 0..10 {
        append(log, &key, 0).await;
    }
    assert!(refused(log.append(&key, payload(&key, 0)).await));
    source.commit(items[items.len() - 1].position).await.unwrap();
    let rest = read(source.as_mut(), 10).await;
    source.commit(rest[9].position).await.unwrap();
    // Bytes are bounded as records are, and freed as they are.
    for _ in 0..3 {
        log.append(&key, vec![b'x'; bounds.bytes].into()).await.unwrap();
        assert!(refused(log.append(&key, payload(&key, 0)).await));
        let large = soon("reading", source.next_batch(1, 1)).await.unwrap().unwrap();
        source.commit(large[0].position).await.unwrap();
    }
}
