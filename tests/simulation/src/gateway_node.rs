//! A gateway: the real hub and sessions, on simulated seams and connections.

use std::{sync::Arc, time::Duration};

use futures::future::{Either, select};
use parking_lot::Mutex;
use stonechat_auth::Verifier;
use stonechat_gateway::{Encoding, GatewayConfig, Hub, HubDependencies, Next, Rules, Session};
use stonechat_model::GatewayId;
use stonechat_proto::v1::ClientFrame;
use stonechat_quotas::{Clients, Meter};
use stonechat_rows::Rows;
use stonechat_rpc::{Control, Delivery, Inbox, Outcome, Presence, RouterLink, SignalDelivery};

use crate::{
    bell::Bell,
    executor::{Node, Runtime},
    links::{Links, SimRouterLink},
    wire::Wire,
};

/// How often a gateway renews its lease.
const RENEW_EVERY_US: u64 = 4_000_000;
const RETRY_PAUSE_US: u64 = 200_000;
/// Work of the hub that is done at once.
const WORKERS: usize = 3;
/// Bytes that are written at once.
const GATHER_BYTES: usize = 16_384;

/// What gateways share.
#[derive(Clone)]
pub struct GatewayWorld {
    /// The executor.
    pub runtime: Runtime,
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Presence.
    pub presence: Arc<dyn Presence>,
    /// The links.
    pub links: Links,
    /// The rules that hold.
    pub rules: Rules,
}

/// A gateway that runs.
#[derive(Clone)]
pub struct GatewayNode {
    /// Its node.
    pub node: Node,
    runtime: Runtime,
    /// What it drives.
    pub hub: Arc<Hub>,
    is_ready: Arc<Mutex<bool>>,
    ready: Arc<Bell>,
    wires: Arc<Mutex<Vec<Wire>>>,
}

/// Starts a gateway as a process of its own.
pub fn start(world: &GatewayWorld, id: &GatewayId) -> GatewayNode {
    let node = world.runtime.new_node();
    let link = Arc::new(SimRouterLink { links: world.links.clone(), endpoint: id.clone() });
    let gateway = start_on(world, node, id, link, Arc::clone(&world.presence));
    world.links.add_endpoint(id, node, gateway.inbox());
    gateway
}

/// Starts a gateway on a node, with its way to routers.
pub fn start_on(
    world: &GatewayWorld,
    node: Node,
    id: &GatewayId,
    link: Arc<dyn RouterLink>,
    presence: Arc<dyn Presence>,
) -> GatewayNode {
    let (runtime, rows) = (world.runtime.clone(), Arc::clone(&world.rows));
    let (sleeping, telling) = (runtime.clone(), runtime.clone());
    let dependencies = HubDependencies {
        verifier: Arc::new(Verifier::new(Arc::clone(&rows))),
        clients: Arc::new(Clients::new(Arc::clone(&rows), Arc::new(Meter::new(Arc::clone(&rows), id.as_str())), 1)),
        rows,
        presence,
        link,
        hooks: None,
        sleep: Arc::new(move |time: Duration| Box::pin(sleeping.sleep(u64::try_from(time.as_micros()).unwrap_or(0)))),
        now_us: Arc::new(move || telling.now_us()),
    };
    // Small, so that channels of a few sessions rest too.
    let config = GatewayConfig { gather_sessions: 2, ..GatewayConfig::new(id.clone()) };
    let hub = Hub::new(config, dependencies, world.rules);
    let gateway = GatewayNode {
        node,
        runtime: runtime.clone(),
        hub,
        is_ready: Arc::default(),
        ready: Arc::default(),
        wires: Arc::default(),
    };
    runtime.spawn(node, keep_up(gateway.clone()));
    gateway
}

