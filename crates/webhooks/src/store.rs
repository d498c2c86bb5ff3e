//! Where webhooks are kept. Rare changes, by compare-and-set; each also counts the tenant's feed up, which tells those
//! who deliver.

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs, limits, now_us};
use stonechat_outbound::{Rules, Target};
use stonechat_proto::internal::v1::{DeliveryRow, FeedRow, LaneRow, ReplayJob, WebhookRow, WebhookSecret};
use stonechat_rows::{Key, Put, Rows, tables};

use crate::{
    SigningKey, event,
    feed::{self, corrupt, unavailable},
};

/// The longest description.
const DESCRIPTION_BYTES: usize = limits::NAME_BYTES;
/// How long the feed of a tenant whose last webhook was deleted is written on.
const REPLAYS: usize = 4;

/// A webhook to be made.
#[derive(Debug, Clone, Default)]
pub struct NewWebhook {
    /// Where deliveries go.
    pub url: String,
    /// The name shown to people.
    pub description: String,
    /// The types of events it gets.
    pub events: Vec<String>,
}

/// What is changed about a webhook.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where deliveries go.
    pub url: Option<String>,
    /// The name shown to people.
    pub description: Option<String>,
    /// The types of events it gets.
    pub events: Option<Vec<String>>,
    /// Whether events are delivered.
    pub enabled: Option<bool>,
}

/// Webhooks in the rows.
#[derive(Clone)]
pub struct Webhooks {
    rows: Arc<dyn Rows>,
}

fn unknown() -> Error {
    Error::not_found("webhook")
}

fn check(rules: &Rules, url: Option<&str>, description: Option<&str>, events: Option<&[String]>) -> Result<(), Error> {
    if let Some(url) = url {
        Target::parse(url, rules).map_err(|error| Error::invalid(error.to_string()))?;
    }
    if description.is_some_and(|text| text.len() > DESCRIPTION_BYTES || text.contains(char::is_control)) {
        return Err(Error::invalid("description is too long or holds control characters"));
    }
    events.map_or(Ok(()), |events| event::check_filter(events).map_err(|why| Error::invalid(format!("events: {why}"))))
}

/// An id that nobody guesses, sortable by time.
fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", stonechat_model::ClientId::generate().to_string().replace('-', ""))
}

impl Webhooks {
    /// The webhooks in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// The rows.
    pub fn rows(&self) -> &Arc<dyn Rows> {
        &self.rows
    }

    /// Makes a webhook that gets what happens from now on.
    pub async fn create(
        &self,
        tenant: &TenantId,
        new: NewWebhook,
        key: &SigningKey,
        rules: &Rules,
    ) -> Result<(String, WebhookRow), Error> {
        check(rules, Some(&new.url), Some(&new.description), Some(&new.events))?;
        if self.list(tenant).await?.len() >= limits::WEBHOOKS {
            return Err(Error::new(Code::LimitExceeded, format!("at most {} webhooks", limits::WEBHOOKS)));
        }
        let (id, now) = (new_id("wh"), now_us());
        // What is in the feed already is not for this one.
        let heads = feed::heads(self.rows.as_ref(), tenant).await?;
        let lanes = heads.into_iter().map(|(partition, position)| {
            let row = LaneRow { position, ..LaneRow::default() };
            lane_put(tenant, &id, partition, &row, now)
        });
        self.rows.write(lanes.collect()).await.map_err(unavailable)?;
        let row = WebhookRow {
            url: new.url,
            description: new.description,
            events: new.events,
            secrets: vec![key.to_row(now)],
            created_us: now,
            ..WebhookRow::default()
        };
        if !self.set(tables::webhook(tenant, &id), row.encode_to_vec(), None).await? {
            return Err(Error::internal());
        }
        self.touch(tenant, |feed| feed.has_webhooks = true).await?;
        Ok((id, row))
    }

