//! A tenant's feed: what happened, as places of events, in the order of the partitions of the event stream.
//!
//! The consumer of the event stream writes it; webhooks and who pulls events read it. An entry's key is the position
//! of its command, so what the stream repeats is written over itself, and a reader that goes by position sees it once.

use bytes::Bytes;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{LogId, LogKey, TenantId, limits};
use stonechat_proto::{
    internal::v1::{FeedEntryRow, FeedHeadRow, FeedRow, StreamRecord},
    v1::{ConversationKind, Event},
};
use stonechat_rows::{Put, Rows, RowsError, tables};

use crate::event;

/// An entry of a feed.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in its partition; grows.
    pub position: u64,
    /// What it says.
    pub row: FeedEntryRow,
}

pub(crate) fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about webhooks");
    Error::unavailable("rows do not answer")
}

pub(crate) fn corrupt(error: impl std::fmt::Display) -> Error {
    tracing::error!(%error, "stored row of a webhook is corrupt");
    Error::internal()
}

/// A tenant's feed as it is kept, with its version; `None` where the tenant has none.
pub async fn state(rows: &dyn Rows, tenants: &[TenantId]) -> Result<Vec<Option<(FeedRow, u64)>>, Error> {
    let keys: Vec<_> = tenants.iter().map(tables::feed).collect();
    let found = rows.get(&keys).await.map_err(unavailable)?;
    let decode = |row: Option<stonechat_rows::Row>| {
        row.map(|row| Ok((FeedRow::decode(row.value).map_err(corrupt)?, row.version))).transpose()
    };
    found.into_iter().map(decode).collect()
}

/// Whether a feed is written.
pub fn is_kept(feed: &FeedRow, now_us: i64) -> bool {
    feed.has_webhooks || feed.pulled_until_us > now_us
}

/// The entry that a record of the event stream leads to; `None` where it is nobody's business.
pub fn entry_of(record: &StreamRecord) -> Option<FeedEntryRow> {
    // What an import brought in happened long ago: nobody is told.
    let happened = record.event.as_ref().filter(|event| !event.imported)?;
    Some(FeedEntryRow {
        log: record.log.clone(),
        kind: record.kind,
        seq: happened.seq,
        r#type: event::type_of(happened)?.to_owned(),
        time_us: happened.time_us,
    })
}

/// The put of an entry.
pub fn entry_put(tenant: &TenantId, partition: u32, position: u64, row: &FeedEntryRow) -> Put {
    let ttl = Some(std::time::Duration::from_secs(limits::FEED_TTL_S));
    let key = tables::feed_entry(tenant, partition, position);
    Put { key, value: row.encode_to_vec().into(), version: position, ttl }
}

/// The put that says that a feed is written up to a position; to be written after the entries.
pub fn head_put(tenant: &TenantId, partition: u32, position: u64) -> Put {
    let value = FeedHeadRow { position }.encode_to_vec().into();
    Put { key: tables::feed_head(tenant, partition), value, version: position, ttl: None }
}

/// Up to where each partition of a feed is written.
pub async fn heads(rows: &dyn Rows, tenant: &TenantId) -> Result<Vec<(u32, u64)>, Error> {
    let found = rows.range(tables::feed_heads(tenant)).await.map_err(unavailable)?;
    Ok(found.into_iter().filter_map(|row| Some((u32::try_from(row.key.number(1)).ok()?, row.version))).collect())
}

/// Up to where a partition of a feed is written; 0 where it is empty.
pub async fn head(rows: &dyn Rows, tenant: &TenantId, partition: u32) -> Result<u64, Error> {
    let found = rows.get(&[tables::feed_head(tenant, partition)]).await.map_err(unavailable)?;
    Ok(found.into_iter().flatten().next().map_or(0, |row| row.version))
}

/// Entries after a position, up to another.
pub async fn entries(
    rows: &dyn Rows,
    tenant: &TenantId,
    partition: u32,
    after: u64,
    up_to: u64,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let range = tables::feed_entries(tenant, partition, after, up_to, limit.min(limits::RANGE_ROWS));
    let found = rows.range(range).await.map_err(unavailable)?;
    let entry = |row: stonechat_rows::Row| {
        Ok(Entry { position: row.key.number(2), row: FeedEntryRow::decode(row.value).map_err(corrupt)? })
    };
    found.into_iter().map(entry).collect()
}

/// An event as webhooks tell it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The id of its deliveries.
    pub message_id: String,
    /// Its type.
    pub kind: &'static str,
    /// The body of its deliveries.
    pub body: Bytes,
    /// When it happened.
    pub time_us: i64,
}

/// Reads events and makes their bodies; `None` for those that are not there any more.
pub async fn tell(rows: &dyn Rows, tenant: &TenantId, wanted: &[(&str, i32, u64)]) -> Result<Vec<Option<Told>>, Error> {
    let mut logs = Vec::with_capacity(wanted.len());
    for (log, ..) in wanted {
        logs.push(LogKey { tenant: tenant.clone(), log: LogId::parse(log).map_err(corrupt)? });
    }
    let keys: Vec<_> = logs.iter().zip(wanted).map(|(log, (_, _, seq))| tables::event(log, *seq)).collect();
    let found = rows.get(&keys).await.map_err(unavailable)?;
    let told = found.into_iter().zip(&logs).zip(wanted).map(|((row, log), (_, kind, seq))| {
        let Some(row) = row else { return Ok(None) };
        let event = Event::decode(row.value).map_err(corrupt)?;
        let kind = ConversationKind::try_from(*kind).unwrap_or_default();
        let made = event::body(log, kind, &event);
        let message_id = event::message_id(log, *seq);
        Ok(made.map(|(kind, body)| Told { message_id, kind, body, time_us: event.time_us }))
    });
    told.collect()
}
