//! Presence in Redis, shared by every process of the role.
//!
//! A gateway that attaches is a new incarnation, and holds a lease by its name. What it registers says of which
//! incarnation it is; what is not of a living one is not there for those who read, and is swept away later. So no
//! step has to reach over several slots. Nothing here is durable: when Redis loses what it had, gateways are told
//! to register again.

mod connection;
mod keys;
mod leases;
mod replies;
mod scripts;
mod signals;
mod upkeep;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, TimeUs, UserId, limits};
use stonechat_proto::v1::Status;
use stonechat_rpc::{Inbox, Presence, StatusUpdate, Target, TargetQuery};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    connection::{Connection, Pushed, unreadable},
    keys::{Keys, Kind, item},
    leases::{Lease, Leases},
    replies::{UserState, pairs},
};
use crate::state::{Channel, User, not_attached};

/// How long a user's status is kept, in seconds.
const STATUS_KEPT_S: u64 = limits::PRESENCE_STATUS_DAYS * 86_400;

/// Which servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone,
    /// A master that sentinels watch over.
    Sentinel {
        /// What they call it.
        master: String,
    },
    /// A Redis Cluster.
    Cluster,
}

/// Where Redis is, and how it is used.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Which servers there are.
    pub topology: Topology,
    /// `host:port` of the server, the sentinels, or some nodes of the cluster.
    pub nodes: Vec<String>,
    /// Talk to them by TLS; `None`: in the clear.
    pub tls: Option<Trust>,
    /// User, which may be empty, and password.
    pub credentials: Option<(String, String)>,
    /// What keys begin with.
    pub prefix: String,
    /// How long what a gateway registered lives without being renewed.
    pub lease: Duration,
    /// How long a call may take.
    pub call_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            topology: Topology::Standalone,
            nodes: vec!["127.0.0.1:6379".to_owned()],
            tls: None,
            credentials: None,
            prefix: "stonechat".to_owned(),
            lease: Duration::from_secs(15),
            call_timeout: Duration::from_secs(1),
        }
    }
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system knows.
    System,
    /// Those that the authorities of this PEM signed, and no others.
    Ca(Vec<u8>),
}

/// A configuration that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}")]
pub struct RedisConfigError(String);

/// Presence in Redis.
pub struct RedisPresence {
    config: RedisConfig,
    clock: Arc<dyn Fn() -> TimeUs + Send + Sync>,
    keys: Keys,
    /// This process, as others tell it of signals.
    instance: String,
    connection: Connection,
    leases: Leases,
    /// Gateways that are attached here.
    inboxes: Mutex<HashMap<GatewayId, Attached>>,
}

#[derive(Clone)]
struct Attached {
    incarnation: Arc<str>,
    inbox: Arc<dyn Inbox>,
}

impl RedisPresence {
    /// Presence in these servers, by this clock. It connects, and connects again, in the future that comes with it,
    /// which ends at shutdown; until then calls are refused as unavailable.
    ///
    /// # Errors
    /// The configuration cannot be.
    pub fn open(
        config: RedisConfig,
        clock: Arc<dyn Fn() -> TimeUs + Send + Sync>,
        shutdown: CancellationToken,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send), RedisConfigError> {
        let made = Connection::new(&config);
        let (connection, pushed): (_, Pushed) = made.map_err(|error| RedisConfigError(error.to_string()))?;
        let presence = Arc::new(Self {
            keys: Keys::new(&config.prefix),
            instance: uuid::Uuid::now_v7().simple().to_string(),
            connection,
            leases: Leases::default(),
            inboxes: Mutex::default(),
            config,
            clock,
        });
        let run = Arc::clone(&presence).run(pushed, shutdown);
        Ok((presence, run))
    }

