//! What this process knows of tenants' webhooks, kept alike with the rows by the versions of their feeds.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::RwLock;
use stonechat_errors::Error;
use stonechat_model::{TenantId, limits, now_us};
use stonechat_proto::internal::v1::WebhookRow;
use stonechat_rows::tables;
use stonechat_webhooks::{Webhooks, feed};
use tokio::sync::Notify;

/// A webhook, as lanes know it.
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// What is kept of it.
    pub row: WebhookRow,
    /// Until when its receiver wants to be left alone; shared by its lanes in this process.
    pub pause_us: Arc<AtomicI64>,
}

/// A tenant's webhooks.
pub struct Known {
    /// The version of the tenant's feed by which they were read.
    version: u64,
    /// The webhooks, by their ids.
    pub webhooks: HashMap<String, Arc<Webhook>>,
}

/// Tenants with feeds.
pub struct Directory {
    webhooks: Webhooks,
    known: RwLock<HashMap<TenantId, Arc<Known>>>,
    changed: Notify,
}

impl Directory {
    /// One that knows nobody yet.
    pub fn new(webhooks: Webhooks) -> Self {
        Self { webhooks, known: RwLock::default(), changed: Notify::new() }
    }

    /// Where webhooks are kept.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// What is known of a tenant.
    pub fn of(&self, tenant: &TenantId) -> Option<Arc<Known>> {
        self.known.read().get(tenant).cloned()
    }

    /// A webhook.
    pub fn webhook(&self, tenant: &TenantId, id: &str) -> Option<Arc<Webhook>> {
        self.of(tenant)?.webhooks.get(id).cloned()
    }

    /// Every tenant that is known.
    pub fn tenants(&self) -> Vec<(TenantId, Arc<Known>)> {
        self.known.read().iter().map(|(tenant, known)| (tenant.clone(), Arc::clone(known))).collect()
    }

    /// Waits until something changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks what the rows say of these tenants; gives those whose feed is written. One read where nothing changed.
    pub async fn look_up(&self, tenants: Vec<TenantId>) -> Result<Vec<TenantId>, Error> {
        let found = feed::state(self.webhooks.rows().as_ref(), &tenants).await?;
        let now = now_us();
        let mut kept = Vec::new();
        for (tenant, state) in tenants.into_iter().zip(found) {
            let Some((feed, version)) = state else { continue };
            self.learn(&tenant, version).await?;
            if feed::is_kept(&feed, now) {
                kept.push(tenant);
            }
        }
        Ok(kept)
    }

    /// Looks at every feed.
    pub async fn refresh(&self) -> Result<(), Error> {
        let mut from: Option<String> = None;
        loop {
            let range = tables::feeds(from.as_deref(), limits::RANGE_ROWS);
            let rows =
                self.webhooks.rows().range(range).await.map_err(|error| Error::unavailable(error.to_string()))?;
            let is_last = rows.len() < limits::RANGE_ROWS;
            for row in rows {
                let Ok(tenant) = TenantId::parse(row.key.text(1)) else { continue };
                // The page after begins with the last one of this.
                from = Some(tenant.to_string());
                self.learn(&tenant, row.version).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn learn(&self, tenant: &TenantId, version: u64) -> Result<(), Error> {
        let before = self.of(tenant);
        if before.as_ref().is_some_and(|known| known.version == version) {
            return Ok(());
        }
        let rows = self.webhooks.list(tenant).await?;
        let pause_of = |id: &str| {
            let known = before.as_ref().and_then(|known| known.webhooks.get(id));
            known.map_or_else(|| Arc::new(AtomicI64::new(0)), |webhook| Arc::clone(&webhook.pause_us))
        };
        let webhook = |(id, row): (String, WebhookRow)| {
            let pause_us = pause_of(&id);
            (id.clone(), Arc::new(Webhook { id, row, pause_us }))
        };
        let webhooks = rows.into_iter().map(webhook).collect();
        let mut all = self.known.write();
        // Whoever read earlier may come here later.
        if all.get(tenant).is_none_or(|known| known.version < version) {
            all.insert(tenant.clone(), Arc::new(Known { version, webhooks }));
        }
        drop(all);
        self.changed.notify_waiters();
        Ok(())
    }
}

impl Webhook {
    /// Until when its receiver wants to be left alone.
    pub fn paused_until_us(&self) -> i64 {
        self.pause_us.load(Ordering::Relaxed)
    }

    /// Its receiver wants to be left alone until then.
    pub fn pause_until(&self, us: i64) {
        self.pause_us.fetch_max(us, Ordering::Relaxed);
    }
}
