//! Reads of keys, with few requests: keys of one partition are read together, and keys that differ in the last column
//! of their partition only, as heads of several logs do, where the same nodes have them.

use std::{collections::HashMap, hash::Hash};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::value::{CqlValue, Row as CqlRow};

use super::{
    Store,
    replicas::{Near, Replicas},
    values::{found, key_part, part_value, range_row},
};
use crate::{Key, KeyPart, Row, RowsError};

/// Keys of one partition that are read with one request.
const KEYS_AT_ONCE: usize = 100;
/// Partitions that are read with one request: the node that is asked reads them all beside its other work.
const PARTITIONS_AT_ONCE: usize = 32;

/// One request, by the places of its keys among all.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    /// One key, which may have been asked for several times.
    One(Vec<usize>),
    /// Keys of one partition.
    Within(Vec<usize>),
    /// Keys that differ in the last column of their partition.
    Across(Vec<usize>),
}

/// Items by what they have in common, in the order of their first ones.
fn grouped<K: Hash + Eq, T>(items: impl Iterator<Item = (K, T)>) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for (key, item) in items {
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(item);
    }
    groups
}

/// The requests that need no other key beside them, and the places of the keys that are alone in their partition.
fn by_partition(keys: &[Key]) -> (Vec<Read>, Vec<usize>) {
    let (mut reads, mut alone) = (Vec::new(), Vec::new());
    let of_partition = keys.iter().enumerate().map(|(place, key)| ((key.table.name, key.partition()), place));
    for places in grouped(of_partition) {
        match keys[places[0]].clustering().len() {
            _ if places.len() == 1 => alone.extend(places),
            0 => reads.push(Read::One(places)),
            1 => reads.extend(places.chunks(KEYS_AT_ONCE).map(|some| Read::Within(some.to_vec()))),
            _ => reads.extend(places.into_iter().map(|place| Read::One(vec![place]))),
        }
    }
    (reads, alone)
}

/// The requests for keys that are alone in their partitions, of which these nodes have the rows.
fn across_partitions(keys: &[Key], alone: &[usize], replicas: &[Replicas]) -> Vec<Read> {
    let in_common = alone.iter().zip(replicas).map(|(&place, nodes)| {
        let key = &keys[place];
        let others = key.partition().split_last().map_or(&[][..], |(_, others)| others);
        ((key.table.name, others, key.clustering(), nodes), place)
    });
    let mut reads = Vec::new();
    for places in grouped(in_common) {
        reads.extend(places.chunks(PARTITIONS_AT_ONCE).map(|some| match some {
            [place] => Read::One(vec![*place]),
            _ => Read::Across(some.to_vec()),
        }));
    }
    reads
}

impl Store {
    pub(super) async fn get_all(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        for key in keys {
            key.check()?;
        }
        let (mut reads, alone) = by_partition(keys);
        if alone.len() > 1 {
            let replicas = self.replicas_of(alone.iter().map(|place| &keys[*place])).await?;
            reads.extend(across_partitions(keys, &alone, &replicas));
        } else {
            reads.extend(alone.into_iter().map(|place| Read::One(vec![place])));
        }
        let mut rows = vec![None; keys.len()];
        let mut reads =
            stream::iter(reads.into_iter().map(|read| self.read(keys, read))).buffer_unordered(self.at_once);
        while let Some(placed) = reads.try_next().await? {
            for (place, row) in placed {
                rows[place] = Some(row);
            }
        }
        Ok(rows)
    }

    /// The rows of a request that there are, with the places of their keys.
    async fn read(&self, keys: &[Key], read: Read) -> Result<Vec<(usize, Row)>, RowsError> {
        let (places, rows) = match read {
            Read::One(places) => {
                let row = self.get_one(&keys[places[0]]).await?;
                return Ok(row.map_or_else(Vec::new, |row| places.iter().map(|place| (*place, row.clone())).collect()));
            }
            Read::Within(places) => {
                let rows = self.get_within(&keys[places[0]], places.iter().map(|place| &keys[*place])).await?;
                (places, rows)
            }
            Read::Across(places) => {
                let rows = self.get_across(&keys[places[0]], places.iter().map(|place| &keys[*place])).await?;
                (places, rows)
            }
        };
        let rows: HashMap<&Key, &Row> = rows.iter().map(|row| (&row.key, row)).collect();
        let row = |place: usize| rows.get(&keys[place]).map(|row| (place, Row::clone(row)));
        Ok(places.into_iter().filter_map(row).collect())
    }

    pub(super) async fn get_one(&self, key: &Key) -> Result<Option<Row>, RowsError> {
        let statement = self.statements(key.table)?.get(&self.session).await?;
        let values = key.parts.iter().map(part_value).collect::<Result<_, _>>()?;
        let row = self.execute(statement, values).await?.into_iter().next();
        row.map(|row| found(key.clone(), row.columns)).transpose()
    }

