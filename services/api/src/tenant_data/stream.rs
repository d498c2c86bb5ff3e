//! The event stream where the rows hold it: its records hold what events say for days. Where it is on Kafka these
//! tables are empty, and a topic forgets by its retention.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{CounterRow, StreamRecord},
    v1::Event,
};
use stonechat_rows::{Key, Put, Row, Rows, tables};

use super::{decode, unavailable};

/// The counter of partitions that hold or held records.
const PARTITIONS: &str = "stream-partitions";
/// Records that are read at once.
const PAGE: usize = 500;
/// The version of a record that was written again; they are written first with 0.
const BLANK_VERSION: u64 = 1;

/// Has the records say what the events say now: nothing, where a user was erased. Consumers still find them in their
/// places.
pub(super) async fn blank_user(rows: &Arc<dyn Rows>, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
    let own_log = LogId::User(user.clone());
    let mut records = Records::open(rows).await?;
    while let Some(page) = records.next().await? {
        let of_tenant = page.into_iter().filter_map(|row| {
            let record = StreamRecord::decode(row.value).ok().filter(|record| record.tenant == tenant.as_str())?;
            let log = LogKey { tenant: tenant.clone(), log: LogId::parse(&record.log).ok()? };
            let seq = record.event.as_ref()?.seq;
            Some((row.key, record, log, seq))
        });
        let of_tenant: Vec<(Key, StreamRecord, LogKey, u64)> = of_tenant.collect();
        let keys: Vec<Key> = of_tenant.iter().map(|(_, _, log, seq)| tables::event(log, *seq)).collect();
        let stored = rows.get(&keys).await.map_err(unavailable)?;
        let mut puts = Vec::new();
        for ((key, record, log, seq), row) in of_tenant.into_iter().zip(stored) {
            let now = match row.as_ref().map(decode::<Event>).transpose()? {
                Some(event) if log.log != own_log => Some(event),
                _ if log.log == own_log => Some(Event { seq, ..Event::default() }),
                _ => None,
            };
            if now.is_some() && now != record.event {
                let value: Bytes = StreamRecord { event: now, ..record }.encode_to_vec().into();
                let ttl = Some(Duration::from_secs(limits::STREAM_TTL_S));
                puts.push(Put { key, value, version: BLANK_VERSION, ttl });
            }
        }
        rows.write(puts).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Deletes the records of a tenant; consumers pass over their places.
pub(super) async fn delete_tenant(rows: &Arc<dyn Rows>, tenant: &TenantId) -> Result<(), Error> {
    let mut records = Records::open(rows).await?;
    while let Some(page) = records.next().await? {
        let is_of =
            |row: &Row| StreamRecord::decode(row.value.clone()).is_ok_and(|record| record.tenant == tenant.as_str());
        let keys: Vec<Key> = page.into_iter().filter(is_of).map(|row| row.key).collect();
        rows.delete(&keys).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Every record, page by page.
struct Records<'a> {
    rows: &'a Arc<dyn Rows>,
    partitions: u32,
    partition: u32,
    from: u64,
}

impl<'a> Records<'a> {
    async fn open(rows: &'a Arc<dyn Rows>) -> Result<Self, Error> {
        let counter = rows.get(&[tables::counter(PARTITIONS)]).await.map_err(unavailable)?.pop().flatten();
        let partitions = counter.as_ref().map(decode::<CounterRow>).transpose()?.map_or(0, |counter| counter.value);
        Ok(Self { rows, partitions: u32::try_from(partitions).unwrap_or(u32::MAX), partition: 0, from: 0 })
    }

    async fn next(&mut self) -> Result<Option<Vec<Row>>, Error> {
        while self.partition < self.partitions {
            let range = tables::stream_range(self.partition, self.from, false, PAGE);
            let page = self.rows.range(range).await.map_err(unavailable)?;
            if let Some(last) = page.last() {
                self.from = last.key.number(1) + 1;
                return Ok(Some(page));
            }
            self.partition += 1;
            self.from = 0;
        }
        Ok(None)
    }
}
