//! Which gateways live, as it was seen a moment ago.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use redis::{FromRedisValue, Value};
use stonechat_errors::Error;
use stonechat_model::{GatewayId, limits};

use super::{RedisPresence, replies::Registration, unreadable};

/// How long the list of what a gateway registered is kept without renewal, in seconds: longer than any sweep is late.
pub(super) const REGISTERED_KEPT_S: u64 = 86_400;

/// A gateway's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub incarnation: Arc<str>,
    /// The process of presence that tells it of signals.
    pub instance: Arc<str>,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.incarnation, self.instance)
    }
}

/// Reads a lease; nothing where there is none.
pub(super) fn parse(value: Value) -> Result<Option<Lease>, Error> {
    let text = Option::<String>::from_redis_value(value).map_err(|error| unreadable(&error))?;
    let Some(text) = text else { return Ok(None) };
    let (incarnation, instance) = text.split_once('/').ok_or_else(|| unreadable(&"a lease of another form"))?;
    Ok(Some(Lease { incarnation: incarnation.into(), instance: instance.into() }))
}

/// What is left of a gateway that is gone, found by a reader.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Leftover {
    pub hash: String,
    pub gateway: String,
    pub incarnation: String,
}

/// The leases that are known here.
#[derive(Default)]
pub(super) struct Leases {
    known: RwLock<HashMap<String, Lease>>,
    leftovers: Mutex<HashSet<Leftover>>,
}

impl Leases {
    pub fn put(&self, gateway: &GatewayId, lease: Lease) {
        self.known.write().insert(gateway.to_string(), lease);
    }

    pub fn remove(&self, gateway: &GatewayId) {
        self.known.write().remove(gateway.as_str());
    }

    /// Takes what was read for all that lives. A gateway that is missed is looked up when it is met.
    pub fn replace(&self, leases: HashMap<String, Lease>) {
        *self.known.write() = leases;
    }

    /// The gateways of registrations that are not known to live.
    pub fn unknown<'a>(&self, registrations: impl Iterator<Item = &'a Registration>) -> Vec<GatewayId> {
        let unknown: HashSet<&String> = registrations.filter(|it| !self.is_living(it)).map(|(name, _)| name).collect();
        unknown.into_iter().filter_map(|name| GatewayId::parse(name).ok()).collect()
    }

    pub fn is_living(&self, (gateway, incarnation): &Registration) -> bool {
        self.known.read().get(gateway).is_some_and(|lease| *lease.incarnation == **incarnation)
    }

    /// Where a registration's gateway is told of signals, if it lives.
    pub fn instance_of(&self, (gateway, incarnation): &Registration) -> Option<Arc<str>> {
        let known = self.known.read();
        known.get(gateway).filter(|lease| *lease.incarnation == **incarnation).map(|lease| Arc::clone(&lease.instance))
    }

    fn leave(&self, leftover: Leftover) {
        let mut leftovers = self.leftovers.lock();
        if leftovers.len() < limits::REDIS_PIPELINE {
            leftovers.insert(leftover);
        }
    }

    pub fn take_leftovers(&self) -> Vec<Leftover> {
        self.leftovers.lock().drain().collect()
    }
}

impl RedisPresence {
    /// Looks up gateways.
    pub(super) async fn look_up(&self, gateways: Vec<GatewayId>) -> Result<(), Error> {
        let get = |gateway: &GatewayId| {
            let mut get = redis::cmd("GET");
            get.arg(self.keys.lease(gateway));
            get
        };
        let values = self.connection.run(gateways.iter().map(get).collect()).await?;
        for (gateway, value) in gateways.iter().zip(values) {
            match parse(value)? {
                Some(lease) => self.leases.put(gateway, lease),
                None => self.leases.remove(gateway),
            }
        }
        Ok(())
    }

    /// The gateways that live, after they were looked up; what is left of others in the hash is noted.
    pub(super) fn living(&self, registrations: Vec<Registration>, hash: impl Fn() -> String) -> Vec<GatewayId> {
        let mut living = Vec::with_capacity(registrations.len());
        for registration in registrations {
            match GatewayId::parse(&registration.0) {
                Ok(gateway) if self.leases.is_living(&registration) => living.push(gateway),
                _ => {
                    let (gateway, incarnation) = registration;
                    self.leases.leave(Leftover { hash: hash(), gateway, incarnation });
                }
            }
        }
        living
    }
}
