//! A device: the real core of the client over a simulated connection, used by somebody.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures::future::{Either, select};
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_client::core::{Bootstrap, ClientCore, CoreEvent, CoreOptions, Output};
use stonechat_model::UserId;
use stonechat_proto::v1::{Action, Command, Event, Mark, ServerFrame, action, client_frame};

use crate::{
    executor::{Runtime, WORLD},
    faults::Faults,
    gateway_node::GatewayNode,
    history::{Acked, History},
    random::Random,
    wire::Wire,
    workload::Workload,
};

/// How often a core that waits for something looks at its clock.
const TICK_US: u64 = 100_000;
/// The longest pause before a device connects again.
const RECONNECT_US: u64 = 300_000;

/// What a device has seen.
#[derive(Default)]
pub struct Seen {
    /// Events with the time they came, by conversation; those of the user's own log under an empty one.
    pub events: BTreeMap<String, Vec<(Event, i64)>>,
    /// Whether it is connected, has caught up and waits for nothing.
    pub is_settled: bool,
    /// What the core thinks of each log: its seq and whether it is behind; for the reports.
    pub logs: BTreeMap<String, String>,
}

/// What devices share.
#[derive(Clone)]
pub struct ClientWorld {
    /// The executor.
    pub runtime: Runtime,
    /// What goes wrong.
    pub faults: Faults,
    /// Gateways that can be connected to.
    pub gateways: Arc<Mutex<Vec<GatewayNode>>>,
    /// What people do.
    pub workload: Workload,
    /// What they were told.
    pub history: History,
    /// The randomness of connections.
    pub random: Random,
}

/// A device that runs.
#[derive(Clone)]
pub struct Device {
    /// Whose it is.
    pub user: UserId,
    /// Its name.
    pub name: String,
    /// What it has seen.
    pub seen: Arc<Mutex<Seen>>,
    wire: Arc<Mutex<Option<Wire>>>,
}

impl Device {
    /// Breaks its connection.
    pub fn disconnect(&self, arriving: usize) {
        if let Some(wire) = self.wire.lock().as_ref() {
            wire.cut(arriving);
        }
    }
}

struct Client {
    world: ClientWorld,
    device: Device,
    token: String,
    core: ClientCore,
    /// Commands by the ids of their frames.
    asked: BTreeMap<u64, (String, String, Action)>,
    marked: BTreeMap<u64, (String, u64)>,
    left: u64,
    pause_us: u64,
}

/// Starts a device whose user does so many things and then calls `done`.
pub fn start(
    world: &ClientWorld,
    user: &UserId,
    name: &str,
    token: String,
    (count, pause_us): (u64, u64),
    done: impl FnOnce() + Send + 'static,
) -> Device {
    let device = Device { user: user.clone(), name: name.to_owned(), seen: Arc::default(), wire: Arc::default() };
    let options = CoreOptions { device: name.to_owned(), agent: "simulation".to_owned(), bootstrap: Bootstrap::Full };
    let client = Client {
        world: world.clone(),
        device: device.clone(),
        token,
        core: ClientCore::new(options),
        asked: BTreeMap::new(),
        marked: BTreeMap::new(),
        left: count,
        pause_us,
    };
    world.runtime.spawn(WORLD, client.live(done));
    device
}

