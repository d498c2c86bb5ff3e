//! Writes: in steps, and within a step with few requests: what the same nodes have is written together.

use std::collections::{HashMap, hash_map::Entry};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::{
    statement::batch::{Batch, BatchType},
    value::CqlValue,
};
use stonechat_model::now_us;

use super::{
    Store, failed,
    replicas::Replicas,
    values::{part_value, version_value},
};
use crate::{Key, KeyPart, Put, RowsError, Table, tables};

/// Bytes of one batch; Cassandra refuses batches of 50 KiB.
const BATCH_BYTES: usize = 16 * 1024;
/// Bytes of a row beside its value, about.
const ROW_BYTES: usize = 128;
/// Partitions of one batch; Cassandra warns of more than ten.
const PARTITIONS_AT_ONCE: usize = 8;

/// When a put is written: events and what settles whether they were decided, what derives from them, heads.
fn step(put: &Put) -> usize {
    let is = |table| std::ptr::eq(put.key.table, table);
    if is(&tables::EVENTS) || is(&tables::CLIENT_IDS) {
        0
    } else if is(&tables::HEADS) {
        2
    } else {
        1
    }
}

/// Without those of a key that another one replaces: the greater version wins, the later of equal ones.
fn without_replaced(puts: Vec<Put>) -> Vec<Put> {
    let mut kept: Vec<Put> = Vec::with_capacity(puts.len());
    let mut places: HashMap<Key, usize> = HashMap::with_capacity(puts.len());
    for put in puts {
        match places.entry(put.key.clone()) {
            Entry::Occupied(place) => {
                let before = &mut kept[*place.get()];
                if put.version >= before.version {
                    *before = put;
                }
            }
            Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(put);
            }
        }
    }
    kept
}

fn bytes(put: &Put) -> usize {
    put.value.len() + ROW_BYTES
}

