//! Presence that fails, and forgets everything as an emptied Redis does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};
use stonechat_proto::v1;
use stonechat_rpc::{Audience, Inbox, Presence, SignalDelivery, StatusUpdate, Target, TargetQuery};

use crate::{
    faults::{Fate, Faults},
    random::Random,
};

/// How long a gateway that does not renew is believed.
pub const LEASE_US: i64 = 15_000_000;

struct Known {
    inbox: Arc<dyn Inbox>,
    lease_until_us: i64,
    users: BTreeSet<(TenantId, UserId)>,
    channels: BTreeSet<(TenantId, ConversationId)>,
    watched: BTreeSet<(TenantId, UserId)>,
}

#[derive(Default)]
struct State {
    gateways: BTreeMap<GatewayId, Known>,
    statuses: BTreeMap<(TenantId, UserId), v1::Status>,
}

/// The simulated presence. Clones are the same one.
#[derive(Clone)]
pub struct SimPresence {
    state: Arc<Mutex<State>>,
    faults: Faults,
    random: Random,
}

fn unavailable() -> Error {
    Error::unavailable("presence is simulated to fail")
}

impl SimPresence {
    /// Nobody is there.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self { state: Arc::default(), faults, random: Random::new(seed, "presence") }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.state.lock());
        drop(forgotten);
    }

    /// Does something with what is known, or fails before or after it.
    async fn call<T>(&self, work: impl FnOnce(&mut State) -> T + Send) -> Result<T, Error> {
        let fate = self.faults.fate(&self.random, self.faults.mix.presence_fail);
        self.faults.latency(&self.random, 0).await;
        if fate == Fate::NotDone {
            return Err(unavailable());
        }
        let now_us = self.faults.runtime.now_us();
        let (answer, lapsed) = {
            let mut state = self.state.lock();
            let lapsed: Vec<GatewayId> = {
                let all = state.gateways.iter();
                all.filter(|(_, known)| known.lease_until_us < now_us).map(|(id, _)| id.clone()).collect()
            };
            let lapsed: Vec<_> = lapsed.iter().map(|id| state.gateways.remove(id)).collect();
            (work(&mut state), lapsed)
        };
        drop(lapsed);
        if self.random.chance(300) {
            self.faults.latency(&self.random, 0).await;
        }
        if fate == Fate::Done { Ok(answer) } else { Err(unavailable()) }
    }

    async fn of_gateway(&self, gateway: &GatewayId, work: impl FnOnce(&mut Known) + Send) -> Result<(), Error> {
        // What an unknown gateway registers is lost: its lease tells it.
        self.call(|state| state.gateways.get_mut(gateway).map_or((), work)).await
    }
}

fn targets(state: &State, query: &TargetQuery) -> Vec<Target> {
    let found = state.gateways.iter().filter_map(|(gateway, known)| {
        let users = match query {
            TargetQuery::Users(tenant, users) => {
                let here = |user: &&UserId| known.users.contains(&(tenant.clone(), (*user).clone()));
                let users: Vec<UserId> = users.iter().filter(here).cloned().collect();
                if users.is_empty() {
                    return None;
                }
                users
            }
            TargetQuery::Channel(tenant, channel) => {
                if !known.channels.contains(&(tenant.clone(), channel.clone())) {
                    return None;
                }
                Vec::new()
            }
        };
        Some(Target { gateway: gateway.clone(), users })
    });
    found.collect()
}

#[async_trait]
impl Presence for SimPresence {
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        let lease_until_us = self.faults.runtime.now_us() + LEASE_US;
        let known = Known {
            inbox,
            lease_until_us,
            users: BTreeSet::new(),
            channels: BTreeSet::new(),
            watched: BTreeSet::new(),
        };
        self.call(|state| drop(state.gateways.insert(gateway.clone(), known))).await
    }

    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error> {
        let until_us = self.faults.runtime.now_us() + LEASE_US;
        self.call(|state| state.gateways.get_mut(gateway).map(|known| known.lease_until_us = until_us).is_some()).await
    }

    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error> {
        self.call(|state| drop(state.gateways.remove(gateway))).await
    }

    async fn add_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.of_gateway(gateway, |known| known.users.extend(users.iter().cloned())).await
    }

    async fn remove_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.of_gateway(gateway, |known| known.users.retain(|user| !users.contains(user))).await
    }

    async fn add_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.of_gateway(gateway, |known| known.channels.extend(channels.iter().cloned())).await
    }

    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.of_gateway(gateway, |known| known.channels.retain(|channel| !channels.contains(channel))).await
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        self.call(|state| queries.iter().map(|query| targets(state, query)).collect()).await
    }

    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error> {
        let key = (tenant.clone(), user.clone());
        let (status, inboxes) = self
            .call(|state| {
                let status = state.statuses.entry(key.clone()).or_default();
                status.user = user.to_string();
                if let Some(away) = update.away {
                    let availability = if away { v1::Availability::Away } else { v1::Availability::Online };
                    status.set_availability(availability);
                }
                status.text = update.text.unwrap_or_else(|| status.text.clone());
                status.emoji = update.emoji.unwrap_or_else(|| status.emoji.clone());
                let status = status.clone();
                let watching = state.gateways.values().filter(|known| known.watched.contains(&key));
                (status, watching.map(|known| Arc::clone(&known.inbox)).collect::<Vec<_>>())
            })
            .await?;
        for inbox in inboxes {
            let signal = v1::Signal {
                user: user.to_string(),
                kind: Some(v1::signal::Kind::Status(status.clone())),
                ..v1::Signal::default()
            };
            let audience = Audience::Users(Vec::new());
            inbox.signal(SignalDelivery { tenant: tenant.clone(), signal, audience });
        }
        Ok(())
    }

    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<v1::Status>, Error> {
        self.call(|state| {
            let status = |user: &UserId| {
                let known = state.statuses.get(&(tenant.clone(), user.clone())).cloned();
                known.unwrap_or_else(|| v1::Status { user: user.to_string(), ..v1::Status::default() })
            };
            users.iter().map(status).collect()
        })
        .await
    }

    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        let keys = users.iter().map(|user| (tenant.clone(), user.clone()));
        self.of_gateway(gateway, |known| known.watched.extend(keys)).await
    }

    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.of_gateway(gateway, |known| known.watched.retain(|(t, user)| t != tenant || !users.contains(user))).await
    }
}
