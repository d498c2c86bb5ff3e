//! Links between routers and the nodes that they tell. A link keeps its order and may break: from some moment
//! on nothing arrives any more, until it is made anew and the node is told that it cannot be sure.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_errors::Error;
use stonechat_model::GatewayId;
use stonechat_proto::internal::v1::CommandRecord;
use stonechat_rpc::{Control, Delivery, Inbox, Inboxes, Outcome, RouterLink, SignalDelivery, TypingRequest};
use tokio::sync::oneshot;

use crate::{
    bell::Bell,
    executor::{Node, WORLD},
    faults::{Fate, Faults},
    random::Random,
};

enum Message {
    Outcome(Outcome),
    Deliver(Delivery),
    Signal(SignalDelivery),
    Control(Control),
    Unsure,
}

/// The router's end of a link.
#[derive(Default)]
struct Pipe {
    waiting: Mutex<VecDeque<Message>>,
    is_broken: Mutex<bool>,
    bell: Bell,
}

impl Pipe {
    fn push(&self, message: Message) {
        if *self.is_broken.lock() {
            return;
        }
        self.waiting.lock().push_back(message);
        self.bell.ring();
    }

    fn cut(&self, arriving: usize) {
        *self.is_broken.lock() = true;
        let lost = {
            let mut waiting = self.waiting.lock();
            let arriving = arriving.min(waiting.len());
            waiting.split_off(arriving)
        };
        drop(lost);
        self.bell.ring();
    }
}

impl Inbox for Pipe {
    fn outcome(&self, outcome: Outcome) {
        self.push(Message::Outcome(outcome));
    }

    fn deliver(&self, delivery: Delivery) {
        self.push(Message::Deliver(delivery));
    }

    fn signal(&self, signal: SignalDelivery) {
        self.push(Message::Signal(signal));
    }

    fn control(&self, control: Control) {
        self.push(Message::Control(control));
    }

    fn unsure(&self) {
        self.push(Message::Unsure);
    }
}

/// A node that routers tell things.
#[derive(Clone)]
struct Endpoint {
    node: Node,
    inbox: Arc<dyn Inbox>,
}

/// A router as others reach it.
#[derive(Clone)]
struct Server {
    service: Arc<dyn RouterLink>,
    inboxes: Arc<Inboxes>,
}

#[derive(Default)]
struct State {
    endpoints: BTreeMap<GatewayId, Endpoint>,
    servers: BTreeMap<Node, Server>,
    pipes: BTreeMap<(Node, GatewayId), Arc<Pipe>>,
}

struct Inner {
    state: Mutex<State>,
    faults: Faults,
    random: Random,
}

/// Every link. Clones are the same ones.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

