//! Everything of a run, and what strikes it.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost::Message as _;
use stonechat_auth::sign_user_token;
use stonechat_gateway::Rules as GatewayRules;
use stonechat_model::{GatewayId, KeyId, TenantId, UserId};
use stonechat_proto::internal::v1::{FileRow, FileState, KeyKind, KeyRow, TenantRow};
use stonechat_router::Rules;
use stonechat_rows::{Put, tables};

use crate::{
    api_node::{Api, TENANT},
    client_node::{self, ClientWorld, Device},
    embedded_node::{self, Names},
    executor::{Node, Runtime, WORLD},
    faults::{Fault, Faults, Mix},
    gateway_node::{self, GatewayNode, GatewayWorld},
    history::History,
    links::Links,
    logs::OWNERS,
    partitioned::Partitioned,
    presence::SimPresence,
    random::Random,
    router_node::{self, CONSUMERS, RouterWorld},
    rows::SimRows,
    workload::Workload,
};

/// When a run begins: some time in 2026, as command ids tell their time.
pub const START_US: i64 = 1_790_000_000_000_000;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Routers at once.
    pub routers: usize,
    /// Gateways at once.
    pub gateways: usize,
    /// Partitions of the command log and of the event stream.
    pub partitions: u32,
    /// Users.
    pub users: usize,
    /// Devices of each user, at most.
    pub devices: usize,
    /// Conversations beside direct ones.
    pub conversations: u64,
    /// Commands of each actor.
    pub commands: u64,
    /// The longest pause between two of them.
    pub pause_us: u64,
}

impl Size {
    /// The size of a seed's run.
    pub fn of_seed(seed: u64) -> Self {
        let random = Random::new(seed, "size");
        Self {
            routers: 1 + random.index(3),
            gateways: 1 + random.index(2),
            partitions: u32::try_from(random.between(1, 4)).unwrap_or(1),
            users: 2 + random.index(4),
            devices: 1 + random.index(2),
            conversations: random.between(1, 4),
            commands: random.between(4, 16),
            pause_us: *random.pick(&[1_000, 20_000, 300_000]).unwrap_or(&1_000),
        }
    }
}

/// A run's world.
pub struct World {
    /// The executor.
    pub runtime: Runtime,
    /// What goes wrong.
    pub faults: Faults,
    /// The rows.
    pub rows: SimRows,
    /// The command log.
    pub commands: Partitioned,
    /// The event stream.
    pub events: Partitioned,
    /// What was answered.
    pub history: History,
    /// The devices.
    pub devices: Vec<Device>,
    presence: SimPresence,
    links: Links,
    routers_of: RouterWorld,
    routers: Vec<Node>,
    gateways_of: GatewayWorld,
    gateways: Arc<Mutex<Vec<GatewayNode>>>,
    named: u32,
    random: Random,
    workload: Workload,
    size: Size,
}

/// The key that users' tokens are signed with.
const KEY: &str = "key";
const SECRET: &[u8] = b"a secret of the simulation, long enough for HS256";
const TOKEN_TTL: Duration = Duration::from_secs(86_400);

/// Writes the tenant, and the key that signs its users' tokens.
pub fn seed_credentials(rows: &SimRows) {
    let (Ok(tenant), Ok(key)) = (TenantId::parse(TENANT), KeyId::parse(KEY)) else { return };
    let tenant_row = TenantRow { name: TENANT.to_owned(), ..TenantRow::default() };
    let key_row = KeyRow {
        tenant: TENANT.to_owned(),
        kind: KeyKind::Hs256.into(),
        material: SECRET.to_vec(),
        ..KeyRow::default()
    };
    let put = |key, value: Vec<u8>| Put { key, value: value.into(), version: 1, ttl: None };
    rows.seed_row(&put(tables::tenant(&tenant), tenant_row.encode_to_vec()));
    rows.seed_row(&put(tables::key(&key), key_row.encode_to_vec()));
}

fn seed_files(rows: &SimRows, workload: &Workload) {
    let Ok(tenant) = TenantId::parse(TENANT) else { return };
    for (file, owner) in workload.files() {
        let (owner, name) = (owner.to_string(), file.to_string());
        let row = FileRow { owner, name, state: FileState::Ready.into(), ..FileRow::default() };
        rows.seed_row(&Put {
            key: tables::file(&tenant, &file),
            value: row.encode_to_vec().into(),
            version: 1,
            ttl: None,
        });
    }
}

