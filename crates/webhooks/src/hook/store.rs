//! Where hooks are kept. Rare changes, by compare-and-set.

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{TenantId, limits, now_us};
use stonechat_outbound::{Rules, Target};
use stonechat_proto::internal::v1::SendHookRow;
use stonechat_rows::{Put, tables};

use super::Hooks;
use crate::{
    SigningKey,
    feed::{corrupt, unavailable},
    store::rotate_secrets,
};

/// How long an answer may take unless the tenant says something else.
const TIMEOUT_MS: u32 = 1_000;

/// A hook as a tenant wants it.
#[derive(Debug, Clone, Default)]
pub struct NewSendHook {
    /// Where messages are asked for.
    pub url: String,
    /// How long an answer may take, in milliseconds; 0: the default.
    pub timeout_ms: u32,
    /// Whether a message is sent where there is no answer.
    pub fail_open: bool,
    /// Whether messages of the tenant's own servers pass it too.
    pub server_messages: bool,
}

fn unknown() -> Error {
    Error::not_found("send_hook")
}

impl Hooks {
    /// Sets a tenant's hook. One that is there keeps its secrets; gives whether it was made, and so signs with `key`.
    pub async fn set(
        &self,
        tenant: &TenantId,
        new: &NewSendHook,
        key: &SigningKey,
        rules: &Rules,
    ) -> Result<(SendHookRow, bool), Error> {
        Target::parse(&new.url, rules).map_err(|error| Error::invalid(error.to_string()))?;
        let timeout_ms = if new.timeout_ms == 0 { TIMEOUT_MS } else { new.timeout_ms };
        if u64::from(timeout_ms) > limits::HOOK_TIMEOUT_MS {
            return Err(Error::invalid(format!("timeout_ms is at most {}", limits::HOOK_TIMEOUT_MS)));
        }
        loop {
            let found = self.read(tenant).await?;
            let version = found.as_ref().map(|(_, version)| *version);
            let present = found.map(|(row, _)| row).filter(|row| !row.deleted);
            let is_new = present.is_none();
            let now = now_us();
            let kept = present.unwrap_or_else(|| SendHookRow {
                secrets: vec![key.to_row(now)],
                created_us: now,
                ..SendHookRow::default()
            });
            let row = SendHookRow {
                url: new.url.clone(),
                timeout_ms,
                fail_open: new.fail_open,
                server_messages: new.server_messages,
                ..kept
            };
            if self.put(tenant, &row, version).await? {
                return Ok((row, is_new));
            }
        }
    }

    /// A tenant's hook.
    pub async fn get(&self, tenant: &TenantId) -> Result<SendHookRow, Error> {
        let (row, _) = self.read(tenant).await?.ok_or_else(unknown)?;
        if row.deleted { Err(unknown()) } else { Ok(row) }
    }

    /// Deletes a tenant's hook.
    pub async fn delete(&self, tenant: &TenantId) -> Result<(), Error> {
        self.change(tenant, |row| *row = SendHookRow { deleted: true, ..SendHookRow::default() }).await.map(drop)
    }

    /// Makes a key the one that signs first; the old ones sign along for `overlap_s`.
    pub async fn rotate(&self, tenant: &TenantId, key: &SigningKey, overlap_s: u64) -> Result<SendHookRow, Error> {
        let now = now_us();
        self.change(tenant, |row| rotate_secrets(&mut row.secrets, key, overlap_s, now)).await
    }

    async fn change(&self, tenant: &TenantId, change: impl Fn(&mut SendHookRow)) -> Result<SendHookRow, Error> {
        loop {
            let (mut row, version) = self.read(tenant).await?.ok_or_else(unknown)?;
            if row.deleted {
                return Err(unknown());
            }
            change(&mut row);
            if self.put(tenant, &row, Some(version)).await? {
                return Ok(row);
            }
        }
    }

    async fn put(&self, tenant: &TenantId, row: &SendHookRow, expected: Option<u64>) -> Result<bool, Error> {
        let (key, value) = (tables::send_hook(tenant), row.encode_to_vec().into());
        let put = Put { key, value, version: expected.unwrap_or(0) + 1, ttl: None };
        let is_written = self.rows.compare_and_set(put, expected).await.map_err(unavailable)?;
        if is_written {
            self.forget(tenant);
        }
        Ok(is_written)
    }

    /// What is kept of a tenant's hook, deleted or not, with its version.
    pub(super) async fn read(&self, tenant: &TenantId) -> Result<Option<(SendHookRow, u64)>, Error> {
        let found = self.rows.get(&[tables::send_hook(tenant)]).await.map_err(unavailable)?;
        let decode = |row: stonechat_rows::Row| Ok((SendHookRow::decode(row.value).map_err(corrupt)?, row.version));
        found.into_iter().flatten().next().map(decode).transpose()
    }
}