    /// One while Redis can be reached.
    pub fn ready(&self) -> watch::Receiver<usize> {
        self.connection.open()
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// A gateway's lease, read anew: another process may have attached it.
    async fn lease(&self, gateway: &GatewayId) -> Result<Option<Lease>, Error> {
        let mut get = redis::cmd("GET");
        get.arg(self.keys.lease(gateway));
        let lease = leases::parse(self.connection.run(vec![get]).await?.pop().unwrap_or_default())?;
        if let Some(lease) = &lease {
            self.leases.put(gateway, lease.clone());
        }
        Ok(lease)
    }

    /// Has a gateway's incarnation known for what it registers next, so that it can be taken back.
    async fn note(&self, gateway: &GatewayId, lease: &Lease, kind: Kind, items: &[String]) -> Result<(), Error> {
        let mut add = redis::cmd("SADD");
        add.arg(self.keys.registered(gateway, &lease.incarnation, kind)).arg(items);
        self.connection.run(vec![add]).await.map(|_| ())
    }

    async fn forget(&self, gateway: &GatewayId, lease: &Lease, kind: Kind, items: &[String]) -> Result<(), Error> {
        let mut remove = redis::cmd("SREM");
        remove.arg(self.keys.registered(gateway, &lease.incarnation, kind)).arg(items);
        self.connection.run(vec![remove]).await.map(|_| ())
    }

    /// Adds the gateway to hashes, or takes it out.
    async fn set_in(
        &self,
        gateway: &GatewayId,
        kind: Kind,
        items: Vec<String>,
        hash: impl Fn(&str) -> String,
        is_there: bool,
    ) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let lease = match self.lease(gateway).await? {
            Some(lease) => lease,
            None if is_there => return Err(not_attached()),
            None => return Ok(()),
        };
        for items in items.chunks(limits::PRESENCE_REGISTRATIONS) {
            if is_there {
                self.note(gateway, &lease, kind, items).await?;
            }
            let command = |item: &String| {
                let mut command = redis::cmd(if is_there { "HSET" } else { "HDEL" });
                command.arg(hash(item)).arg(gateway.as_str());
                if is_there {
                    command.arg(&*lease.incarnation);
                }
                command
            };
            self.connection.run(items.iter().map(command).collect()).await?;
            if !is_there {
                self.forget(gateway, &lease, kind, items).await?;
            }
        }
        Ok(())
    }

    /// Takes users' routes by an incarnation out, and tells those who follow.
    async fn leave(&self, gateway: &GatewayId, incarnation: &str, users: &[String]) -> Result<(), Error> {
        let now_us = (self.clock)();
        let leave = |item: &String| {
            scripts::leave(&self.keys.user_of(item), gateway.as_str(), incarnation, now_us, STATUS_KEPT_S)
        };
        let replies = self.connection.run(users.iter().map(leave).collect()).await?;
        self.tell_changes(users, replies).await
    }
}

fn users_of(users: &[User]) -> Vec<String> {
    users.iter().map(|(tenant, user)| item(tenant, user.as_str())).collect()
}

fn channels_of(channels: &[Channel]) -> Vec<String> {
    channels.iter().map(|(tenant, id)| item(tenant, id.as_str())).collect()
}

fn hgetall(key: &str) -> redis::Cmd {
    let mut command = redis::cmd("HGETALL");
    command.arg(key);
    command
}

