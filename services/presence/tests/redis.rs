//! Presence in a real Redis, standalone and as a cluster, passes the suite of every backend through two processes
//! that share it, and heals when Redis loses what it had.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use stonechat_backends::{
    certificate::Certificate,
    redis::{MASTER, Redis},
    server::until,
};
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId, now_us};
use stonechat_presence::{
    conformance::{Heard, Subject},
    redis::{RedisConfig, RedisPresence, Topology, Trust},
};
use stonechat_rpc::{Inbox, Presence, TargetQuery};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two processes of presence, as it were.
struct Shared {
    redis: &'static Redis,
    prefix: String,
    instances: Vec<Arc<RedisPresence>>,
    _end: DropGuard,
}

impl Shared {
    async fn open(redis: &'static Redis, topology: Topology) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let config = RedisConfig { topology, nodes: redis.addresses(), prefix: prefix.clone(), ..patient() };
        let end = CancellationToken::new();
        let mut instances = Vec::new();
        for _ in 0..2 {
            instances.push(open(config.clone(), &end).await);
        }
        Self { redis, prefix, instances, _end: end.drop_guard() }
    }
}

fn patient() -> RedisConfig {
    RedisConfig { call_timeout: Duration::from_secs(10), lease: Duration::from_secs(120), ..RedisConfig::default() }
}

async fn open(config: RedisConfig, end: &CancellationToken) -> Arc<RedisPresence> {
    let (presence, run) = RedisPresence::open(config, Arc::new(now_us), end.clone()).unwrap();
    tokio::spawn(run);
    let mut ready = presence.ready();
    tokio::time::timeout(PATIENCE, ready.wait_for(|open| *open > 0)).await.unwrap().unwrap();
    presence
}

#[async_trait]
impl Subject for Shared {
    fn instances(&self) -> Vec<Arc<dyn Presence>> {
        self.instances.iter().map(|instance| Arc::clone(instance) as Arc<dyn Presence>).collect()
    }

    async fn lapse(&self, gateway: &GatewayId) {
        // What Redis does when the time is over.
        let lease = format!("{}:g:{{{gateway}}}", self.prefix);
        for server in 0..self.redis.addresses().len() {
            // In a cluster one of them has it.
            let _ = self.redis.call(server, &["DEL", &lease]).await;
        }
    }

    async fn lose_everything(&self) {
        // What is lost of this prefix; others use the servers too.
        let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1";
        for server in 0..self.redis.addresses().len() {
            let prefix = format!("{}:*", self.prefix);
            self.redis.call(server, &["EVAL", script, "0", &prefix]).await.unwrap();
        }
    }
}

mod standalone {
    use super::*;

    /// The one server of these tests. It ends with the process.
    static REDIS: OnceCell<Redis> = OnceCell::const_new();

    async fn fresh() -> Box<dyn Subject> {
        let redis = REDIS.get_or_init(async || Redis::single().await.unwrap()).await;
        Box::new(Shared::open(redis, Topology::Standalone).await)
    }

    stonechat_presence::presence_conformance!(fresh);
}

mod cluster {
    use super::*;

    /// The one cluster of these tests. It ends with the process.
    static REDIS: OnceCell<Redis> = OnceCell::const_new();

    async fn fresh() -> Box<dyn Subject> {
        let redis = REDIS.get_or_init(async || Redis::cluster().await.unwrap()).await;
        Box::new(Shared::open(redis, Topology::Cluster).await)
    }

    stonechat_presence::presence_conformance!(fresh);
}

/// A gateway that does what a gateway does: when it is unsure, or its lease is not renewed, it registers again.
struct Gateway {
    id: GatewayId,
    heard: Arc<Heard>,
    seen: u64,
}

fn user(number: usize) -> (TenantId, UserId) {
    (TenantId::parse("t").unwrap(), UserId::parse(&format!("u{number}")).unwrap())
}

fn channel() -> (TenantId, ConversationId) {
    (TenantId::parse("t").unwrap(), ConversationId::parse("c").unwrap())
}

const USERS: usize = 50;

impl Gateway {
    async fn attach(presence: &dyn Presence) -> Self {
        Self::try_attach(presence).await.unwrap()
    }

    async fn try_attach(presence: &dyn Presence) -> Result<Self, stonechat_errors::Error> {
        let (id, heard) = (GatewayId::parse("g1").unwrap(), Arc::new(Heard::default()));
        presence.attach(&id, Arc::clone(&heard) as Arc<dyn Inbox>).await?;
        let gateway = Self { id, heard, seen: 0 };
        gateway.register(presence).await?;
        Ok(gateway)
    }

    async fn register(&self, presence: &dyn Presence) -> Result<(), stonechat_errors::Error> {
        if !presence.renew(&self.id).await? {
            presence.attach(&self.id, Arc::clone(&self.heard) as Arc<dyn Inbox>).await?;
        }
        let users: Vec<_> = (0..USERS).map(user).collect();
        presence.add_routes(&self.id, &users).await?;
        presence.add_interest(&self.id, &[channel()]).await
    }

