//! Owners as a router has them, who note what they see, and senders whose acknowledged commands must be among it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stonechat_log::{CommandLog, CommandSource, LogError};
use stonechat_model::{ConversationId, LogId, LogKey, Position, TenantId};
use tokio::task::{JoinHandle, JoinSet};

use super::world::PATIENCE;

/// How long an owner deals with a batch.
const WORK: Duration = Duration::from_millis(20);

/// The log of a conversation.
pub fn key(number: u64) -> LogKey {
    let conversation = ConversationId::parse(&format!("conversation{number}")).unwrap();
    LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(conversation) }
}

/// What owners saw: by partition, each command's position and text, in the order of seeing.
pub type Seen = Arc<Mutex<BTreeMap<u32, Vec<(Position, String)>>>>;

/// A process that owns what partitions it is given.
pub struct Owners {
    pub log: Arc<dyn CommandLog>,
    /// The partitions that it owns now.
    pub owned: Arc<Mutex<BTreeSet<u32>>>,
    task: JoinHandle<()>,
}

impl Owners {
    /// Begins to own.
    pub fn start(log: Arc<dyn CommandLog>, seen: &Seen) -> Self {
        let owned: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
        let (of_task, owned_there, seen) = (Arc::clone(&log), Arc::clone(&owned), Arc::clone(seen));
        let task = tokio::spawn(async move {
            let mut owners = JoinSet::new();
            loop {
                match of_task.claim().await {
                    Ok(source) => drop(owners.spawn(own(source, Arc::clone(&owned_there), Arc::clone(&seen)))),
                    Err(LogError::Closed) => break,
                    // As a router does.
                    Err(error) => tracing::warn!(%error, "no partition"),
                }
                while let Some(done) = owners.try_join_next() {
                    done.unwrap();
                }
            }
            owners.join_all().await;
        });
        Self { log, owned, task }
    }

    /// Gives every partition to others.
    pub async fn leave(self) {
        self.log.leave().await;
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

async fn own(mut source: Box<dyn CommandSource>, owned: Arc<Mutex<BTreeSet<u32>>>, seen: Seen) {
    let partition = source.partition();
    owned.lock().insert(partition);
    let result = note(source.as_mut(), &seen).await;
    owned.lock().remove(&partition);
    assert!(matches!(result, Ok(()) | Err(LogError::Lost)), "{result:?}");
}

async fn note(source: &mut dyn CommandSource, seen: &Seen) -> Result<(), LogError> {
    while let Some(items) = source.next_batch(100, 1 << 20).await? {
        let last = items.last().unwrap().position;
        let texts = items.into_iter().map(|item| (item.position, String::from_utf8(item.payload.to_vec()).unwrap()));
        seen.lock().entry(source.partition()).or_default().extend(texts);
        tokio::time::sleep(WORK).await;
        source.commit(last).await?;
    }
    Ok(())
}

/// Sends commands until it is told to end, each again until it is acknowledged.
pub struct Senders {
    tasks: JoinSet<Vec<String>>,
    is_ending: Arc<AtomicBool>,
    /// How many were acknowledged.
    pub acknowledged: Arc<AtomicU64>,
}

impl Senders {
    /// So many senders, each with a conversation of its own.
    pub fn start(log: &Arc<dyn CommandLog>, count: u64) -> Self {
        let (is_ending, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for sender in 0..count {
            let (log, is_ending, acknowledged) = (Arc::clone(log), Arc::clone(&is_ending), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                let mut done = Vec::new();
                while !is_ending.load(Ordering::Relaxed) {
                    let text = format!("{sender}/{}", done.len());
                    while let Err(error) = log.append(&key(sender), text.clone().into()).await {
                        assert!(matches!(error, LogError::Unavailable(_) | LogError::Full), "{error}");
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    done.push(text);
                }
                done
            });
        }
        Self { tasks, is_ending, acknowledged }
    }

    /// Waits until so many more were acknowledged.
    pub async fn wait_for(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        soon("acknowledging", async || self.acknowledged.load(Ordering::Relaxed) >= wanted).await;
    }

    /// Ends, and gives what was acknowledged.
    pub async fn end(self) -> Vec<String> {
        self.is_ending.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.tasks.join_all()).await.unwrap().into_iter().flatten().collect()
    }
}

/// Waits for a condition.
pub async fn soon(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(stonechat_backends::server::until(PATIENCE, condition).await, "{what} took longer than {PATIENCE:?}");
}

/// Waits until owners saw everything that was acknowledged; then that it was in order and without a gap. Gives how
/// many records were seen more than once.
pub async fn check(seen: &Seen, acknowledged: &[String], partitions: u32) -> usize {
    let is_missing = |text: &String| {
        let sender: u64 = text.split_once('/').unwrap().0.parse().unwrap();
        let seen = seen.lock();
        let partition = seen.get(&key(sender).partition(partitions));
        !partition.is_some_and(|records| records.iter().rev().any(|(_, seen)| seen == text))
    };
    let last_of_each: BTreeMap<&str, &String> =
        acknowledged.iter().map(|text| (text.split_once('/').unwrap().0, text)).collect();
    soon("seeing", async || !last_of_each.values().any(|text| is_missing(text))).await;
    let mut repeated = 0;
    let mut found = BTreeSet::new();
    for (partition, records) in seen.lock().iter() {
        let by_position: BTreeMap<Position, &String> = records.iter().map(|(at, text)| (*at, text)).collect();
        repeated += records.len() - by_position.len();
        let offsets: Vec<u64> = by_position.keys().map(|position| position.offset()).collect();
        let first = offsets.first().copied().unwrap_or(0);
        let expected: Vec<u64> = (first..first + offsets.len() as u64).collect();
        assert_eq!(offsets, expected, "records of partition {partition} were skipped");
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for text in by_position.into_values() {
            let (sender, number) = text.split_once('/').unwrap();
            let number: u64 = number.parse().unwrap();
            let before = last.insert(sender, number);
            assert!(before.is_none_or(|before| before <= number), "{text} came after {before:?}");
            found.insert(text.clone());
        }
    }
    for text in acknowledged {
        assert!(found.contains(text), "{text} was acknowledged and never seen");
    }
    repeated
}
