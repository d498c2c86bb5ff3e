//! The router's side of links.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{BoxStream, FuturesUnordered},
};
use prost::Message as _;
use stonechat_model::{GatewayId, limits};
use stonechat_proto::internal::v1::{
    CommandOutcome, CommandRecord, CredentialsChanged, EventsToNode, NodeFrame, RouterFrame, SignalToNode,
    router_server,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    FRAME_BYTES,
    convert::{
        control_from_wire, control_to_wire, delivery_to_wire, outcome_to_wire, signal_to_wire, typing_from_wire,
    },
    errors::unreadable,
    gather::{Bounds, Gather},
};
use crate::{Control, Delivery, Inbox, Inboxes, Outcome, RouterLink, SignalDelivery};

/// How long a node may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// What waits for one node.
const ITEMS: usize = 262_144;
/// Bytes of an outcome, a signal or what is told of credentials, about.
const SMALL_BYTES: usize = 128;

/// The router role's service.
pub struct LinkServer {
    front: Arc<dyn RouterLink>,
    inboxes: Arc<Inboxes>,
    drain: CancellationToken,
    closing: CancellationToken,
}

impl LinkServer {
    /// Hands commands to `front`, and adds nodes to `inboxes`. After `drain` nodes are told to go elsewhere, and still
    /// hear what their commands lead to; with `closing` links end.
    pub fn service(
        front: Arc<dyn RouterLink>,
        inboxes: Arc<Inboxes>,
        drain: CancellationToken,
        closing: CancellationToken,
    ) -> router_server::RouterServer<impl router_server::Router> {
        let server = router_server::RouterServer::new(Self { front, inboxes, drain, closing });
        server.max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES)
    }
}

#[async_trait]
impl router_server::Router for LinkServer {
    type LinkStream = BoxStream<'static, Result<RouterFrame, Status>>;

    async fn link(&self, request: Request<Streaming<NodeFrame>>) -> Result<Response<Self::LinkStream>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("there was no hello"))??;
        let hello = first.and_then(|frame| frame.hello).ok_or_else(|| unreadable("there is no hello"))?;
        let node = GatewayId::parse(&hello.node).map_err(unreadable)?;

        let out = Arc::new(Gather::new(Bounds { items: ITEMS, bytes: limits::LINK_QUEUE_BYTES }));
        let _ = out.push(Item::Welcome, 0);
        let inbox: Arc<dyn Inbox> = Arc::new(Remote { out: Arc::clone(&out) });
        if !self.inboxes.link(&node, &inbox) {
            tracing::debug!(node.id = %node, "a node of this process needs no link");
        }
        let link = Link {
            node,
            front: Arc::clone(&self.front),
            inboxes: Arc::clone(&self.inboxes),
            inbox,
            out: Arc::clone(&out),
            drain: self.drain.clone(),
            closing: self.closing.clone(),
        };
        tokio::spawn(link.work(incoming));
        let frames = futures::stream::unfold(Told(out), |told| async {
            let items = told.0.take(limits::PEER_GATHER_BYTES).await?;
            Some((Ok(gathered(items)), told))
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

enum Item {
    Welcome,
    Delivery(EventsToNode),
    Outcome(CommandOutcome),
    Signal(SignalToNode),
    Control(CredentialsChanged),
    Unsure,
    Draining,
}

/// What waits for a node as one frame.
fn gathered(items: Vec<Item>) -> RouterFrame {
    let mut frame = RouterFrame::default();
    for item in items {
        match item {
            Item::Welcome => frame.welcome = true,
            Item::Delivery(delivery) => frame.deliveries.push(delivery),
            Item::Outcome(outcome) => frame.outcomes.push(outcome),
            Item::Signal(signal) => frame.signals.push(signal),
            Item::Control(control) => frame.controls.push(control),
            Item::Unsure => frame.unsure = true,
            Item::Draining => frame.draining = true,
        }
    }
    frame
}

/// What a node is told; when it is gone nothing more is gathered.
struct Told(Arc<Gather<Item>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.drain();
    }
}

/// One node's link.
struct Link {
    node: GatewayId,
    front: Arc<dyn RouterLink>,
    inboxes: Arc<Inboxes>,
    inbox: Arc<dyn Inbox>,
    out: Arc<Gather<Item>>,
    drain: CancellationToken,
    closing: CancellationToken,
}

impl Link {
    async fn work(self, incoming: Streaming<NodeFrame>) {
        if let Err(status) = self.read(incoming).await {
            tracing::debug!(node.id = %self.node, %status, "link of a node was lost");
        }
        self.inboxes.unlink(&self.node, &self.inbox);
        self.out.close();
    }

    /// Reads until the node ends its side, appending what comes in its order.
    async fn read(&self, mut incoming: Streaming<NodeFrame>) -> Result<(), Status> {
        let mut appending = FuturesUnordered::new();
        let mut told = false;
        let mut ended = false;
        while !ended || !appending.is_empty() {
            let may_read = !ended && appending.len() < limits::LINK_COMMANDS_APPENDED;
            tokio::select! {
                biased;
                () = self.drain.cancelled(), if !told => {
                    told = true;
                    let _ = self.out.push(Item::Draining, 0);
                }
                () = self.closing.cancelled() => return Ok(()),
                Some(()) = appending.next() => {}
                frame = incoming.message(), if may_read => match frame? {
                    Some(frame) => {
                        // Each is put into the log's queue when it is first looked at, which is in this order.
                        appending.extend(frame.commands.into_iter().map(|command| self.append(command)));
                        for typing in &frame.typing {
                            self.front.typing(typing_from_wire(typing)?).await;
                        }
                        for control in &frame.controls {
                            self.front.control(control_from_wire(control)?).await;
                        }
                    }
                    None => ended = true,
                }
            }
        }
        // A node that was told to go elsewhere still hears what its commands lead to.
        if told {
            self.closing.run_until_cancelled(self.out.closed()).await;
        }
        Ok(())
    }

    async fn append(&self, command: CommandRecord) {
        let origin = command.origin.clone();
        if let (Err(error), Some(origin)) = (self.front.submit(command).await, origin) {
            self.inbox.outcome(Outcome { origin, result: Err(error) });
        }
    }
}

/// A node in another process.
struct Remote {
    out: Arc<Gather<Item>>,
}

impl Remote {
    fn push(&self, item: Item, size: usize) {
        if self.out.push(item, size).is_err() {
            // It reads too slowly, or not at all: its link ends, it links again and checks for itself.
            self.out.drain();
        }
    }
}

impl Inbox for Remote {
    fn outcome(&self, outcome: Outcome) {
        self.push(Item::Outcome(outcome_to_wire(outcome)), SMALL_BYTES);
    }

    fn deliver(&self, delivery: Delivery) {
        let events = u64::try_from(delivery.events.len()).unwrap_or(u64::MAX);
        metrics::counter!("stonechat_rpc_link_events_total").increment(events);
        let wire = delivery_to_wire(&delivery);
        let size = wire.encoded_len();
        self.push(Item::Delivery(wire), size);
    }

    fn signal(&self, signal: SignalDelivery) {
        self.push(Item::Signal(signal_to_wire(signal)), SMALL_BYTES);
    }

    fn control(&self, control: Control) {
        self.push(Item::Control(control_to_wire(&control)), SMALL_BYTES);
    }

    fn unsure(&self) {
        self.push(Item::Unsure, 0);
    }
}
