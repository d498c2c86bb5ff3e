//! What tenants used, day by day.
//!
//! Every process gathers in memory and writes its own row of a tenant's day now and then; a reader adds the rows up.
//! What was gathered since the last writing is lost with a process that is killed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{TenantId, TimeUs, limits};
use stonechat_proto::internal::v1::UsageRow;
use stonechat_rows::{Put, Rows, RowsError, tables};

const DAY_US: i64 = 86_400 * 1_000_000;

/// What a tenant used on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayUsage {
    /// API requests that were let in.
    pub api_requests: u64,
    /// Requests and connections that were refused because of a rate or quota.
    pub refused: u64,
    /// Messages that were sent.
    pub sends: u64,
    /// The most connections that were open at once, summed over the processes' own greatest.
    pub connections: u64,
}

/// The day of a time, in days since 1970.
pub fn today(now_us: TimeUs) -> u64 {
    u64::try_from(now_us / DAY_US).unwrap_or(0)
}

/// Gathers what tenants use in this process.
pub struct Meter {
    rows: Arc<dyn Rows>,
    /// The process, which has a row of its own.
    process: String,
    days: Mutex<HashMap<(TenantId, u64), Counted>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    usage: DayUsage,
    /// How it stood when it was last written.
    written: DayUsage,
}

impl Meter {
    /// A meter of this process, under a name that no other start of a process has.
    pub fn new(rows: Arc<dyn Rows>, process: &str) -> Self {
        Self { rows, process: process.to_owned(), days: Mutex::default() }
    }

    /// Adds to a tenant's day.
    pub fn count(&self, tenant: &TenantId, now_us: TimeUs, add: impl FnOnce(&mut DayUsage)) {
        let mut days = self.days.lock();
        if let Some(counted) = days.get_mut(&(tenant.clone(), today(now_us))) {
            add(&mut counted.usage);
        } else if days.len() < limits::USAGE_TENANTS {
            let mut counted = Counted::default();
            add(&mut counted.usage);
            days.insert((tenant.clone(), today(now_us)), counted);
        }
    }

    /// Writes what changed, and forgets days that are over.
    pub async fn flush(&self, now_us: TimeUs) -> Result<(), RowsError> {
        let changed: Vec<((TenantId, u64), DayUsage)> = {
            let days = self.days.lock();
            let changed = days.iter().filter(|(_, counted)| counted.usage != counted.written);
            changed.map(|(key, counted)| (key.clone(), counted.usage)).collect()
        };
        let version = u64::try_from(now_us).unwrap_or(0);
        let put = |((tenant, day), usage): &((TenantId, u64), DayUsage)| Put {
            key: tables::usage(tenant, *day, &self.process),
            value: to_row(usage).encode_to_vec().into(),
            version,
            ttl: Some(std::time::Duration::from_secs(limits::USAGE_TTL_S)),
        };
        if !changed.is_empty() {
            self.rows.write(changed.iter().map(put).collect()).await?;
        }
        let mut days = self.days.lock();
        for (key, usage) in changed {
            if let Some(counted) = days.get_mut(&key) {
                counted.written = usage;
            }
        }
        days.retain(|(_, day), counted| *day >= today(now_us) || counted.usage != counted.written);
        Ok(())
    }
}

fn to_row(usage: &DayUsage) -> UsageRow {
    let DayUsage { api_requests, refused, sends, connections } = *usage;
    UsageRow { api_requests, refused, sends, connections }
}

/// A tenant's days `from..=until`, oldest first, of all processes together; days without use are not there.
pub async fn days(
    rows: &Arc<dyn Rows>,
    tenant: &TenantId,
    from: u64,
    until: u64,
) -> Result<Vec<(u64, DayUsage)>, Error> {
    let mut found: Vec<(u64, DayUsage)> = Vec::new();
    let listed = rows.range(tables::usage_range(tenant, from, until)).await.map_err(|error| {
        tracing::warn!(%error, "rows did not answer about usage");
        Error::unavailable("rows do not answer")
    })?;
    for row in listed {
        let day = tables::usage_day(&row.key);
        let used = UsageRow::decode(row.value).map_err(|error| {
            tracing::error!(%error, "stored usage is corrupt");
            Error::internal()
        })?;
        if found.last().is_none_or(|(last, _)| *last != day) {
            found.push((day, DayUsage::default()));
        }
        if let Some((_, sum)) = found.last_mut() {
            sum.api_requests += used.api_requests;
            sum.refused += used.refused;
            sum.sends += used.sends;
            sum.connections += used.connections;
        }
    }
    Ok(found)
}