/// Puts of one partition, as many as fit into a request.
fn by_partition(puts: Vec<Put>) -> Vec<Vec<Put>> {
    let mut groups: Vec<(Vec<Put>, usize)> = Vec::new();
    let mut open: HashMap<(&'static str, Vec<KeyPart>), usize> = HashMap::new();
    for put in puts {
        let bytes = bytes(&put);
        let partition = (put.key.table.name, put.key.partition().to_vec());
        let place = open.get(&partition).copied().filter(|place| groups[*place].1 + bytes <= BATCH_BYTES);
        match place {
            Some(place) => {
                groups[place].0.push(put);
                groups[place].1 += bytes;
            }
            None => {
                open.insert(partition, groups.len());
                groups.push((vec![put], bytes));
            }
        }
    }
    groups.into_iter().map(|(puts, _)| puts).collect()
}

/// Groups of puts that the same nodes have, as many as fit into a request.
fn by_replicas(groups: Vec<Vec<Put>>, replicas: Vec<Replicas>) -> Vec<Vec<Put>> {
    struct Request {
        puts: Vec<Put>,
        bytes: usize,
        partitions: usize,
    }
    let mut requests: Vec<Request> = Vec::new();
    let mut open: HashMap<Replicas, usize> = HashMap::new();
    for (mut puts, nodes) in groups.into_iter().zip(replicas) {
        let bytes = puts.iter().map(bytes).sum::<usize>();
        let fits = |request: &Request| request.bytes + bytes <= BATCH_BYTES && request.partitions < PARTITIONS_AT_ONCE;
        match open.get(&nodes).map(|place| &mut requests[*place]).filter(|request| fits(request)) {
            Some(request) => {
                request.puts.append(&mut puts);
                request.bytes += bytes;
                request.partitions += 1;
            }
            None => {
                open.insert(nodes, requests.len());
                requests.push(Request { puts, bytes, partitions: 1 });
            }
        }
    }
    requests.into_iter().map(|request| request.puts).collect()
}

fn values(put: &Put) -> Result<Vec<CqlValue>, RowsError> {
    let mut values = Vec::with_capacity(put.key.parts.len() + 4);
    for part in &put.key.parts {
        values.push(part_value(part)?);
    }
    let version = version_value(put.version)?;
    values.push(CqlValue::Blob(put.value.to_vec()));
    values.push(version.clone());
    values.push(version);
    if put.key.table.expires {
        values.push(ttl_value(put));
    }
    Ok(values)
}

/// How long a row lives, in seconds; 0: for good. One more, since the node counts from the beginning of its present
/// second.
pub(super) fn ttl_value(put: &Put) -> CqlValue {
    let seconds = put.ttl.map_or(0, |ttl| ttl.as_secs().saturating_add(1));
    CqlValue::Int(i32::try_from(seconds).unwrap_or(i32::MAX))
}

impl Store {
    pub(super) async fn write_all(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        let now_us = u64::try_from(now_us()).unwrap_or(0);
        for put in &puts {
            put.check()?;
            // ScyllaDB refuses timestamps of the future, and a deletion could not come after them.
            if put.version >= now_us {
                let reason = format!("version {} is beyond the present time in microseconds", put.version);
                return Err(RowsError::BadRequest(reason));
            }
        }
        let mut steps: [Vec<Put>; 3] = Default::default();
        for put in without_replaced(puts) {
            steps[step(&put)].push(put);
        }
        for puts in steps {
            let writes = stream::iter(self.requests(puts).await?.into_iter().map(|puts| self.write_some(puts)));
            writes.buffer_unordered(self.at_once).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    /// What is written with one request each.
    async fn requests(&self, puts: Vec<Put>) -> Result<Vec<Vec<Put>>, RowsError> {
        let groups = by_partition(puts);
        if groups.len() < 2 {
            return Ok(groups);
        }
        let firsts = groups.iter().filter_map(|puts| puts.first()).map(|put| &put.key);
        let replicas = self.replicas_of(firsts).await?;
        Ok(by_replicas(groups, replicas))
    }

    /// Writes puts that the same nodes have with one request.
    async fn write_some(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        if let [put] = puts.as_slice() {
            let statement = self.statements(put.key.table)?.put(&self.session).await?;
            return self.execute(statement, values(put)?).await.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        let mut rows = Vec::with_capacity(puts.len());
        for put in &puts {
            batch.append_statement(self.statements(put.key.table)?.put(&self.session).await?.clone());
            rows.push(values(put)?);
        }
        let _permit = self.requests.acquire().await.map_err(failed)?;
        self.session.batch(&batch, rows).await.map_err(failed)?;
        Ok(())
    }

    pub(super) async fn delete_whole(&self, table: &'static Table, partition: &[KeyPart]) -> Result<(), RowsError> {
        let timestamp = CqlValue::BigInt(now_us());
        let values = std::iter::once(Ok(timestamp)).chain(partition.iter().map(part_value));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let statement = self.statements(table)?.delete_partition(&self.session).await?;
        self.execute(statement, values).await.map(drop)
    }

    pub(super) async fn delete_all(&self, keys: &[Key]) -> Result<(), RowsError> {
        for key in keys {
            key.check()?;
        }
        // Above every version, which are below the present time.
        let timestamp = CqlValue::BigInt(now_us());
        let delete = |key: &Key| {
            let values = std::iter::once(Ok(timestamp.clone())).chain(key.parts.iter().map(part_value));
            let values = values.collect::<Result<Vec<_>, _>>();
            let table = key.table;
            async move {
                let statement = self.statements(table)?.delete(&self.session).await?;
                self.execute(statement, values?).await.map(drop)
            }
        };
        let deletes = stream::iter(keys.iter().map(delete));
        deletes.buffer_unordered(self.at_once).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stonechat_model::{LogId, LogKey, TenantId, UserId, limits};

    use super::*;

    fn log() -> LogKey {
        LogKey { tenant: TenantId::parse("t").unwrap(), log: LogId::User(UserId::parse("u").unwrap()) }
    }

    fn put(key: Key, version: u64, value: &'static [u8]) -> Put {
        Put { key, value: value.into(), version, ttl: None }
    }

    #[test]
    fn of_one_key_the_greater_version_is_written_and_the_later_of_equal_ones() {
        let (one, two) = (tables::event(&log(), 1), tables::event(&log(), 2));
        let kept = without_replaced(vec![
            put(one.clone(), 5, b"old"),
            put(two.clone(), 5, b"first"),
            put(one.clone(), 7, b"new"),
            put(two.clone(), 5, b"second"),
            put(one, 6, b"late"),
        ]);
        let values: Vec<&[u8]> = kept.iter().map(|put| put.value.as_ref()).collect();
        assert_eq!(values, [b"new".as_ref(), b"second".as_ref()]);
    }

    #[test]
    fn requests_are_of_one_partition_and_not_too_large() {
        static LARGE: [u8; BATCH_BYTES / 2] = [0; BATCH_BYTES / 2];
        let puts = (1..=6).map(|seq| put(tables::event(&log(), seq), 1, &LARGE));
        let puts = puts.chain([put(tables::event(&log(), 5_000), 1, b"x"), put(tables::event(&log(), 5_001), 1, b"y")]);
        let sizes: Vec<usize> = by_partition(puts.collect()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn what_the_same_nodes_have_goes_together_unless_it_is_too_much() {
        static LARGE: [u8; BATCH_BYTES - 2 * ROW_BYTES] = [0; BATCH_BYTES - 2 * ROW_BYTES];
        let group = |number: u64, value| vec![put(tables::event(&log(), number * limits::EVENTS_PER_BUCKET), 1, value)];
        let nodes = |ids: &[u128]| ids.iter().copied().collect::<Replicas>();
        let sizes = |groups: Vec<(Vec<Put>, Replicas)>| {
            let (groups, replicas) = groups.into_iter().unzip();
            by_replicas(groups, replicas).iter().map(Vec::len).collect::<Vec<_>>()
        };
        let apart =
            [(group(0, b"x"), nodes(&[1, 2])), (group(1, b"x"), nodes(&[1, 3])), (group(2, b"x"), nodes(&[1, 2]))];
        assert_eq!(sizes(apart.into()), [2, 1]);
        let many = (0..=PARTITIONS_AT_ONCE as u64).map(|number| (group(number, b"x"), nodes(&[1])));
        assert_eq!(sizes(many.collect()), [PARTITIONS_AT_ONCE, 1]);
        let large = (0..3).map(|number| (group(number, &LARGE), nodes(&[1])));
        assert_eq!(sizes(large.collect()), [1, 1, 1]);
    }

    #[test]
    fn heads_come_last() {
        let (event, head) = (put(tables::event(&log(), 1), 1, b""), put(tables::head(&log()), 1, b""));
        assert!(step(&event) < step(&head));
        assert!(step(&put(tables::client_id(&log(), "", stonechat_model::ClientId::from_name(b"x")), 1, b"")) == 0);
    }
}