/// What the shell of a gateway does beside its connections.
async fn keep_up(gateway: GatewayNode) {
    let GatewayNode { runtime, hub, .. } = &gateway;
    while hub.start().await.is_err() {
        runtime.sleep(RETRY_PAUSE_US).await;
    }
    for _ in 0..WORKERS {
        let (hub, tracing) = (Arc::clone(hub), runtime.clone());
        runtime.spawn(gateway.node, async move {
            loop {
                let work = hub.next_work().await;
                tracing.trace(|| format!("{} works at {work:?}", hub.id()));
                Box::pin(hub.perform(work)).await;
            }
        });
    }
    let resting = Arc::clone(hub);
    runtime.spawn(gateway.node, async move { resting.end_rests().await });
    let noting = Arc::clone(hub);
    runtime.spawn(gateway.node, async move { noting.write_notes().await });
    *gateway.is_ready.lock() = true;
    gateway.ready.ring();
    loop {
        runtime.sleep(RENEW_EVERY_US).await;
        hub.renew().await;
        hub.tick(runtime.now_us());
    }
}

impl GatewayNode {
    /// Where routers tell it things.
    pub fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::new(Overheard { runtime: self.runtime.clone(), hub: Arc::clone(&self.hub) })
    }

    /// Takes a connection.
    pub fn connect(&self, wire: Wire) {
        self.wires.lock().push(wire.clone());
        let gateway = self.clone();
        self.runtime.spawn(self.node, async move { gateway.serve(wire).await });
    }

    async fn serve(&self, wire: Wire) {
        self.ready.until(|| self.is_ready.lock().then_some(())).await;
        let mut session = Session::new(Arc::clone(&self.hub), Encoding::Protobuf);
        let outbox = Arc::clone(session.outbox());
        loop {
            let (next, incoming) = (std::pin::pin!(outbox.next(GATHER_BYTES)), std::pin::pin!(wire.up.next()));
            let turn = select(next, incoming).await;
            match turn {
                Either::Left((Next::Frames(frames), _)) => frames.into_iter().for_each(|frame| wire.down.send(frame)),
                Either::Left((Next::Close(_), _)) | Either::Right((None, _)) => break,
                Either::Right((Some(bytes), _)) => {
                    let Ok(frame) = session.encoding().decode(bytes) else { break };
                    if !self.handle(&mut session, frame, &wire).await {
                        break;
                    }
                }
            }
        }
        wire.cut(usize::MAX);
        Box::pin(session.end()).await;
    }

    /// Has a frame answered, and writes meanwhile what there is to say. Gives whether the session goes on.
    async fn handle(&self, session: &mut Session, frame: ClientFrame, wire: &Wire) -> bool {
        let outbox = Arc::clone(session.outbox());
        let mut handling = Box::pin(session.handle(frame, self.runtime.now_us()));
        loop {
            match select(handling.as_mut(), std::pin::pin!(outbox.next(GATHER_BYTES))).await {
                Either::Left(_) => return true,
                Either::Right((Next::Frames(frames), _)) => frames.into_iter().for_each(|frame| wire.down.send(frame)),
                Either::Right((Next::Close(_), _)) => return false,
            }
        }
    }

    /// The gateway died: its connections break.
    pub fn died(&self, arriving: usize) {
        self.wires.lock().drain(..).for_each(|wire| wire.cut(arriving));
    }
}

/// A hub's inbox whose deliveries are traced.
struct Overheard {
    runtime: Runtime,
    hub: Arc<Hub>,
}

impl Inbox for Overheard {
    fn outcome(&self, outcome: Outcome) {
        self.hub.outcome(outcome);
    }

    fn deliver(&self, delivery: Delivery) {
        self.hub.deliver(delivery);
    }

    fn batch(&self, deliveries: Vec<Delivery>, outcomes: Vec<Outcome>) {
        for Delivery { log, events, audience, .. } in &deliveries {
            let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
            self.runtime.trace(|| format!("{} gets {seqs:?} of {:?} for {audience:?}", self.hub.id(), log.log));
        }
        self.hub.batch(deliveries, outcomes);
    }

    fn signal(&self, signal: SignalDelivery) {
        self.hub.signal(signal);
    }

    fn control(&self, control: Control) {
        self.hub.control(control);
    }

    fn unsure(&self) {
        self.runtime.trace(|| format!("{} is unsure", self.hub.id()));
        self.hub.unsure();
    }
}
