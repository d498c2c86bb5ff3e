//! Who did what: a row for each operation that changes tenants, keys or settings, whether it was done or refused.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use serde_json::Value;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs, limits, now_us};
use stonechat_proto::internal::v1::AuditRow;
use stonechat_rows::{Put, Rows, RowsError, tables};

use crate::{Caller, Class, Fields, Http, Operation};

/// What was done to every tenant and to none; a blank is in no tenant's id.
const EVERY: &str = " every";
/// The operator as an actor.
const OPERATOR: &str = "operator";
/// Microseconds of one stretch of rows.
const BUCKET_US: i64 = tables::AUDIT_BUCKET_DAYS as i64 * 86_400 * 1_000_000;
/// Entries of one microsecond that are told apart.
const SAME_TIME: u64 = 1_024;
/// Fields that name what something was done to, the most telling first.
const TARGETS: &[&str] = &["key", "user", "endpoint", "conversation", "file", "id"];
/// The longest text that is kept of what a caller sent.
const TEXT_BYTES: usize = 128;

/// The log of what was done.
#[derive(Clone)]
pub struct Audit {
    rows: Arc<dyn Rows>,
}

/// A page of it, the newest first.
#[derive(Debug)]
pub struct AuditPage {
    /// What was done.
    pub entries: Vec<AuditRow>,
    /// Where the next page begins.
    pub next: Option<u64>,
}

/// What is known of an operation before it is done.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    row: AuditRow,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about the audit log");
    Error::unavailable("rows do not answer")
}

/// Whether an operation is written down.
pub(crate) fn is_audited(operation: &Operation) -> bool {
    operation.class == Class::Admin && operation.http != Http::Get
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_BYTES).collect()
}

impl Attempt {
    /// What is about to be done.
    pub fn new(operation: &Operation, caller: &Caller, fields: &Fields, source: &str) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // A new tenant's id is what it is done to.
        let named = text("tenant").or_else(|| (operation.service == "TenantService").then(|| text("id")).flatten());
        let tenant = match caller.tenant_id() {
            Some(tenant) => tenant.to_string(),
            None => named.and_then(|text| TenantId::parse(text).ok()).map(|id| id.to_string()).unwrap_or_default(),
        };
        let row = AuditRow {
            time_us: 0,
            actor: match caller {
                Caller::Operator => OPERATOR.to_owned(),
                Caller::Tenant(_) => "server".to_owned(),
                Caller::User(user) => format!("user {}", user.user),
            },
            key: caller.key_id().map(ToString::to_string).unwrap_or_default(),
            operation: operation.rpc(),
            tenant,
            target: TARGETS.iter().find_map(|name| text(name)).map(short).unwrap_or_default(),
            source: short(source),
            outcome: String::new(),
        };
        Self { row }
    }
}

impl Audit {
    /// The log in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Writes down what became of an attempt. What cannot be written is in the process's log.
    pub(crate) async fn write(&self, attempt: Attempt, outcome: &str) {
        let time_us = now_us();
        let row = AuditRow { time_us, outcome: outcome.to_owned(), ..attempt.row };
        let at = place(time_us) + rand::random_range(0..SAME_TIME);
        let mut of = vec![EVERY];
        if is_tenants_to_see(&row) {
            of.push(&row.tenant);
        }
        let put = |of: &&str| Put {
            key: tables::audit(of, bucket(time_us), at),
            value: row.encode_to_vec().into(),
            version: 1,
            ttl: Some(Duration::from_secs(limits::AUDIT_TTL_S)),
        };
        if let Err(error) = self.rows.write(of.iter().map(put).collect()).await {
            let (operation, actor, key) = (&row.operation, &row.actor, &row.key);
            tracing::error!(%error, operation, actor, key, tenant.id = row.tenant, outcome, "audit entry was not written");
        }
    }

    /// What was done to a tenant, or to all, before a time or from where a page before ended, the newest first.
    pub async fn list(
        &self,
        tenant: Option<&TenantId>,
        before_us: TimeUs,
        from: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        let of = tenant.map_or(EVERY, TenantId::as_str);
        let until = from.unwrap_or_else(|| place(before_us));
        let newest = bucket(i64::try_from(until / SAME_TIME).unwrap_or(0));
        let oldest = newest.saturating_sub(limits::AUDIT_TTL_S / 86_400 / tables::AUDIT_BUCKET_DAYS + 1);
        let (mut entries, mut last) = (Vec::new(), None);
        for at in (oldest..=newest).rev() {
            let range = tables::audit_range(of, at, (at == newest).then_some(until), limit - entries.len());
            for row in self.rows.range(range).await.map_err(unavailable)? {
                last = Some(row.key.number(2));
                entries.push(AuditRow::decode(row.value).map_err(|error| {
                    tracing::error!(%error, "stored audit entry is corrupt");
                    Error::internal()
                })?);
            }
            if entries.len() >= limit {
                return Ok(AuditPage { entries, next: last });
            }
        }
        Ok(AuditPage { entries, next: None })
    }
}

/// Whether an entry stands in the tenant's log as well. What the operator asked of a tenant that is not there, or is to
/// be deleted, leaves nothing under its id.
fn is_tenants_to_see(row: &AuditRow) -> bool {
    let is_gone = row.operation.ends_with("/DeleteTenant")
        || [Code::NotFound, Code::AlreadyExists].iter().any(|code| code.as_str() == row.outcome);
    !row.tenant.is_empty() && (row.actor != OPERATOR || !is_gone)
}

fn bucket(time_us: TimeUs) -> u64 {
    u64::try_from(time_us / BUCKET_US).unwrap_or(0)
}

fn place(time_us: TimeUs) -> u64 {
    u64::try_from(time_us).unwrap_or(0).saturating_mul(SAME_TIME).min(i64::MAX as u64 / 2)
}
