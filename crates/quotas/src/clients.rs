//! What a gateway holds its tenants' clients to.

use std::sync::Arc;

use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs, UserId};
use stonechat_rows::Rows;

use crate::{Budget, Connections, Meter, OpenConnection, Quotas, Rates, Seats};

/// The quotas of tenants' clients, in one process that shares them with others.
pub struct Clients {
    rates: Rates,
    connections: Arc<Connections>,
    seats: Seats,
    meter: Arc<Meter>,
    /// Processes that share connections and sends, this one among them.
    processes: u32,
}

impl Clients {
    /// Nobody connected yet.
    pub fn new(rows: Arc<dyn Rows>, meter: Arc<Meter>, processes: u32) -> Self {
        Self { rates: Rates::default(), connections: Arc::default(), seats: Seats::new(rows), meter, processes }
    }

    /// Opens a connection; an error where the tenant has as many as it may.
    pub fn connect(&self, tenant: &TenantId, quotas: Quotas, now_us: TimeUs) -> Result<OpenConnection, Error> {
        let opened = self.connections.open(tenant, quotas.share(self.processes).connections);
        self.meter.count(tenant, now_us, |used| match &opened {
            Some(opened) => used.connections = used.connections.max(opened.open),
            None => used.refused += 1,
        });
        opened.ok_or_else(|| Error::new(Code::RateLimited, "the tenant has as many connections as it may"))
    }

    /// Takes a message from the tenant's budget.
    pub fn send(&self, tenant: &TenantId, quotas: Quotas, now_us: TimeUs) -> Result<(), Error> {
        let per_s = quotas.share(self.processes).sends_per_s;
        let budget = Budget { name: "send", subject: tenant.to_string(), per_s, burst: per_s.saturating_mul(2) };
        let (_, taken) = self.rates.take(std::slice::from_ref(&budget), now_us);
        self.meter.count(tenant, now_us, |used| match &taken {
            Ok(()) => used.sends += 1,
            Err(_) => used.refused += 1,
        });
        taken
    }

    /// Makes sure that a user has a seat, before a profile of theirs is written.
    pub async fn seat(&self, tenant: &TenantId, user: &UserId, quotas: Quotas) -> Result<(), Error> {
        self.seats.take(tenant, user, quotas.users).await
    }
}
