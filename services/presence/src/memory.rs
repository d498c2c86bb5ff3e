//! The embedded presence service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, TimeUs, UserId, limits};
use stonechat_proto::v1::{Signal, Status, signal};
use stonechat_rpc::{Audience, Inbox, Presence, SignalDelivery, StatusUpdate, Target, TargetQuery};

use crate::state::{Change, Channel, State, User};

/// How presence behaves.
#[derive(Debug, Clone)]
pub struct PresenceConfig {
    /// How long a gateway's registrations live without renewal.
    pub lease: Duration,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15) }
    }
}

/// Presence in this process's memory.
pub struct MemoryPresence {
    config: PresenceConfig,
    clock: Arc<dyn Fn() -> TimeUs + Send + Sync>,
    state: RwLock<State>,
    inboxes: Mutex<HashMap<GatewayId, Arc<dyn Inbox>>>,
}

fn of(tenant: &TenantId, users: &[UserId]) -> Vec<User> {
    users.iter().map(|user| (tenant.clone(), user.clone())).collect()
}

impl MemoryPresence {
    /// Presence that knows nobody yet, by this clock.
    pub fn new(config: PresenceConfig, clock: Arc<dyn Fn() -> TimeUs + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { config, clock, state: RwLock::default(), inboxes: Mutex::default() })
    }

    fn lease_until_us(&self) -> TimeUs {
        (self.clock)() + i64::try_from(self.config.lease.as_micros()).unwrap_or(i64::MAX / 2)
    }

    /// Takes out gateways whose leases lapsed. To be called every so often.
    pub fn expire(&self) {
        let now_us = (self.clock)();
        let changes = {
            let mut state = self.state.write();
            state.forget_long_gone(limits::PRESENCE_USERS);
            state.expire(now_us)
        };
        self.tell(changes);
        let state = self.state.read();
        self.inboxes.lock().retain(|gateway, _| state.knows(gateway));
    }

    /// Forgets everything, as a restart would.
    pub fn forget_everything(&self) {
        *self.state.write() = State::default();
        self.inboxes.lock().clear();
    }

    fn tell(&self, changes: Vec<Change>) {
        for ((tenant, user), status, gateways) in changes {
            let kind = Some(signal::Kind::Status(status));
            let signal = Signal { conversation: String::new(), user: user.to_string(), kind };
            for gateway in gateways {
                let Some(inbox) = self.inboxes.lock().get(&gateway).cloned() else { continue };
                let audience = Audience::Users(Vec::new());
                inbox.signal(SignalDelivery { tenant: tenant.clone(), signal: signal.clone(), audience });
            }
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        self.inboxes.lock().insert(gateway.clone(), inbox);
        let changes = self.state.write().attach(gateway, self.lease_until_us(), (self.clock)());
        self.tell(changes);
        Ok(())
    }

    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error> {
        Ok(self.state.write().renew(gateway, self.lease_until_us()))
    }

    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error> {
        let changes = self.state.write().detach(gateway, (self.clock)());
        self.inboxes.lock().remove(gateway);
        self.tell(changes);
        Ok(())
    }

    async fn add_routes(&self, gateway: &GatewayId, users: &[User]) -> Result<(), Error> {
        let changes = self.state.write().add_routes(gateway, users)?;
        self.tell(changes);
        Ok(())
    }

    async fn remove_routes(&self, gateway: &GatewayId, users: &[User]) -> Result<(), Error> {
        let changes = self.state.write().remove_routes(gateway, users, (self.clock)());
        self.tell(changes);
        Ok(())
    }

    async fn add_interest(&self, gateway: &GatewayId, channels: &[Channel]) -> Result<(), Error> {
        self.state.write().add_interest(gateway, channels)
    }

    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.state.write().remove_interest(gateway, channels);
        Ok(())
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        let state = self.state.read();
        Ok(queries.iter().map(|query| state.targets(query)).collect())
    }

    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error> {
        let change = self.state.write().set_status(&(tenant.clone(), user.clone()), update);
        self.tell(change.into_iter().collect());
        Ok(())
    }

    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<Status>, Error> {
        let state = self.state.read();
        Ok(of(tenant, users).iter().map(|user| state.status(user)).collect())
    }

    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.state.write().watch(gateway, &of(tenant, users))
    }

    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.state.write().unwatch(gateway, &of(tenant, users));
        Ok(())
    }
}
