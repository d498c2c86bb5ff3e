//! A router: the real owners, follower and front, on simulated seams.

use std::{sync::Arc, time::Duration};

use stonechat_log::{CommandLog, CommandSource, EventStream, StreamSource};
use stonechat_model::GatewayId;
use stonechat_router::{Fanout, FanoutDependencies, Owner, OwnerDependencies, RouterService, Rules};
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Inboxes, Presence, RouterLink};

use crate::{
    executor::{Node, Runtime},
    links::Links,
    logs::{SimCommandLog, SimEventStream},
    partitioned::Partitioned,
};

/// The consumers of the event stream.
pub const CONSUMERS: &[&str] = &["fanout"];
const RETRY_PAUSE_US: u64 = 100_000;

/// What routers share.
#[derive(Clone)]
pub struct RouterWorld {
    /// The executor.
    pub runtime: Runtime,
    /// The command log.
    pub commands: Partitioned,
    /// The event stream.
    pub events: Partitioned,
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Presence.
    pub presence: Arc<dyn Presence>,
    /// The links.
    pub links: Links,
    /// The rules that hold.
    pub rules: Rules,
}

/// Starts a router.
pub fn start(world: &RouterWorld, id: &GatewayId) -> Node {
    let node = world.runtime.new_node();
    let inboxes = Arc::new(Inboxes::default());
    let log: Arc<dyn CommandLog> = Arc::new(SimCommandLog { log: world.commands.clone(), node });
    let stream: Arc<dyn EventStream> = Arc::new(SimEventStream { log: world.events.clone(), node, groups: CONSUMERS });
    let (rows, presence) = (Arc::clone(&world.rows), Arc::clone(&world.presence));
    let service: Arc<dyn RouterLink> =
        Arc::new(RouterService::new(Arc::clone(&log), Arc::clone(&rows), Arc::clone(&presence), Arc::clone(&inboxes)));
    let caller = CommandCaller::new(id.clone(), Arc::clone(&service), |_| {});
    inboxes.insert(id.clone(), Arc::clone(&caller) as _);
    let owner = OwnerDependencies {
        rows: Arc::clone(&rows),
        stream: Arc::clone(&stream),
        presence: Arc::clone(&presence),
        inboxes: Arc::clone(&inboxes),
        rules: world.rules,
    };
    world.runtime.spawn(node, own_partitions(world.runtime.clone(), node, log, owner));
    let sleeping = world.runtime.clone();
    let follower = FanoutDependencies {
        rows,
        presence,
        inboxes: Arc::clone(&inboxes),
        caller: Arc::clone(&caller),
        sleep: Arc::new(move |time: Duration| Box::pin(sleeping.sleep(u64::try_from(time.as_micros()).unwrap_or(0)))),
    };
    world.runtime.spawn(node, follow_events(world.runtime.clone(), node, stream, follower));
    world.links.add_server(node, service, inboxes);
    world.links.add_endpoint(id, node, caller);
    node
}

/// Owns what partitions the node is given.
pub async fn own_partitions(runtime: Runtime, node: Node, log: Arc<dyn CommandLog>, owner: OwnerDependencies) {
    loop {
        match log.claim().await {
            Ok(source) => runtime.spawn(node, own(runtime.clone(), source, owner.clone())),
            Err(_) => runtime.sleep(RETRY_PAUSE_US).await,
        }
    }
}

async fn own(runtime: Runtime, mut source: Box<dyn CommandSource>, dependencies: OwnerDependencies) {
    let owner = Owner::new(source.partition(), dependencies);
    if Box::pin(owner.run(source.as_mut())).await.is_err() {
        // The partition is free again when its source is dropped.
        runtime.sleep(RETRY_PAUSE_US).await;
    }
}

/// Follows what partitions of the event stream the node is given.
pub async fn follow_events(
    runtime: Runtime,
    node: Node,
    stream: Arc<dyn EventStream>,
    dependencies: FanoutDependencies,
) {
    loop {
        match stream.claim(CONSUMERS[0]).await {
            Ok(source) => runtime.spawn(node, follow(runtime.clone(), source, dependencies.clone())),
            Err(_) => runtime.sleep(RETRY_PAUSE_US).await,
        }
    }
}

async fn follow(runtime: Runtime, mut source: Box<dyn StreamSource>, dependencies: FanoutDependencies) {
    let fanout = Fanout::new(dependencies);
    if Box::pin(fanout.run(source.as_mut())).await.is_err() {
        runtime.sleep(RETRY_PAUSE_US).await;
    }
}