#[async_trait]
impl Presence for RedisPresence {
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        self.inboxes.lock().remove(gateway);
        let incarnation: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
        let lease = Lease { incarnation: Arc::clone(&incarnation), instance: self.instance.as_str().into() };
        let mut set = redis::cmd("SET");
        set.arg(self.keys.lease(gateway)).arg(lease.to_string()).arg("PX").arg(self.lease_ms());
        self.connection.run(vec![set]).await?;
        // Listed after its lease is there: what has none is swept away.
        self.connection.run(vec![self.list(gateway, &incarnation)]).await?;
        self.leases.put(gateway, lease);
        self.inboxes.lock().insert(gateway.clone(), Attached { incarnation, inbox });
        Ok(())
    }

    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error> {
        let (mut get, mut expire) = (redis::cmd("GET"), redis::cmd("PEXPIRE"));
        get.arg(self.keys.lease(gateway));
        expire.arg(self.keys.lease(gateway)).arg(self.lease_ms());
        let mut replies = self.connection.run(vec![get, expire]).await?.into_iter();
        let lease = leases::parse(replies.next().unwrap_or_default())?;
        let is_renewed = replies.next() == Some(redis::Value::Int(1));
        let Some(lease) = lease.filter(|_| is_renewed) else { return Ok(false) };
        // The list may have been lost where the lease was not.
        let mut commands = vec![self.list(gateway, &lease.incarnation)];
        commands.extend(Kind::ALL.map(|kind| {
            let mut expire = redis::cmd("EXPIRE");
            expire.arg(self.keys.registered(gateway, &lease.incarnation, kind)).arg(leases::REGISTERED_KEPT_S);
            expire
        }));
        self.connection.run(commands).await?;
        Ok(true)
    }

    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error> {
        self.inboxes.lock().remove(gateway);
        let Some(lease) = self.lease(gateway).await? else { return Ok(()) };
        self.leases.remove(gateway);
        self.connection.run(vec![scripts::end(&self.keys.lease(gateway), &lease.to_string())]).await?;
        self.sweep(gateway, &lease.incarnation).await
    }

    async fn add_routes(&self, gateway: &GatewayId, users: &[User]) -> Result<(), Error> {
        let lease = self.lease(gateway).await?.ok_or_else(not_attached)?;
        for users in users_of(users).chunks(limits::PRESENCE_REGISTRATIONS) {
            self.note(gateway, &lease, Kind::Routes, users).await?;
            let join = |item: &String| scripts::join(&self.keys.user_of(item), gateway.as_str(), &lease.incarnation);
            let replies = self.connection.run(users.iter().map(join).collect()).await?;
            self.tell_changes(users, replies).await?;
        }
        Ok(())
    }

    async fn remove_routes(&self, gateway: &GatewayId, users: &[User]) -> Result<(), Error> {
        let Some(lease) = self.lease(gateway).await? else { return Ok(()) };
        for users in users_of(users).chunks(limits::PRESENCE_REGISTRATIONS) {
            self.leave(gateway, &lease.incarnation, users).await?;
            self.forget(gateway, &lease, Kind::Routes, users).await?;
        }
        Ok(())
    }

    async fn add_interest(&self, gateway: &GatewayId, channels: &[Channel]) -> Result<(), Error> {
        self.set_in(gateway, Kind::Interest, channels_of(channels), |item| self.keys.channel_of(item), true).await
    }

    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.set_in(gateway, Kind::Interest, channels_of(channels), |item| self.keys.channel_of(item), false).await
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        let mut commands = Vec::with_capacity(queries.len());
        for query in queries {
            match query {
                TargetQuery::Channel(tenant, id) => commands.push(hgetall(&self.keys.channel(tenant, id))),
                TargetQuery::Users(tenant, users) => {
                    commands.extend(users.iter().map(|user| hgetall(&self.keys.user(tenant, user).routes)));
                }
            }
        }
        let replies = self.connection.run(commands).await?;
        let found = replies.into_iter().map(pairs).collect::<Result<Vec<_>, _>>()?;
        let unknown = self.leases.unknown(found.iter().flatten());
        self.look_up(unknown).await?;
        let mut found = found.into_iter();
        let mut answer = Vec::with_capacity(queries.len());
        for query in queries {
            let mut targets: Vec<Target> = Vec::new();
            match query {
                TargetQuery::Channel(tenant, id) => {
                    let gateways = self.living(found.next().unwrap_or_default(), || self.keys.channel(tenant, id));
                    targets.extend(gateways.into_iter().map(|gateway| Target { gateway, users: Vec::new() }));
                }
                TargetQuery::Users(tenant, users) => {
                    for user in users.iter() {
                        let routes = found.next().unwrap_or_default();
                        for gateway in self.living(routes, || self.keys.user(tenant, user).routes) {
                            match targets.iter_mut().find(|target| target.gateway == gateway) {
                                Some(target) => target.users.push(user.clone()),
                                None => targets.push(Target { gateway, users: vec![user.clone()] }),
                            }
                        }
                    }
                }
            }
            answer.push(targets);
        }
        Ok(answer)
    }

    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error> {
        let mut fields = Vec::new();
        if let Some(away) = update.away {
            fields.push((replies::AWAY, if away { "1" } else { "" }));
        }
        for (field, value) in [(replies::TEXT, &update.text), (replies::EMOJI, &update.emoji)] {
            fields.extend(value.as_deref().map(|value| (field, value)));
        }
        if fields.is_empty() {
            return Ok(());
        }
        let script = scripts::status(&self.keys.user(tenant, user), STATUS_KEPT_S, &fields);
        let replies = self.connection.run(vec![script]).await?;
        self.tell_changes(&[item(tenant, user.as_str())], replies).await
    }

    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<Status>, Error> {
        let mut commands = Vec::with_capacity(users.len() * 2);
        for user in users {
            let keys = self.keys.user(tenant, user);
            commands.extend([hgetall(&keys.routes), hgetall(&keys.status)]);
        }
        let mut found = self.connection.run(commands).await?.into_iter();
        let mut states = Vec::with_capacity(users.len());
        for _ in users {
            let (routes, status) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
            states.push(UserState { routes: pairs(routes)?, status: pairs(status)?, watchers: Vec::new() });
        }
        let unknown = self.leases.unknown(states.iter().flat_map(|state| &state.routes));
        self.look_up(unknown).await?;
        let status = |(user, state): (&UserId, UserState)| state.status(user, |gateway| self.leases.is_living(gateway));
        Ok(users.iter().zip(states).map(status).collect())
    }

    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        let items = users.iter().map(|user| item(tenant, user.as_str())).collect();
        self.set_in(gateway, Kind::Watched, items, |item| self.keys.user_of(item).watchers, true).await
    }

    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        let items = users.iter().map(|user| item(tenant, user.as_str())).collect();
        self.set_in(gateway, Kind::Watched, items, |item| self.keys.user_of(item).watchers, false).await
    }
}