    /// A webhook, with its version.
    pub async fn get(&self, tenant: &TenantId, id: &str) -> Result<(WebhookRow, u64), Error> {
        if id.len() > limits::DEVICE_ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(unknown());
        }
        let found = self.rows.get(&[tables::webhook(tenant, id)]).await.map_err(unavailable)?;
        let row = found.into_iter().flatten().next().ok_or_else(unknown)?;
        Ok((WebhookRow::decode(row.value).map_err(corrupt)?, row.version))
    }

    /// A tenant's webhooks, in the order of their ids.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<(String, WebhookRow)>, Error> {
        let found = self.rows.range(tables::webhooks(tenant)).await.map_err(unavailable)?;
        let webhook = |row: stonechat_rows::Row| {
            let id = row.key.text(1).to_owned();
            Ok((id, WebhookRow::decode(row.value).map_err(corrupt)?))
        };
        found.into_iter().map(webhook).collect()
    }

    /// Changes a webhook.
    pub async fn update(
        &self,
        tenant: &TenantId,
        id: &str,
        change: Change,
        rules: &Rules,
    ) -> Result<WebhookRow, Error> {
        check(rules, change.url.as_deref(), change.description.as_deref(), change.events.as_deref())?;
        self.change(tenant, id, |row| {
            if let Some(url) = &change.url {
                row.url.clone_from(url);
            }
            if let Some(description) = &change.description {
                row.description.clone_from(description);
            }
            if let Some(events) = &change.events {
                row.events.clone_from(events);
            }
            if let Some(enabled) = change.enabled {
                row.disabled = !enabled;
                row.disabled_reason.clear();
            }
        })
        .await
    }

    /// Disables a webhook, for a reason that is the server's, unless it has another address than `url` by now: what the
    /// old one answered says nothing of the new. Gives whether it was enabled until then.
    pub async fn disable(&self, tenant: &TenantId, id: &str, url: &str, reason: &str) -> Result<bool, Error> {
        let mut is_changed = false;
        let disable = |row: &mut WebhookRow| {
            is_changed = row.url == url && !row.disabled;
            if is_changed {
                row.disabled = true;
                reason.clone_into(&mut row.disabled_reason);
            }
        };
        self.change(tenant, id, disable).await?;
        Ok(is_changed)
    }

    /// Makes a key the one that signs first; the old ones sign along for `overlap_s`.
    pub async fn rotate(
        &self,
        tenant: &TenantId,
        id: &str,
        key: &SigningKey,
        overlap_s: u64,
    ) -> Result<WebhookRow, Error> {
        let now = now_us();
        self.change(tenant, id, |row| rotate_secrets(&mut row.secrets, key, overlap_s, now)).await
    }

    /// Asks for the events of a time to be delivered again; gives the id of the replay.
    pub async fn replay(&self, tenant: &TenantId, id: &str, since_us: i64, until_us: i64) -> Result<String, Error> {
        let job = ReplayJob { id: new_id("rp"), since_us, until_us, created_us: now_us() };
        let name = job.id.clone();
        let day_us = 86_400 * 1_000_000;
        let (row, _) = self.get(tenant, id).await?;
        let running = row.replays.iter().filter(|replay| replay.created_us + day_us > job.created_us).count();
        if running >= REPLAYS {
            return Err(Error::new(Code::LimitExceeded, format!("at most {REPLAYS} replays in a day")));
        }
        self.change(tenant, id, |row| {
            row.replays.insert(0, job.clone());
            row.replays.truncate(REPLAYS);
        })
        .await?;
        Ok(name)
    }

    /// Deletes a webhook.
    pub async fn delete(&self, tenant: &TenantId, id: &str) -> Result<(), Error> {
        let (row, _) = self.get(tenant, id).await?;
        self.rows.delete(&[tables::webhook(tenant, id)]).await.map_err(unavailable)?;
        self.purge(tenant, id, &row).await?;
        let is_last = self.list(tenant).await?.is_empty();
        self.touch(tenant, |feed| feed.has_webhooks = !is_last).await
    }

    /// Deletes what there is of a webhook beside its row.
    async fn purge(&self, tenant: &TenantId, id: &str, row: &WebhookRow) -> Result<(), Error> {
        let lanes = row.replays.iter().map(|job| format!("{id}~{}", job.id)).chain([id.to_owned()]);
        for lane in lanes {
            let partition = vec![tenant.shared().into(), lane.as_str().into()];
            self.rows.delete_partition(&tables::WEBHOOK_LANES, partition).await.map_err(unavailable)?;
        }
        let now = now_us();
        let oldest = now - i64::try_from(limits::DELIVERY_TTL_S * 1_000_000).unwrap_or(i64::MAX);
        for bucket in tables::delivery_bucket(oldest)..=tables::delivery_bucket(now) {
            let partition = vec![tenant.shared().into(), id.into(), bucket.into()];
            self.rows.delete_partition(&tables::DELIVERIES, partition).await.map_err(unavailable)?;
        }
        let partition = vec![tenant.shared().into(), id.into()];
        self.rows.delete_partition(&tables::DEAD_LETTERS, partition).await.map_err(unavailable)
    }

    /// Deletes everything of a tenant's feed and webhooks.
    pub async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), Error> {
        // Without its row a feed is not written any more.
        self.rows.delete(&[tables::feed(tenant)]).await.map_err(unavailable)?;
        for (id, row) in self.list(tenant).await? {
            self.rows.delete(&[tables::webhook(tenant, &id)]).await.map_err(unavailable)?;
            self.purge(tenant, &id, &row).await?;
        }
        for (partition, _) in feed::heads(self.rows.as_ref(), tenant).await? {
            let parts = vec![tenant.shared().into(), u64::from(partition).into()];
            self.rows.delete_partition(&tables::FEED, parts).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Says that somebody pulls a tenant's events, until then at least.
    pub async fn pulled(&self, tenant: &TenantId, until_us: TimeUs) -> Result<(), Error> {
        self.touch(tenant, |feed| feed.pulled_until_us = feed.pulled_until_us.max(until_us)).await
    }

    async fn change(
        &self,
        tenant: &TenantId,
        id: &str,
        mut change: impl FnMut(&mut WebhookRow),
    ) -> Result<WebhookRow, Error> {
        loop {
            let (mut row, version) = self.get(tenant, id).await?;
            change(&mut row);
            if self.set(tables::webhook(tenant, id), row.encode_to_vec(), Some(version)).await? {
                self.touch(tenant, |_| {}).await?;
                return Ok(row);
            }
        }
    }

    /// Counts the tenant's feed up.
    /// Has a tenant's feed kept for who pulls it; gives since when it has been kept without a gap.
    pub(crate) async fn keep_feed(&self, tenant: &TenantId, now_us: TimeUs) -> Result<TimeUs, Error> {
        let kept_us = i64::try_from(limits::FEED_TTL_S * 1_000_000).unwrap_or(i64::MAX);
        let state = || feed::state(self.rows.as_ref(), std::slice::from_ref(tenant));
        let is_asked = |feed: &FeedRow| feed.pulled_until_us > now_us + kept_us / 2;
        if let Some((feed, _)) = state().await?.into_iter().flatten().next().filter(|(feed, _)| is_asked(feed)) {
            return Ok(feed.kept_since_us);
        }
        self.touch(tenant, |feed| feed.pulled_until_us = feed.pulled_until_us.max(now_us + kept_us)).await?;
        let feed = state().await?.into_iter().flatten().next();
        Ok(feed.map_or(now_us, |(feed, _)| feed.kept_since_us))
    }

    async fn touch(&self, tenant: &TenantId, change: impl Fn(&mut FeedRow)) -> Result<(), Error> {
        loop {
            let found = feed::state(self.rows.as_ref(), std::slice::from_ref(tenant)).await?;
            let (mut feed, version) = match found.into_iter().flatten().next() {
                Some((feed, version)) => (feed, Some(version)),
                None => (FeedRow::default(), None),
            };
            let was_kept = feed::is_kept(&feed, now_us());
            change(&mut feed);
            if !was_kept && feed::is_kept(&feed, now_us()) {
                feed.kept_since_us = now_us();
            }
            if self.set(tables::feed(tenant), feed.encode_to_vec(), version).await? {
                return Ok(());
            }
        }
    }

    async fn set(&self, key: Key, value: Vec<u8>, expected: Option<u64>) -> Result<bool, Error> {
        let put = Put { key, value: value.into(), version: expected.unwrap_or(0) + 1, ttl: None };
        self.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }
}

/// Puts a key before the others, which go on signing for `overlap_s` at most.
pub(crate) fn rotate_secrets(secrets: &mut Vec<WebhookSecret>, key: &SigningKey, overlap_s: u64, now: TimeUs) {
    let overlap_s = overlap_s.min(limits::WEBHOOK_SECRET_OVERLAP_S);
    let until = now.saturating_add(i64::try_from(overlap_s * 1_000_000).unwrap_or(i64::MAX));
    for secret in secrets.iter_mut() {
        let is_sooner = secret.expires_us != 0 && secret.expires_us < until;
        secret.expires_us = if is_sooner { secret.expires_us } else { until };
    }
    secrets.retain(|secret| secret.expires_us > now);
    secrets.insert(0, key.to_row(now));
    secrets.truncate(limits::WEBHOOK_SECRETS);
}

/// The put of how far a webhook is in a partition.
pub fn lane_put(tenant: &TenantId, lane: &str, partition: u32, row: &LaneRow, now_us: TimeUs) -> Put {
    let version = u64::try_from(now_us).unwrap_or(0);
    Put { key: tables::webhook_lane(tenant, lane, partition), value: row.encode_to_vec().into(), version, ttl: None }
}

/// The put of an attempt in the log of deliveries.
pub fn delivery_put(tenant: &TenantId, webhook: &str, row: &DeliveryRow) -> Put {
    let id = format!("{}.{}", row.message_id, row.attempt);
    let key = tables::delivery(tenant, webhook, row.time_us, &id);
    let ttl = Some(std::time::Duration::from_secs(limits::DELIVERY_TTL_S));
    Put { key, value: row.encode_to_vec().into(), version: 0, ttl }
}
