//! A durable log in partitions, read by groups: what the command log and the event stream are made of.
//!
//! In a group each partition has one holder as the broker sees it. A holder that lost its partition may not know:
//! it goes on reading for a while, and its commits count no more.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_log::LogError;
use stonechat_proto::internal::v1::{CommandRecord, StreamRecord};

use crate::{
    bell::Bell,
    executor::{Node, WORLD},
    faults::{Fate, Faults},
    random::Random,
};

/// A record of the log.
#[derive(Clone)]
pub struct Record {
    /// When it was appended.
    pub time_us: i64,
    /// Its bytes.
    pub payload: Bytes,
}

#[derive(Default)]
struct Holding {
    /// The claim that holds the partition.
    holder: Option<u64>,
    /// The first offset that is not committed.
    committed: u64,
    /// The first offset that the holder has not taken yet.
    taken: u64,
    /// Whether a free partition can be claimed already.
    is_free: bool,
}

struct Claim {
    node: Node,
    group: &'static str,
    partition: u32,
    /// Whether the claim's reader knows that it was lost.
    is_told: bool,
}

#[derive(Default)]
struct State {
    partitions: Vec<Vec<Record>>,
    groups: BTreeMap<&'static str, Vec<Holding>>,
    claims: BTreeMap<u64, Claim>,
    next_claim: u64,
}

impl State {
    fn holding(&mut self, group: &str, partition: u32) -> Option<&mut Holding> {
        self.groups.get_mut(group)?.get_mut(partition as usize)
    }
}

struct Inner {
    name: &'static str,
    state: Mutex<State>,
    bell: Bell,
    faults: Faults,
    random: Random,
}

/// The log. Clones are the same one.
#[derive(Clone)]
pub struct Partitioned {
    inner: Arc<Inner>,
}

/// A record of the log of that name, for a trace.
fn describe(log: &str, bytes: &Bytes) -> String {
    match log {
        "commands" => CommandRecord::decode(bytes.clone()).map(|record| format!("{record:?}")),
        _ => StreamRecord::decode(bytes.clone()).map(|record| format!("{record:?}")),
    }
    .unwrap_or_default()
}

fn unavailable() -> LogError {
    LogError::Unavailable("simulated".into())
}