/// A token of a user, issued when a run begins.
pub fn token(user: &UserId) -> String {
    let key = KeyId::parse(KEY).ok();
    key.and_then(|key| sign_user_token(&key, SECRET, user, None, START_US, TOKEN_TTL).ok()).unwrap_or_default()
}

fn gateway_id(text: &str) -> GatewayId {
    GatewayId::parse(text).unwrap_or_else(|_| unreachable!("the simulation's own ids are ids"))
}

impl World {
    /// A world of a seed, in which nothing has happened.
    pub fn new(seed: u64, mix: Mix, rules: Rules, gateway_rules: GatewayRules) -> Self {
        let size = Size::of_seed(seed);
        let runtime = Runtime::new(seed, START_US);
        let faults = Faults::new(runtime.clone(), mix);
        let rows = SimRows::new(seed, faults.clone());
        let commands = Partitioned::new("commands", seed, size.partitions, &[OWNERS], faults.clone());
        let events = Partitioned::new("events", seed, size.partitions, CONSUMERS, faults.clone());
        let presence = SimPresence::new(seed, faults.clone());
        let links = Links::new(seed, faults.clone());
        let users = (0..size.users).filter_map(|number| UserId::parse(&format!("u{number}")).ok()).collect();
        let routers_of = RouterWorld {
            runtime: runtime.clone(),
            commands: commands.clone(),
            events: events.clone(),
            rows: Arc::new(rows.clone()),
            presence: Arc::new(presence.clone()),
            links: links.clone(),
            rules,
        };
        let gateways_of = GatewayWorld {
            runtime: runtime.clone(),
            rows: Arc::new(rows.clone()),
            presence: Arc::new(presence.clone()),
            links: links.clone(),
            rules: gateway_rules,
        };
        seed_credentials(&rows);
        let workload = Workload::new(seed, users, size.conversations);
        seed_files(&rows, &workload);
        let mut world = Self {
            workload,
            random: Random::new(seed, "world"),
            history: History::default(),
            devices: Vec::new(),
            routers: Vec::new(),
            gateways_of,
            gateways: Arc::default(),
            named: 0,
            runtime,
            faults,
            rows,
            commands,
            events,
            presence,
            links,
            routers_of,
            size,
        };
        world.complete();
        world
    }

    fn name(&mut self, kind: &str) -> GatewayId {
        self.named += 1;
        gateway_id(&format!("{kind}-{}", self.named))
    }

    /// Starts what is missing.
    pub fn complete(&mut self) {
        if self.faults.mix.is_embedded {
            return self.complete_embedded();
        }
        while self.routers.len() < self.size.routers {
            // A name of its own for each life: an answer for a former life must find nobody.
            let id = self.name("router");
            self.routers.push(router_node::start(&self.routers_of, &id));
        }
        while self.gateways.lock().len() < self.size.gateways {
            let id = self.name("gateway");
            self.gateways.lock().push(gateway_node::start(&self.gateways_of, &id));
        }
    }

    fn complete_embedded(&mut self) {
        if self.routers.is_empty() {
            let names = Names { router: self.name("router"), gateway: self.name("gateway") };
            let (routers, gateways) = (&self.routers_of, &self.gateways_of);
            let node = embedded_node::start(routers, gateways, self.size.partitions, names, &self.gateways);
            self.routers.push(node);
        }
    }

