//! Everything of a run, and what strikes it.

use std::sync::Arc;

use stonechat_model::{GatewayId, UserId};
use stonechat_router::Rules;

use crate::{
    api_node::Api,
    executor::{Node, Runtime, WORLD},
    faults::{Fault, Faults, Mix},
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
const START_US: i64 = 1_790_000_000_000_000;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Routers at once.
    pub routers: usize,
    /// Partitions of the command log and of the event stream.
    pub partitions: u32,
    /// Users.
    pub users: usize,
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
            partitions: u32::try_from(random.between(1, 4)).unwrap_or(1),
            users: 2 + random.index(4),
            conversations: random.between(1, 4),
            commands: random.between(8, 30),
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
    presence: SimPresence,
    links: Links,
    routers_of: RouterWorld,
    routers: Vec<Node>,
    named: u32,
    random: Random,
    workload: Workload,
    size: Size,
}

fn gateway_id(text: &str) -> GatewayId {
    GatewayId::parse(text).unwrap_or_else(|_| unreachable!("the simulation's own ids are ids"))
}

impl World {
    /// A world of a seed, in which nothing has happened.
    pub fn new(seed: u64, mix: Mix, rules: Rules) -> Self {
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
        let mut world = Self {
            workload: Workload::new(seed, users, size.conversations),
            random: Random::new(seed, "world"),
            history: History::default(),
            routers: Vec::new(),
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
        while self.routers.len() < self.size.routers {
            // A name of its own for each life: an answer for a former life must find nobody.
            let id = self.name("router");
            self.routers.push(router_node::start(&self.routers_of, &id));
        }
    }

    /// Lets everybody work; `done` is called once by each who is through.
    pub fn begin(&mut self, done: &(impl Fn() + Clone + Send + 'static)) -> usize {
        let id = self.name("api");
        let api = Api::new(self.runtime.clone(), &self.links, &id, self.workload.clone(), self.history.clone());
        let actors = 2;
        for _ in 0..actors {
            let (api, done, size) = (api.clone(), done.clone(), self.size);
            self.runtime.spawn(WORLD, async move {
                api.work(size.commands, size.pause_us).await;
                done();
            });
        }
        actors
    }

    /// Lets a fault strike.
    pub fn strike(&mut self, fault: Fault) {
        self.runtime.trace(|| format!("{fault:?} strikes"));
        match fault {
            Fault::CrashRouter => self.crash_router(),
            Fault::CrashGateway | Fault::Disconnect => {}
            Fault::Rebalance => self.commands.revoke(OWNERS, self.some_partition()),
            Fault::RebalanceStream => self.events.revoke(CONSUMERS[0], self.some_partition()),
            Fault::Freeze => self.freeze(),
            Fault::BreakLink => self.links.break_one(),
            Fault::Forget => self.presence.forget(),
        }
    }

    fn some_partition(&self) -> u32 {
        u32::try_from(self.random.below(u64::from(self.size.partitions))).unwrap_or(0)
    }

    fn crash_router(&mut self) {
        if self.routers.is_empty() {
            return self.complete();
        }
        let node = self.routers.swap_remove(self.random.index(self.routers.len()));
        self.runtime.kill(node);
        self.runtime.trace(|| format!("{node:?} died"));
        self.commands.node_died(node);
        self.events.node_died(node);
        self.links.node_died(node);
        if self.random.chance(700) || self.routers.is_empty() {
            self.complete();
        }
    }

    /// A node stands still; what it holds may be given to others meanwhile.
    fn freeze(&self) {
        let Some(node) = self.random.pick(&self.routers).copied() else { return };
        self.runtime.freeze(node);
        let (runtime, commands, events) = (self.runtime.clone(), self.commands.clone(), self.events.clone());
        let (loses, first_us) = (self.random.chance(700), self.random.between(1_000, 3_000_000));
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
        self.complete();
    }
}
