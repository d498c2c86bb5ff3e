//! Writes: in steps, and within a step as few requests as there are partitions.

use std::collections::{HashMap, hash_map::Entry};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::{
    statement::batch::{Batch, BatchType},
    value::CqlValue,
};
use stonechat_model::now_us;

use super::{
    Store, failed,
    values::{part_value, version_value},
};
use crate::{Key, KeyPart, Put, RowsError, Table, tables};

/// Bytes of one batch; Cassandra refuses batches of 50 KiB.
const BATCH_BYTES: usize = 16 * 1024;
/// Bytes of a row beside its value, about.
const ROW_BYTES: usize = 128;

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

/// Puts of one partition that are written with one request.
fn requests(puts: Vec<Put>) -> Vec<Vec<Put>> {
    let mut requests: Vec<(Vec<Put>, usize)> = Vec::new();
    let mut open: HashMap<(&'static str, Vec<KeyPart>), usize> = HashMap::new();
    for put in puts {
        let bytes = put.value.len() + ROW_BYTES;
        let partition = (put.key.table.name, put.key.partition().to_vec());
        let place = open.get(&partition).copied().filter(|place| requests[*place].1 + bytes <= BATCH_BYTES);
        match place {
            Some(place) => {
                requests[place].0.push(put);
                requests[place].1 += bytes;
            }
            None => {
                open.insert(partition, requests.len());
                requests.push((vec![put], bytes));
            }
        }
    }
    requests.into_iter().map(|(puts, _)| puts).collect()
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
            let writes = stream::iter(requests(puts).into_iter().map(|puts| self.write_some(puts)));
            writes.buffer_unordered(self.at_once).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    /// Writes puts of one partition with one request.
    async fn write_some(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        let Some(first) = puts.first() else { return Ok(()) };
        let statement = self.statements(first.key.table)?.put(&self.session).await?;
        if puts.len() == 1 {
            return self.execute(statement, values(first)?).await.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        let mut rows = Vec::with_capacity(puts.len());
        for put in &puts {
            batch.append_statement(statement.clone());
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
    use stonechat_model::{LogId, LogKey, TenantId, UserId};

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
        let sizes: Vec<usize> = requests(puts.collect()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn heads_come_last() {
        let (event, head) = (put(tables::event(&log(), 1), 1, b""), put(tables::head(&log()), 1, b""));
        assert!(step(&event) < step(&head));
        assert!(step(&put(tables::client_id(&log(), "", stonechat_model::ClientId::from_name(b"x")), 1, b"")) == 0);
    }
}