    /// Whether everything can be found, after the gateway did what it was told to do.
    async fn is_found(&mut self, presence: &dyn Presence) -> bool {
        let unsure = self.heard.unsure();
        if unsure != self.seen && self.register(presence).await.is_ok() {
            self.seen = unsure;
        }
        let users = TargetQuery::Users(user(0).0, (0..USERS).map(|number| user(number).1).collect());
        let (tenant, id) = channel();
        match presence.targets(&[users, TargetQuery::Channel(tenant, id)]).await {
            Ok(targets) => matches!(&targets[0][..], [target] if target.users.len() == USERS) && targets[1].len() == 1,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                false
            }
        }
    }
}

async fn heals(presence: &dyn Presence, gateway: &mut Gateway) -> Duration {
    let begun = std::time::Instant::now();
    assert!(until(PATIENCE, async || gateway.is_found(presence).await).await);
    begun.elapsed()
}

fn short(topology: Topology, nodes: Vec<String>) -> RedisConfig {
    RedisConfig { topology, nodes, ..RedisConfig::default() }
}

#[tokio::test]
async fn an_emptied_server_and_one_that_starts_anew_heal() {
    let mut redis = Redis::single().await.unwrap();
    let end = CancellationToken::new();
    let presence = open(short(Topology::Standalone, redis.addresses()), &end).await;
    let mut gateway = Gateway::attach(presence.as_ref()).await;
    assert!(gateway.is_found(presence.as_ref()).await);
    redis.empty(0).await.unwrap();
    println!("emptied: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    redis.kill(0);
    assert!(!gateway.is_found(presence.as_ref()).await);
    assert!(until(PATIENCE, async || *presence.ready().borrow() == 0).await, "calls are refused at once");
    redis.restart(0).unwrap();
    redis.ready(0).await.unwrap();
    println!("restarted: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    redis.pause(0);
    assert!(!gateway.is_found(presence.as_ref()).await, "a server that stands still is an error, in time");
    redis.go_on(0);
    println!("went on: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    end.cancel();
}

#[tokio::test]
async fn one_emptied_or_replaced_server_of_a_cluster_heals() {
    let mut redis = Redis::cluster().await.unwrap();
    let end = CancellationToken::new();
    let presence = open(short(Topology::Cluster, redis.addresses()), &end).await;
    let mut gateway = Gateway::attach(presence.as_ref()).await;
    for server in 0..3 {
        redis.empty(server).await.unwrap();
        println!("server {server} emptied: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    }
    redis.kill(1);
    redis.restart(1).unwrap();
    redis.ready(1).await.unwrap();
    println!("server 1 restarted: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    end.cancel();
}

#[tokio::test]
async fn a_failover_of_sentinels_heals() {
    let mut redis = Redis::sentinel().await.unwrap();
    let end = CancellationToken::new();
    let config = short(Topology::Sentinel { master: MASTER.to_owned() }, redis.sentinels());
    let presence = open(config, &end).await;
    let mut gateway = Gateway::attach(presence.as_ref()).await;
    redis.kill(0);
    println!("master killed: healed after {:?}", heals(presence.as_ref(), &mut gateway).await);
    end.cancel();
}

/// Presence by TLS finds what was registered there, where the servers' authority is believed, and is not open where
/// another one is.
async fn only_the_right_authority(topology: Topology, redis: &Redis, certificate: &Certificate) {
    let by = |ca: &Path| {
        let tls = Some(Trust::Ca(std::fs::read(ca).unwrap()));
        RedisConfig { tls, ..short(topology.clone(), redis.addresses()) }
    };
    let end = CancellationToken::new();
    let other = Certificate::new().unwrap();
    let (stranger, run) = RedisPresence::open(by(&other.ca), Arc::new(now_us), end.clone()).unwrap();
    tokio::spawn(run);
    let presence = open(by(&certificate.ca), &end).await;
    let mut gateway = Gateway::attach(presence.as_ref()).await;
    assert!(gateway.is_found(presence.as_ref()).await);
    assert_eq!(*stranger.ready().borrow(), 0);
    assert!(Gateway::try_attach(stranger.as_ref()).await.is_err());
    end.cancel();
}

#[tokio::test]
async fn a_server_and_a_cluster_are_reached_by_tls() {
    let certificate = Certificate::new().unwrap();
    let redis = Redis::single_by_tls(&certificate).await.unwrap();
    only_the_right_authority(Topology::Standalone, &redis, &certificate).await;
    let redis = Redis::cluster_by_tls(&certificate).await.unwrap();
    only_the_right_authority(Topology::Cluster, &redis, &certificate).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_told() {
    for nodes in [vec![], vec!["nowhere".to_owned()], vec!["host:port".to_owned()]] {
        let config = short(Topology::Standalone, nodes);
        assert!(RedisPresence::open(config, Arc::new(now_us), CancellationToken::new()).is_err());
    }
}