impl Client {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.world.runtime.now_us() / 1000).unwrap_or(0)
    }

    async fn live(mut self, done: impl FnOnce() + Send) {
        let mut done = Some(done);
        let mut acts_at_us = self.next_act_us();
        loop {
            let wire = self.connect().await;
            *self.device.wire.lock() = Some(wire.clone());
            let hello = self.core.connected(self.token.clone());
            self.perform(hello, &wire);
            loop {
                let mut waits_us = acts_at_us.map(|at| u64::try_from(at - self.world.runtime.now_us()).unwrap_or(0));
                if !self.core.is_settled() {
                    waits_us = Some(waits_us.unwrap_or(TICK_US).min(TICK_US));
                }
                // A day: as good as never.
                let sleep = self.world.runtime.sleep(waits_us.unwrap_or(86_400_000_000));
                let next = std::pin::pin!(wire.down.next());
                let turn = select(next, sleep).await;
                let outputs = match turn {
                    Either::Left((None, _)) => break,
                    Either::Left((Some(bytes), _)) => match ServerFrame::decode(bytes) {
                        Ok(frame) => self.core.frame(frame, self.now_ms()),
                        Err(_) => break,
                    },
                    Either::Right(_) => self.core.tick(self.now_ms()),
                };
                self.perform(outputs, &wire);
                if acts_at_us.is_some_and(|at| at <= self.world.runtime.now_us()) {
                    self.act(&wire);
                    acts_at_us = self.next_act_us();
                }
                self.tell_settled();
                if self.left == 0 && self.asked.is_empty() && self.marked.is_empty() {
                    done.take().into_iter().for_each(|done| done());
                }
            }
            wire.cut(usize::MAX);
            self.core.disconnected();
            self.tell_settled();
            self.world.runtime.sleep(self.world.random.between(0, RECONNECT_US)).await;
        }
    }

    fn next_act_us(&self) -> Option<i64> {
        let pause_us = i64::try_from(self.world.workload.random().between(0, self.pause_us)).unwrap_or(0);
        (self.left > 0).then(|| self.world.runtime.now_us() + pause_us)
    }

    fn tell_settled(&self) {
        let mut seen = self.device.seen.lock();
        seen.is_settled = self.core.is_settled();
        let log = |(id, log): (&str, &stonechat_client::core::LogState)| {
            (id.to_owned(), format!("seq {} member {} behind {}", log.seq(), log.is_member(), log.is_behind()))
        };
        seen.logs = self.core.conversations().map(log).collect();
    }

    /// Connects to some gateway.
    async fn connect(&self) -> Wire {
        let world = &self.world;
        loop {
            world.faults.latency(&world.random, 0).await;
            let gateway = world.random.pick(&world.gateways.lock()).cloned();
            if let Some(gateway) = gateway.filter(|gateway| !world.runtime.is_dead(gateway.node)) {
                let wire = Wire::new(&world.faults, &world.random);
                gateway.connect(wire.clone());
                return wire;
            }
            world.runtime.sleep(RECONNECT_US).await;
        }
    }

    fn perform(&mut self, outputs: Vec<Output>, wire: &Wire) {
        for output in outputs {
            match output {
                Output::Send(frame) => wire.up.send(frame.encode_to_vec().into()),
                Output::Emit(event) => self.hear(event),
                Output::Reconnect(_) => wire.cut(0),
            }
        }
    }

    fn hear(&mut self, event: CoreEvent) {
        match event {
            CoreEvent::Event(frame) => {
                let now_us = self.world.runtime.now_us();
                let name = &self.device.name;
                self.world.runtime.trace(|| {
                    let seq = frame.event.as_ref().map(|event| event.seq);
                    format!("{name} sees {:?} of {:?}", seq, frame.conversation)
                });
                let mut seen = self.device.seen.lock();
                let events = seen.events.entry(frame.conversation).or_default();
                events.extend(frame.event.map(|event| (event, now_us)));
            }
            CoreEvent::Done(id, ack) => {
                if let Some((conversation, read_seq)) = self.marked.remove(&id) {
                    self.world.history.marked(self.device.user.as_str(), &conversation, read_seq);
                }
                let Some((client_id, conversation, action)) = self.asked.remove(&id) else { return };
                let sender = self.device.user.to_string();
                let (seq, time_us) = (ack.seq, ack.time_us);
                self.world.history.acked(Acked { conversation, sender, client_id, seq, time_us, action });
            }
            CoreEvent::Refused(id, _) => {
                self.marked.remove(&id);
                if let Some((client_id, ..)) = self.asked.remove(&id) {
                    self.world.history.refused(&client_id);
                }
            }
            _ => {}
        }
    }

    /// The user does something.
    fn act(&mut self, wire: &Wire) {
        self.left -= 1;
        let workload = self.world.workload.clone();
        let mine: VecDeque<(String, u64)> = {
            let of_mine = self.core.conversations().filter(|(_, log)| log.is_member());
            of_mine.map(|(id, log)| (id.to_owned(), log.seq())).collect()
        };
        let known = (!mine.is_empty()).then(|| mine[workload.random().index(mine.len())].clone());
        match known {
            Some((conversation, last)) if workload.random().chance(850) => {
                if workload.random().chance(150) {
                    return self.mark(conversation, workload.random().between(0, last), wire);
                }
                self.command(conversation, workload.act(last), wire);
            }
            _ => {
                let (conversation, action) = workload.create(&self.device.user);
                self.command(conversation, action, wire);
            }
        }
    }

    fn mark(&mut self, conversation: String, read_seq: u64, wire: &Wire) {
        let now_ms = self.now_ms();
        let delivered_seq = read_seq;
        let marked = conversation.clone();
        let make = |id| client_frame::Kind::Read(Mark { id, conversation, read_seq, delivered_seq });
        let (id, outputs) = self.core.request(now_ms, make);
        self.marked.insert(id, (marked, read_seq));
        self.perform(outputs, wire);
    }

    fn command(&mut self, conversation: String, mut action: Action, wire: &Wire) {
        if let Some(action::Kind::UpdateMembership(change)) = &mut action.kind {
            change.conversation.clone_from(&conversation);
        }
        let client_id = self.world.workload.client_id(self.world.runtime.now_us());
        let name = &self.device.name;
        self.world.history.asked(&client_id, format!("{conversation} by {name}: {action:?}"));
        let (now_ms, asked) = (self.now_ms(), (client_id.clone(), conversation.clone(), action.clone()));
        let make = |id| {
            let action = Some(action);
            client_frame::Kind::Command(Command { id, conversation, client_id, action, traceparent: String::new() })
        };
        let (id, outputs) = self.core.request(now_ms, make);
        self.asked.insert(id, asked);
        self.perform(outputs, wire);
    }
}