impl Links {
    /// No links yet.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::default(), faults, random: Random::new(seed, "links") }) }
    }

    /// A node that routers may tell things; every router is connected to it after a while.
    pub fn add_endpoint(&self, id: &GatewayId, node: Node, inbox: Arc<dyn Inbox>) {
        let mut state = self.inner.state.lock();
        state.endpoints.insert(id.clone(), Endpoint { node, inbox });
        let servers: Vec<Node> = state.servers.keys().copied().collect();
        drop(state);
        servers.into_iter().for_each(|server| self.connect_later(server, id.clone()));
    }

    /// A router; it is connected to every node after a while.
    pub fn add_server(&self, node: Node, service: Arc<dyn RouterLink>, inboxes: Arc<Inboxes>) {
        let mut state = self.inner.state.lock();
        state.servers.insert(node, Server { service, inboxes });
        let endpoints: Vec<GatewayId> = state.endpoints.keys().cloned().collect();
        drop(state);
        endpoints.into_iter().for_each(|endpoint| self.connect_later(node, endpoint));
    }

    /// A node died, router or not; the others notice after a while.
    pub fn node_died(&self, node: Node) {
        let mut state = self.inner.state.lock();
        let gone: Vec<GatewayId> =
            state.endpoints.iter().filter(|(_, end)| end.node == node).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            state.endpoints.remove(id);
        }
        let server = state.servers.remove(&node);
        let dead: Vec<(Node, GatewayId)> =
            state.pipes.keys().filter(|(from, to)| *from == node || gone.contains(to)).cloned().collect();
        let mut cut = Vec::new();
        for key in dead {
            if let Some(pipe) = state.pipes.remove(&key) {
                cut.push((key, pipe));
            }
        }
        drop(state);
        drop(server);
        for ((from, to), pipe) in cut {
            pipe.cut(self.inner.random.index(4));
            if from == node {
                self.tell_unsure_later(to);
            }
        }
    }

    /// Breaks a link; it is made anew after a while.
    pub fn break_one(&self) {
        let pipes: Vec<_> = self.inner.state.lock().pipes.keys().cloned().collect();
        let Some(key) = self.inner.random.pick(&pipes).cloned() else { return };
        let pipe = self.inner.state.lock().pipes.remove(&key);
        if let Some(pipe) = pipe {
            pipe.cut(self.inner.random.index(4));
            self.connect_later(key.0, key.1);
        }
    }

    fn after_a_while(&self, longest_us: u64, work: impl FnOnce(&Self) + Send + 'static) {
        let us = if self.inner.random.chance(300) { 0 } else { self.inner.random.between(100, longest_us) };
        let (links, sleep) = (self.clone(), self.inner.faults.runtime.sleep(us));
        self.inner.faults.runtime.spawn(WORLD, async move {
            sleep.await;
            work(&links);
        });
    }

    fn tell_unsure_later(&self, endpoint: GatewayId) {
        self.after_a_while(1_000_000, move |links| {
            let inbox = links.inner.state.lock().endpoints.get(&endpoint).map(|end| Arc::clone(&end.inbox));
            inbox.into_iter().for_each(|inbox| inbox.unsure());
        });
    }

    fn connect_later(&self, server: Node, endpoint: GatewayId) {
        self.after_a_while(1_500_000, move |links| links.connect(server, endpoint));
    }

    /// Makes a link. What comes first over it is that the node cannot be sure of what went before.
    fn connect(&self, from: Node, to: GatewayId) {
        let mut state = self.inner.state.lock();
        let (Some(server), Some(endpoint)) = (state.servers.get(&from).cloned(), state.endpoints.get(&to).cloned())
        else {
            return;
        };
        let pipe = Arc::new(Pipe::default());
        pipe.push(Message::Unsure);
        let before = state.pipes.insert((from, to.clone()), Arc::clone(&pipe));
        drop(state);
        before.into_iter().for_each(|before| before.cut(0));
        let inbox: Arc<dyn Inbox> = Arc::clone(&pipe) as _;
        server.inboxes.insert(to, inbox);
        let links = self.clone();
        self.inner.faults.runtime.spawn(endpoint.node, async move { links.carry(&pipe, &endpoint.inbox).await });
    }

    async fn carry(&self, pipe: &Pipe, inbox: &Arc<dyn Inbox>) {
        loop {
            let next = pipe.bell.until(|| match pipe.waiting.lock().pop_front() {
                Some(message) => Some(Some(message)),
                None => (*pipe.is_broken.lock()).then_some(None),
            });
            let Some(message) = next.await else { return };
            self.inner.faults.latency(&self.inner.random, 0).await;
            match message {
                Message::Outcome(outcome) => inbox.outcome(outcome),
                Message::Deliver(delivery) => inbox.deliver(delivery),
                Message::Signal(signal) => inbox.signal(signal),
                Message::Control(control) => inbox.control(control),
                Message::Unsure => inbox.unsure(),
            }
        }
    }

    /// A router that the node is connected to, if there is one.
    fn server_for(&self, endpoint: &GatewayId) -> Option<(Node, Arc<dyn RouterLink>)> {
        let state = self.inner.state.lock();
        let connected = state.pipes.keys().filter(|(_, to)| to == endpoint);
        let servers: Vec<Node> = connected.map(|(from, _)| *from).collect();
        let node = *self.inner.random.pick(&servers)?;
        Some((node, Arc::clone(&state.servers.get(&node)?.service)))
    }
}

/// The way of a node to any router.
pub struct SimRouterLink {
    /// Every link.
    pub links: Links,
    /// The node.
    pub endpoint: GatewayId,
}

impl SimRouterLink {
    /// Does something at a router; `None` when it cannot be reached, or died before it said so.
    async fn at_router<T, F>(&self, work: impl FnOnce(Arc<dyn RouterLink>) -> F + Send) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Links { inner } = &self.links;
        let fate = inner.faults.fate(&inner.random, inner.faults.mix.call_fail);
        inner.faults.latency(&inner.random, 0).await;
        if fate == Fate::NotDone {
            return None;
        }
        let (node, service) = self.links.server_for(&self.endpoint)?;
        let (told, answer) = oneshot::channel();
        let work = work(service);
        inner.faults.runtime.spawn(node, async move { drop(told.send(work.await)) });
        let answer = answer.await.ok();
        inner.faults.latency(&inner.random, 0).await;
        answer.filter(|_| fate == Fate::Done)
    }
}

#[async_trait]
impl RouterLink for SimRouterLink {
    async fn submit(&self, command: CommandRecord) -> Result<(), Error> {
        let submitted = self.at_router(|router| async move { router.submit(command).await }).await;
        submitted.unwrap_or_else(|| Err(Error::unavailable("no router answers")))
    }

    async fn typing(&self, request: TypingRequest) {
        self.at_router(|router| async move { router.typing(request).await }).await;
    }

    async fn control(&self, control: Control) {
        self.at_router(|router| async move { router.control(control).await }).await;
    }
}
