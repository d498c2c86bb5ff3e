//! The embedded engine survives `kill -9` between any two writes: what was answered is there, batches are whole.
//!
//! The test runs itself again as a child that writes and tells what was answered, and kills it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use stonechat_model::{ConversationId, LogId, LogKey, TenantId};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Key, Put, Rows, tables};

/// Tells the child where to write.
const FOLDER: &str = "STONECHAT_CRASH_TEST_FOLDER";
/// Begins a line of the child that tells an answered batch.
const ANSWERED: &str = "answered ";
/// Tasks of the child that write at once.
const TASKS: usize = 4;
/// Times that the child is killed.
const KILLS: u64 = 15;
/// Rows of a batch besides its head.
const EVENTS: u64 = 6;

fn log(task: usize) -> LogKey {
    let conversation = ConversationId::parse(&format!("task{task}")).unwrap();
    LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(conversation) }
}

/// The rows of a batch, in three tables; `number` counts from 1.
fn batch(task: usize, number: u64) -> Vec<Put> {
    let put = |key, version| Put { key, value: vec![b'x'; 300].into(), version, ttl: None };
    let first = (number - 1) * EVENTS;
    let mut puts: Vec<Put> = (first..first + EVENTS).map(|seq| put(tables::event(&log(task), seq), number)).collect();
    puts.push(put(tables::stream(u32::try_from(task).unwrap(), number), 0));
    puts.push(put(tables::head(&log(task)), number));
    puts
}

fn open(folder: &Path) -> Arc<EmbeddedRows> {
    EmbeddedRows::open(folder, EmbeddedRowsConfig::default()).unwrap()
}

/// How many batches a task has written, by its head.
async fn written(rows: &dyn Rows, task: usize) -> u64 {
    let head = rows.get(&[tables::head(&log(task))]).await.unwrap().pop().unwrap();
    head.map_or(0, |head| head.version)
}

async fn write_until_killed(rows: Arc<EmbeddedRows>, task: usize) {
    for number in written(rows.as_ref(), task).await + 1.. {
        rows.write(batch(task, number)).await.unwrap();
        // Not print!, which a test's harness holds back.
        let mut output = std::io::stdout().lock();
        writeln!(output, "{ANSWERED}{task} {number}").unwrap();
        output.flush().unwrap();
    }
}

/// Not a test by itself: what the child of the test below runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let rows = open(Path::new(&folder));
    let tasks = (0..TASKS).map(|task| tokio::spawn(write_until_killed(Arc::clone(&rows), task)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn start_child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child answer so many batches, kills it, and gives the last answered batch of each task.
fn run_and_kill(folder: &Path, answers: u64) -> [u64; TASKS] {
    let mut child = start_child(folder);
    let mut answered = [0; TASKS];
    let mut count = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        count += u64::from(note(&line.unwrap(), &mut answered));
        if count == answers {
            child.kill().unwrap();
        }
    }
    assert!(count >= answers, "the child ended by itself after {count} answers");
    assert!(!child.wait().unwrap().success());
    answered
}

fn note(line: &str, answered: &mut [u64; TASKS]) -> bool {
    let Some((task, number)) = line.strip_prefix(ANSWERED).and_then(|rest| rest.split_once(' ')) else { return false };
    answered[task.parse::<usize>().unwrap()] = number.parse().unwrap();
    true
}

async fn assert_whole(rows: &dyn Rows, task: usize, answered: u64) {
    let written = written(rows, task).await;
    assert!(written >= answered, "task {task}: batch {answered} was answered, the head is of {written}");
    for number in 1..=written + 2 {
        // The head has the last batch's version.
        let keys: Vec<Key> = batch(task, number).into_iter().map(|put| put.key).collect();
        let found = rows.get(&keys[..keys.len() - 1]).await.unwrap();
        let present = found.iter().filter(|row| row.as_ref().is_some_and(|row| row.value.len() == 300)).count();
        let expected = if number <= written { found.len() } else { 0 };
        assert_eq!(present, expected, "task {task}: rows of batch {number}, the head is of {written}");
    }
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut most = [0; TASKS];
    for kill in 0..KILLS {
        // From the first answers on to some hundreds, the same on every run.
        let answered = run_and_kill(folder.path(), 1 + kill * kill * 3);
        for (most, answered) in most.iter_mut().zip(answered) {
            *most = answered.max(*most);
        }
        let rows = open(folder.path());
        for (task, answered) in most.into_iter().enumerate() {
            assert_whole(rows.as_ref(), task, answered).await;
        }
    }
    assert!(most.iter().all(|answered| *answered > 10), "{most:?}");
}

#[tokio::test]
async fn a_dropped_engine_is_opened_again_with_everything_and_its_versions() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let rows = open(folder.path());
        assert_eq!(written(rows.as_ref(), 0).await, round - 1);
        if round > 1 {
            // What was stored before the engine was opened protects its versions too.
            let head = batch(0, round - 1).pop().unwrap();
            rows.write(vec![Put { version: head.version - 1, ..head.clone() }]).await.unwrap();
            assert_eq!(written(rows.as_ref(), 0).await, round - 1);
        }
        rows.write(batch(0, round)).await.unwrap();
    }
}