    /// Reads keys of the partition of the first.
    async fn get_within(&self, first: &Key, keys: impl Iterator<Item = &Key>) -> Result<Vec<Row>, RowsError> {
        let statement = self.statements(first.table)?.get_some(&self.session).await?;
        let mut values: Vec<CqlValue> = first.partition().iter().map(part_value).collect::<Result<_, _>>()?;
        let parts = keys.flat_map(Key::clustering).map(part_value);
        values.push(CqlValue::List(parts.collect::<Result<_, _>>()?));
        let rows = self.execute(statement, values).await?;
        rows.into_iter().map(|row| range_row(first.table, first.partition(), row.columns)).collect()
    }

    /// Reads keys that differ from the first in the last column of their partition only, of one of the nodes that have it.
    async fn get_across(&self, first: &Key, keys: impl Iterator<Item = &Key>) -> Result<Vec<Row>, RowsError> {
        let last = first.table.partition.len().saturating_sub(1);
        let mut statement = self.statements(first.table)?.get_across(&self.session).await?.clone();
        if let Some(token) = self.token_of(first).await? {
            statement.set_load_balancing_policy(Some(Near::new(&self.policy, token)));
        }
        let mut values: Vec<CqlValue> = first.parts.iter().map(part_value).collect::<Result<_, _>>()?;
        let parts = keys.filter_map(|key| key.parts.get(last)).map(part_value);
        values[last] = CqlValue::List(parts.collect::<Result<_, _>>()?);
        let row = |mut row: CqlRow| {
            let part: KeyPart = key_part(first.table, last, row.columns.drain(..1).next().flatten())?;
            let mut key = first.clone();
            key.parts[last] = part;
            found(key, row.columns)
        };
        self.execute(&statement, values).await?.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;
    use stonechat_model::{ClientId, ConversationId, LogId, LogKey, TenantId, UserId};

    use super::*;
    use crate::tables;

    fn tenant() -> TenantId {
        TenantId::parse("t").unwrap()
    }

    fn log(id: &str) -> LogKey {
        LogKey { tenant: tenant(), log: LogId::parse(id).unwrap() }
    }

    fn member(conversation: &str, user: &str) -> Key {
        tables::member(&tenant(), &ConversationId::parse(conversation).unwrap(), &UserId::parse(user).unwrap())
    }

    /// The requests for these keys, of which all nodes have all rows.
    fn reads(keys: &[Key]) -> Vec<Read> {
        let (mut reads, alone) = by_partition(keys);
        let replicas: Vec<Replicas> = alone.iter().map(|_| smallvec![1]).collect();
        reads.extend(across_partitions(keys, &alone, &replicas));
        reads.sort_unstable();
        reads
    }

    #[test]
    fn keys_of_a_partition_and_keys_of_alike_partitions_are_read_together() {
        let keys = [
            tables::head(&log("a")),
            member("a", "x"),
            tables::head(&log("b")),
            member("b", "x"),
            member("c", "x"),
            member("c", "y"),
        ];
        assert_eq!(reads(&keys), [Read::Within(vec![4, 5]), Read::Across(vec![0, 2]), Read::Across(vec![1, 3])]);
    }

    #[test]
    fn keys_that_differ_elsewhere_are_read_alone() {
        let id = ClientId::from_name(b"x");
        let keys = [
            tables::client_id(&log("a"), "x", id),
            tables::client_id(&log("b"), "x", id),
            tables::client_id(&log("a"), "y", id),
            member("a", "x"),
            member("b", "y"),
        ];
        assert_eq!(reads(&keys), (0..5).map(|place| Read::One(vec![place])).collect::<Vec<_>>());
        let again = [tables::head(&log("a")), tables::head(&log("a"))];
        assert_eq!(reads(&again), [Read::One(vec![0, 1])]);
    }

    #[test]
    fn a_request_is_of_the_same_nodes_and_of_so_many_partitions() {
        let keys: Vec<Key> = (0..=PARTITIONS_AT_ONCE + 1).map(|n| tables::head(&log(&format!("c{n}")))).collect();
        let (_, alone) = by_partition(&keys);
        let replicas: Vec<Replicas> = alone.iter().map(|place| smallvec![u128::from(*place == 1)]).collect();
        let reads = across_partitions(&keys, &alone, &replicas);
        let first = (0..=PARTITIONS_AT_ONCE).filter(|place| *place != 1).collect();
        assert_eq!(reads, [Read::Across(first), Read::One(vec![PARTITIONS_AT_ONCE + 1]), Read::One(vec![1])]);
    }
}