impl Partitioned {
    /// An empty log that these groups read.
    pub fn new(name: &'static str, seed: u64, partitions: u32, groups: &[&'static str], faults: Faults) -> Self {
        let holdings = || (0..partitions).map(|_| Holding { is_free: true, ..Holding::default() }).collect();
        let state = State {
            partitions: (0..partitions).map(|_| Vec::new()).collect(),
            groups: groups.iter().map(|group| (*group, holdings())).collect(),
            ..State::default()
        };
        let random = Random::new(seed, name);
        Self { inner: Arc::new(Inner { name, state: Mutex::new(state), bell: Bell::default(), faults, random }) }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.inner.state.lock().partitions.len()).unwrap_or(0)
    }

    fn put(&self, partition: u32, payloads: Vec<Bytes>) {
        let log = self.inner.name;
        self.inner.faults.runtime.trace(|| {
            let offset = self.inner.state.lock().partitions[partition as usize].len();
            let text: Vec<_> = payloads.iter().map(|bytes| describe(log, bytes)).collect();
            format!("{log} {partition} at {offset}: {}", text.join(", "))
        });
        let time_us = self.inner.faults.runtime.now_us();
        if let Some(records) = self.inner.state.lock().partitions.get_mut(partition as usize) {
            records.extend(payloads.into_iter().map(|payload| Record { time_us, payload }));
        }
        self.inner.bell.ring();
    }

    /// Appends. An error may mean done, not done, or done later.
    pub async fn append(&self, partition: u32, payloads: Vec<Bytes>) -> Result<(), LogError> {
        let inner = &self.inner;
        let fate = inner.faults.fate(&inner.random, inner.faults.mix.log_fail);
        inner.faults.latency(&inner.random, 0).await;
        if fate == Fate::NotDone {
            if inner.random.chance(500) {
                let (log, runtime) = (self.clone(), inner.faults.runtime.clone());
                let sleep = runtime.sleep(inner.random.between(1_000, 1_500_000));
                runtime.spawn(WORLD, async move {
                    sleep.await;
                    log.put(partition, payloads);
                });
            }
            return Err(unavailable());
        }
        self.put(partition, payloads);
        inner.faults.latency(&inner.random, 0).await;
        if fate == Fate::Done { Ok(()) } else { Err(unavailable()) }
    }

    /// Waits until a node holds one more partition for a group.
    pub async fn claim(&self, node: Node, group: &'static str) -> Result<Reader, LogError> {
        let inner = &self.inner;
        let (claim, partition) = inner.bell.until(|| self.try_claim(node, group)).await;
        let mut reader = Reader { log: self.clone(), claim, group, partition, next: 0 };
        inner.faults.latency(&inner.random, 0).await;
        let state = inner.state.lock();
        let committed = state.groups.get(group).and_then(|group| group.get(partition as usize));
        let committed = committed.map_or(0, |holding| holding.committed);
        drop(state);
        let rewind = match inner.faults.strikes(&inner.random, inner.faults.mix.log_rewind) {
            true => inner.random.between(1, 12),
            false => 0,
        };
        reader.next = committed.saturating_sub(rewind);
        Ok(reader)
    }

    fn try_claim(&self, node: Node, group: &'static str) -> Option<(u64, u32)> {
        let mut state = self.inner.state.lock();
        let holdings = state.groups.get(group)?;
        let free: Vec<usize> =
            (0..holdings.len()).filter(|i| holdings[*i].holder.is_none() && holdings[*i].is_free).collect();
        let partition = *self.inner.random.pick(&free)?;
        let claim = state.next_claim;
        state.next_claim += 1;
        let number = u32::try_from(partition).unwrap_or(0);
        state.claims.insert(claim, Claim { node, group, partition: number, is_told: false });
        let holding = state.holding(group, number)?;
        (holding.holder, holding.taken) = (Some(claim), holding.committed);
        drop(state);
        let log = self.inner.name;
        self.inner.faults.runtime.trace(|| format!("{log} {partition} is claimed by {node:?}"));
        Some((claim, number))
    }

    /// Takes a partition from whoever holds it. The old holder learns of it after a while.
    pub fn revoke(&self, group: &'static str, partition: u32) {
        let told_after_us = match self.inner.random.below(3) {
            0 => 0,
            1 => self.inner.random.between(1_000, 200_000),
            _ => self.inner.random.between(100_000, 6_000_000),
        };
        let holder = self.free(group, partition);
        self.inner.bell.ring();
        let Some(claim) = holder else { return };
        let (log, runtime) = (self.clone(), self.inner.faults.runtime.clone());
        let sleep = runtime.sleep(told_after_us);
        runtime.spawn(WORLD, async move {
            sleep.await;
            if let Some(claim) = log.inner.state.lock().claims.get_mut(&claim) {
                claim.is_told = true;
            }
            log.inner.bell.ring();
        });
    }

    /// Takes everything that a node holds from it.
    pub fn revoke_node(&self, node: Node) {
        let state = self.inner.state.lock();
        let held: Vec<_> =
            state.claims.values().filter(|claim| claim.node == node).map(|it| (it.group, it.partition)).collect();
        drop(state);
        held.into_iter().for_each(|(group, partition)| self.revoke(group, partition));
    }

    fn free(&self, group: &'static str, partition: u32) -> Option<u64> {
        let mut state = self.inner.state.lock();
        let holding = state.holding(group, partition)?;
        holding.is_free = true;
        holding.holder.take()
    }

    /// A node died: what it held is free after the time that it takes to notice.
    pub fn node_died(&self, node: Node) {
        let mut state = self.inner.state.lock();
        let claims: Vec<u64> = state.claims.iter().filter(|(_, claim)| claim.node == node).map(|(id, _)| *id).collect();
        for id in claims {
            let Some(claim) = state.claims.remove(&id) else { continue };
            let holding = state.holding(claim.group, claim.partition);
            let Some(holding) = holding.filter(|holding| holding.holder == Some(id)) else { continue };
            holding.holder = None;
            holding.is_free = false;
            let (log, runtime) = (self.clone(), self.inner.faults.runtime.clone());
            let sleep = runtime.sleep(self.inner.random.between(1_000, 2_000_000));
            runtime.spawn(WORLD, async move {
                sleep.await;
                log.set_free(claim.group, claim.partition);
            });
        }
    }

    fn set_free(&self, group: &'static str, partition: u32) {
        if let Some(holding) =
            self.inner.state.lock().groups.get_mut(group).and_then(|group| group.get_mut(partition as usize))
        {
            holding.is_free = true;
        }
        self.inner.bell.ring();
    }

    /// Everything in a partition.
    pub fn records(&self, partition: u32) -> Vec<Record> {
        self.inner.state.lock().partitions.get(partition as usize).cloned().unwrap_or_default()
    }

    /// How many records no holder has taken yet, over all partitions of a group.
    pub fn lag(&self, group: &str) -> u64 {
        let state = self.inner.state.lock();
        let holdings = state.groups.get(group).into_iter().flatten();
        let taken = |holding: &Holding| if holding.holder.is_some() { holding.taken } else { holding.committed };
        holdings.zip(&state.partitions).map(|(holding, records)| records.len() as u64 - taken(holding)).sum()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.inner.state.lock().partitions.iter().map(Vec::len).sum()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A partition as its holder reads it.
pub struct Reader {
    log: Partitioned,
    claim: u64,
    group: &'static str,
    partition: u32,
    next: u64,
}

impl Reader {
    /// The partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Waits for records and takes some, with their offsets; `None` when the holder knows that it lost the partition.
    pub async fn next_batch(&mut self, max_items: usize) -> Result<Option<Vec<(u64, Record)>>, LogError> {
        let inner = &self.log.inner;
        // Most batches are small, so that there are many.
        let max_items = if inner.random.chance(500) { max_items.min(3) } else { max_items };
        inner.faults.latency(&inner.random, 0).await;
        let (claim, partition, next) = (self.claim, self.partition as usize, self.next);
        let taken: Option<Vec<(u64, Record)>> = inner
            .bell
            .until(|| {
                let state = inner.state.lock();
                if state.claims.get(&claim).is_none_or(|claim| claim.is_told) {
                    return Some(None);
                }
                let records = state.partitions.get(partition)?.iter().enumerate();
                let numbered = records.map(|(offset, record)| (offset as u64, record.clone()));
                let batch: Vec<_> = numbered.skip(usize::try_from(next).ok()?).take(max_items).collect();
                (!batch.is_empty()).then_some(Some(batch))
            })
            .await;
        if let Some((last, _)) = taken.as_ref().and_then(|batch| batch.last()) {
            self.next = last + 1;
            let mut state = inner.state.lock();
            if let Some(holding) = state.holding(self.group, self.partition).filter(|it| it.holder == Some(claim)) {
                holding.taken = self.next;
            }
        }
        inner.faults.runtime.trace(|| {
            let offsets: Option<Vec<u64>> =
                taken.as_ref().map(|batch| batch.iter().map(|(offset, _)| *offset).collect());
            format!("{} {partition} claim {claim} takes {offsets:?}", inner.name)
        });
        Ok(taken)
    }

    /// Commits everything up to and with an offset, unless the partition is another's now.
    pub async fn commit(&mut self, offset: u64) -> Result<(), LogError> {
        let inner = &self.log.inner;
        let fate = inner.faults.fate(&inner.random, inner.faults.mix.log_fail);
        inner.faults.latency(&inner.random, 0).await;
        if fate == Fate::NotDone {
            return Err(unavailable());
        }
        let mut state = inner.state.lock();
        let holding = state.holding(self.group, self.partition);
        if let Some(holding) = holding.filter(|holding| holding.holder == Some(self.claim)) {
            holding.committed = holding.committed.max(offset + 1);
        }
        drop(state);
        if fate == Fate::Done { Ok(()) } else { Err(unavailable()) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.inner.state.lock();
        if state.claims.remove(&self.claim).is_none() {
            return;
        }
        let holding = state.holding(self.group, self.partition);
        if let Some(holding) = holding.filter(|holding| holding.holder == Some(self.claim)) {
            holding.holder = None;
            holding.is_free = true;
        }
        drop(state);
        self.log.inner.bell.ring();
    }
}
