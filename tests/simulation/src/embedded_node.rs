//! The product in one process: the real embedded logs and presence on simulated rows. A crash takes everything but
//! the rows, whose writes under way land at that moment or never.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use stonechat_log::{CommandLog, EmbeddedCommandLog, EmbeddedEventStream, EventStream, LogError, next_generation};
use stonechat_model::GatewayId;
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_router::{FanoutDependencies, OwnerDependencies, RouterService};
use stonechat_rpc::{CommandCaller, Inboxes, Presence, RouterLink};

use crate::{
    executor::Node,
    gateway_node::{self, GatewayNode, GatewayWorld},
    router_node::{self, RouterWorld},
};

const RETRY_PAUSE_US: u64 = 50_000;
const EXPIRE_EVERY_US: u64 = 3_000_000;

/// The names of a process's parts, new for each life.
pub struct Names {
    /// The router's.
    pub router: GatewayId,
    /// The gateway's.
    pub gateway: GatewayId,
}

/// Starts the process; its gateway is among `gateways` once it is up.
pub fn start(
    routers: &RouterWorld,
    gateways_of: &GatewayWorld,
    partitions: u32,
    names: Names,
    gateways: &Arc<Mutex<Vec<GatewayNode>>>,
) -> Node {
    let node = routers.runtime.new_node();
    let (routers, gateways_of, gateways) = (routers.clone(), gateways_of.clone(), Arc::clone(gateways));
    let runtime = routers.runtime.clone();
    runtime.spawn(node, async move {
        let (log, stream) = loop {
            match open(&routers, partitions).await {
                Ok(opened) => break opened,
                Err(_) => routers.runtime.sleep(RETRY_PAUSE_US).await,
            }
        };
        run(&routers, &gateways_of, node, &names, log, stream, &gateways);
    });
    node
}

async fn open(
    world: &RouterWorld,
    partitions: u32,
) -> Result<(Arc<EmbeddedCommandLog>, Arc<EmbeddedEventStream>), LogError> {
    let generation = next_generation(world.rows.as_ref()).await?;
    let stream = EmbeddedEventStream::open(Arc::clone(&world.rows), partitions).await?;
    let clock = world.runtime.clone();
    Ok((EmbeddedCommandLog::new(partitions, generation, Arc::new(move || clock.now_us())), stream))
}

fn run(
    routers: &RouterWorld,
    gateways_of: &GatewayWorld,
    node: Node,
    names: &Names,
    log: Arc<dyn CommandLog>,
    stream: Arc<dyn EventStream>,
    gateways: &Mutex<Vec<GatewayNode>>,
) {
    let runtime = &routers.runtime;
    let clock = runtime.clone();
    let memory = MemoryPresence::new(PresenceConfig::default(), Arc::new(move || clock.now_us()));
    let (sleeping, expiring) = (runtime.clone(), Arc::clone(&memory));
    runtime.spawn(node, async move {
        loop {
            sleeping.sleep(EXPIRE_EVERY_US).await;
            expiring.expire();
        }
    });
    let presence: Arc<dyn Presence> = memory;
    let rows = Arc::clone(&routers.rows);
    let inboxes = Arc::new(Inboxes::default());
    let service = RouterService::new(Arc::clone(&log), Arc::clone(&rows), Arc::clone(&presence), Arc::clone(&inboxes));
    let service: Arc<dyn RouterLink> = Arc::new(service);
    let caller = CommandCaller::new(names.router.clone(), Arc::clone(&service), |_| {});
    inboxes.insert(names.router.clone(), Arc::clone(&caller) as _);
    let owner = OwnerDependencies {
        rows: Arc::clone(&rows),
        stream: Arc::clone(&stream),
        presence: Arc::clone(&presence),
        inboxes: Arc::clone(&inboxes),
        rules: routers.rules,
    };
    runtime.spawn(node, router_node::own_partitions(runtime.clone(), node, log, owner));
    let sleeping = runtime.clone();
    let follower = FanoutDependencies {
        rows,
        presence: Arc::clone(&presence),
        inboxes: Arc::clone(&inboxes),
        caller,
        sleep: Arc::new(move |time: Duration| Box::pin(sleeping.sleep(u64::try_from(time.as_micros()).unwrap_or(0)))),
    };
    runtime.spawn(node, router_node::follow_events(runtime.clone(), node, stream, follower));
    let gateway = gateway_node::start_on(gateways_of, node, &names.gateway, Arc::clone(&service), presence);
    inboxes.insert(names.gateway.clone(), gateway.inbox());
    routers.links.add_server(node, service, inboxes);
    gateways.lock().push(gateway);
}