    /// Lets everybody work; `done` is called once by each who is through.
    pub fn begin(&mut self, done: &(impl Fn() + Clone + Send + 'static)) -> usize {
        let id = self.name("api");
        let (runtime, rows) = (self.runtime.clone(), Arc::new(self.rows.clone()));
        let api = Api::new(runtime, rows, &self.links, &id, self.workload.clone(), self.history.clone());
        let (counted, size) = (done.clone(), self.size);
        self.runtime.spawn(WORLD, async move {
            api.work(size.commands, size.pause_us).await;
            counted();
        });
        let clients = ClientWorld {
            runtime: self.runtime.clone(),
            faults: self.faults.clone(),
            gateways: Arc::clone(&self.gateways),
            workload: self.workload.clone(),
            history: self.history.clone(),
            random: self.random.fork("clients"),
        };
        for user in self.workload.users().to_vec() {
            for number in 0..1 + self.random.index(self.size.devices) {
                let name = format!("{user}-{number}");
                let work = (self.size.commands, self.size.pause_us);
                self.devices.push(client_node::start(&clients, &user, &name, token(&user), work, done.clone()));
            }
        }
        1 + self.devices.len()
    }

    /// The devices that are not connected, not caught up or wait for something.
    pub fn unsettled(&self) -> Vec<&str> {
        let unsettled = self.devices.iter().filter(|device| !device.seen.lock().is_settled);
        unsettled.map(|device| device.name.as_str()).collect()
    }

    /// Lets a fault strike.
    pub fn strike(&mut self, fault: Fault) {
        self.runtime.trace(|| format!("{fault:?} strikes"));
        match fault {
            Fault::CrashRouter => match self.some_router() {
                Some(node) => self.crash_router(node),
                None => self.complete(),
            },
            Fault::CrashGateway => match self.some_gateway() {
                Some(node) => self.crash_gateway(node),
                None => self.complete(),
            },
            Fault::Disconnect => {
                let arriving = self.random.index(4);
                self.random.pick(&self.devices).into_iter().for_each(|device| device.disconnect(arriving));
            }
            Fault::Rebalance => self.commands.revoke(OWNERS, self.some_partition()),
            Fault::RebalanceStream => self.events.revoke(CONSUMERS[0], self.some_partition()),
            Fault::Freeze => {
                let (routers, loses) = (self.random.chance(600), self.random.chance(700));
                let node = if routers { self.some_router() } else { self.some_gateway() };
                node.into_iter().for_each(|node| self.freeze(node, loses));
            }
            Fault::BreakLink => self.links.break_one(),
            Fault::Forget => self.presence.forget(),
        }
    }

    fn some_partition(&self) -> u32 {
        u32::try_from(self.random.below(u64::from(self.size.partitions))).unwrap_or(0)
    }

    /// A node is struck in the middle of something: it dies, or stands still and is taken for dead.
    pub fn strike_node(&mut self, node: Node) {
        self.runtime.trace(|| format!("{node:?} is struck"));
        if self.random.chance(400) {
            self.freeze(node, true);
        } else if self.routers.contains(&node) {
            self.crash_router(node);
        } else if self.gateways.lock().iter().any(|gateway| gateway.node == node) {
            self.crash_gateway(node);
        }
    }

    fn some_router(&self) -> Option<Node> {
        self.random.pick(&self.routers).copied()
    }

    fn some_gateway(&self) -> Option<Node> {
        self.random.pick(&self.gateways.lock()).map(|gateway| gateway.node)
    }

    fn crash_router(&mut self, node: Node) {
        self.routers.retain(|other| *other != node);
        self.forget_gateway(node);
        self.runtime.kill(node);
        self.runtime.trace(|| format!("{node:?} died"));
        self.commands.node_died(node);
        self.events.node_died(node);
        self.links.node_died(node);
        if self.random.chance(700) || self.routers.is_empty() {
            self.complete();
        }
    }

    fn crash_gateway(&mut self, node: Node) {
        if self.faults.mix.is_embedded {
            return self.crash_router(node);
        }
        self.forget_gateway(node);
        self.runtime.kill(node);
        self.runtime.trace(|| format!("{node:?} died"));
        self.links.node_died(node);
        if self.random.chance(700) {
            self.complete();
        }
    }

    /// Breaks the connections of the gateway on a node, if there is one.
    fn forget_gateway(&self, node: Node) {
        let dead: Vec<GatewayNode> = {
            let mut gateways = self.gateways.lock();
            let (dead, alive) = gateways.drain(..).partition(|gateway| gateway.node == node);
            *gateways = alive;
            dead
        };
        dead.iter().for_each(|gateway| gateway.died(self.random.index(4)));
    }

    /// A node stands still; what it holds may be given to others meanwhile.
    fn freeze(&self, node: Node, loses: bool) {
        self.runtime.freeze(node);
        let (runtime, commands, events) = (self.runtime.clone(), self.commands.clone(), self.events.clone());
        let first_us = self.random.between(1_000, 3_000_000);
        let second_us = self.random.between(1_000, 3_000_000);
        self.runtime.spawn(WORLD, async move {
            runtime.sleep(first_us).await;
            if loses {
                commands.revoke_node(node);
                events.revoke_node(node);
            }
            runtime.sleep(second_us).await;
            runtime.thaw(node);
        });
    }

    /// Ends faults and makes everything whole.
    pub fn calm(&mut self) {
        self.faults.turn(false);
        self.routers.iter().for_each(|node| self.runtime.thaw(*node));
        self.gateways.lock().iter().for_each(|gateway| self.runtime.thaw(gateway.node));
        self.complete();
    }
}
