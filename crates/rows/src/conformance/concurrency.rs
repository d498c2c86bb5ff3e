//! Many writers at once, and writers that go away.

use std::{collections::BTreeSet, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use tokio::task::JoinSet;

use super::{Engine, Random, assert_all_below, assert_reads, log, member, put, read, write};
use crate::{Key, Put, Rows, RowsError, tables};

/// Tasks that write at once.
const TASKS: u64 = 16;
/// What each of them writes.
const WRITES: u64 = 100;

/// Whoever writes when: in the end every row has its greatest version.
pub async fn concurrent_writers_leave_the_greatest_version(engine: &Engine) {
    const ROWS: u64 = 7;
    let mut running = JoinSet::new();
    for task in 0..TASKS {
        let rows = Arc::clone(&engine.rows);
        running.spawn(async move {
            let mut random = Random(task);
            let mut greatest = [0; ROWS as usize];
            for _ in 0..WRITES {
                let puts = (0..=random.below(3)).map(|_| {
                    let (row, version) = (random.below(ROWS), random.below(1 << 30));
                    greatest[row as usize] = version.max(greatest[row as usize]);
                    put(member("general", &format!("user{row}")), version, &version.to_string())
                });
                rows.write(puts.collect()).await.unwrap();
            }
            greatest
        });
    }
    let mut greatest = [0; ROWS as usize];
    while let Some(of_task) = running.join_next().await {
        for (greatest, of_task) in greatest.iter_mut().zip(of_task.unwrap()) {
            *greatest = of_task.max(*greatest);
        }
    }
    for (row, version) in greatest.into_iter().enumerate() {
        let key = member("general", &format!("user{row}"));
        assert_reads(engine, &key, Some((version, &version.to_string()))).await;
    }
}

/// Nothing of what many tasks write to their own rows is lost.
pub async fn concurrent_batches_are_all_written(engine: &Engine) {
    let mut running = JoinSet::new();
    for task in 0..TASKS {
        let rows = Arc::clone(&engine.rows);
        running.spawn(async move {
            let of = log("acme", &format!("conversation{task}"));
            for seq in 1..=WRITES {
                let puts = vec![put(tables::event(&of, seq), seq, "event"), put(tables::head(&of), seq, "head")];
                rows.write(puts).await.unwrap();
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    for task in 0..TASKS {
        let of = log("acme", &format!("conversation{task}"));
        let range = tables::bucket_range(&tables::EVENTS, &of, 1, WRITES + 1, false, 1_000);
        let rows = engine.rows.range(range).await.unwrap();
        let seqs: Vec<u64> = rows.iter().map(|row| row.key.number(3)).collect();
        assert_eq!(seqs, (1..=WRITES).collect::<Vec<_>>());
        assert_reads(engine, &tables::head(&of), Some((WRITES, "head"))).await;
    }
}

/// Of many that expect the same version, exactly one wins, and its row is there: the one that was told so, or, where
/// nobody was, one whose call was refused without saying whether it is applied.
pub async fn one_of_many_compare_and_sets_wins(engine: &Engine) {
    for round in 0..20 {
        let key = tables::counter(&format!("counter{round}"));
        let mut running = JoinSet::new();
        for task in 0..TASKS {
            let (rows, put) = (Arc::clone(&engine.rows), put(key.clone(), 1, &task.to_string()));
            running.spawn(async move { (task, rows.compare_and_set(put, None).await) });
        }
        let (mut winners, mut refused) = (Vec::new(), Vec::new());
        while let Some(done) = running.join_next().await {
            match done.unwrap() {
                (task, Ok(has_won)) => winners.extend(has_won.then_some(task)),
                (task, Err(RowsError::Unavailable(_))) => refused.push(task),
                (task, Err(error)) => panic!("{task}: {error}"),
            }
        }
        let row = read(engine, &key).await;
        let written = row.map(|row| String::from_utf8(row.value.to_vec()).unwrap().parse().unwrap());
        match (winners.as_slice(), written) {
            ([winner], written) => assert_eq!(written, Some(*winner)),
            ([], Some(written)) => assert!(refused.contains(&written), "{written} was told that it lost"),
            ([], None) => assert_eq!(refused.len() as u64, TASKS, "nobody won and somebody lost"),
            (winners, _) => panic!("many won: {winners:?}"),
        }
    }
}

/// What many append to one row by compare-and-set is there exactly once, whatever a refused call has done: whether
/// that was applied, the row says.
pub async fn appending_by_compare_and_set_loses_nothing(engine: &Engine) {
    const APPENDED: u64 = 10;
    let mut running = JoinSet::new();
    for task in 0..TASKS {
        let rows = Arc::clone(&engine.rows);
        running.spawn(async move {
            for number in 0..APPENDED {
                append_by_compare_and_set(rows.as_ref(), &format!("{task}.{number}")).await;
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    let row = read(engine, &tables::counter("appended")).await.unwrap();
    let listed = String::from_utf8(row.value.to_vec()).unwrap();
    let words: BTreeSet<&str> = listed.split_whitespace().collect();
    let expected = TASKS * APPENDED;
    assert_eq!((words.len() as u64, row.version), (expected, expected), "{listed}");
    assert_eq!(listed.split_whitespace().count() as u64, expected, "{listed}");
}

/// Appends a word to the row of all of them unless it is there.
///
/// Servers refuse a contended call that takes them too long and do not say whether it is applied.
async fn append_by_compare_and_set(rows: &dyn Rows, word: &str) {
    const REFUSED: usize = 20;
    let key = tables::counter("appended");
    let mut refused = 0;
    loop {
        let row = rows.get(std::slice::from_ref(&key)).await.unwrap().pop().unwrap();
        let before = row.as_ref().map(|row| row.version);
        let listed = row.map(|row| String::from_utf8(row.value.to_vec()).unwrap()).unwrap_or_default();
        if listed.split_whitespace().any(|listed| listed == word) {
            return;
        }
        let next = put(key.clone(), before.unwrap_or(0) + 1, &format!("{listed} {word}"));
        match rows.compare_and_set(next, before).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(RowsError::Unavailable(_)) if refused < REFUSED => refused += 1,
            Err(error) => panic!("{word}: {error}"),
        }
    }
}

fn batch_of(number: u64) -> Vec<Put> {
    let of = log("acme", &format!("batch{number}"));
    let mut puts: Vec<Put> = (1..=5).map(|seq| put(tables::event(&of, seq), number + 1, "event")).collect();
    puts.push(put(tables::head(&of), number + 1, "head"));
    puts
}

/// Writes whose callers go away at any moment: each is there whole or not at all (in an engine without atomic
/// batches: the first rows of it), and what was answered is there.
pub async fn a_cancelled_write_is_whole_or_absent(engine: &Engine) {
    const BATCHES: u64 = 400;
    let mut random = Random(7);
    let mut answered = BTreeSet::new();
    for number in 0..BATCHES {
        let mut polls = random.below(6);
        let mut writing = pin!(engine.rows.write(batch_of(number)));
        let is_done = poll_fn(|context| match writing.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => {
                polls -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        });
        match is_done.await {
            Some(done) => {
                done.unwrap();
                answered.insert(number);
            }
            // Lets the engine come to it before the next.
            None if random.is_one_in(4) => tokio::task::yield_now().await,
            None => {}
        }
        if random.is_one_in(10) {
            write(engine, batch_of(number)).await;
            answered.insert(number);
        }
    }
    write(engine, batch_of(BATCHES)).await;
    for number in 0..BATCHES {
        let keys: Vec<Key> = batch_of(number).into_iter().map(|put| put.key).collect();
        let rows = engine.rows.get(&keys).await.unwrap();
        let present = rows.iter().filter(|row| row.is_some()).count();
        assert!(present == keys.len() || !answered.contains(&number), "batch {number} was answered and is gone");
        assert!(!engine.is_atomic || present == 0 || present == keys.len(), "batch {number} is there in part");
    }
}

/// What a task was answered, it and others read, however many write.
pub async fn what_was_answered_is_read_at_once(engine: &Engine) {
    let mut running = JoinSet::new();
    for task in 0..TASKS {
        let rows = Arc::clone(&engine.rows);
        running.spawn(async move {
            let key = member("general", &format!("user{task}"));
            for version in 1..=WRITES {
                rows.write(vec![put(key.clone(), version, "own")]).await.unwrap();
                let row = rows.get(std::slice::from_ref(&key)).await.unwrap().pop().flatten();
                assert_eq!(row.map(|row| row.version), Some(version));
            }
            task
        });
    }
    let mut done = BTreeSet::new();
    while let Some(task) = running.join_next().await {
        let task = task.unwrap();
        let row = read(engine, &member("general", &format!("user{task}"))).await;
        assert_eq!(row.map(|row| row.version), Some(WRITES));
        done.insert(task);
    }
    assert_all_below(TASKS, &done);
}
