//! The node's side of links: one to every router.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{GatewayId, limits};
use stonechat_proto::internal::v1::{
    CommandRecord, CredentialsChanged, LinkHello, NodeFrame, Origin, RouterFrame, TypingToMembers,
    router_client::RouterClient,
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    FRAME_BYTES, Peers,
    convert::{
        control_from_wire, control_to_wire, delivery_from_wire, outcome_from_wire, signal_from_wire, typing_to_wire,
    },
    gather::{Bounds, Gather, Refused},
    unanswered::Unanswered,
};
use crate::{Control, Inbox, Outcome, RouterLink, TypingRequest};

/// How long a router may take to welcome a node.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a sender waits when a link is full or no router is there.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often commands are looked for that are late.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a typing request or of what is told of credentials, about.
const SMALL_BYTES: usize = 128;

/// The links of one node to every router.
pub struct RouterLinks {
    node: GatewayId,
    /// A router in this process takes the node's commands; links then bring what other routers have for the node.
    local: Option<Arc<dyn RouterLink>>,
    inbox: OnceLock<Arc<dyn Inbox>>,
    links: RwLock<Vec<Arc<Link>>>,
    unanswered: Mutex<Unanswered>,
    ready: watch::Sender<usize>,
}

struct Link {
    address: SocketAddr,
    out: Gather<Item>,
    draining: AtomicBool,
}

enum Item {
    Command(Box<CommandRecord>),
    Typing(TypingToMembers),
    Control(CredentialsChanged),
}

impl RouterLinks {
    /// The links of a node, none of them open yet.
    pub fn new(node: GatewayId, local: Option<Arc<dyn RouterLink>>) -> Arc<Self> {
        let (inbox, links, unanswered) = Default::default();
        Arc::new(Self { node, local, inbox, links, unanswered, ready: watch::Sender::new(0) })
    }

    /// Keeps a link to each router until shutdown; what routers tell the node comes to its inbox.
    pub async fn run(self: Arc<Self>, peers: Peers, inbox: Arc<dyn Inbox>, shutdown: CancellationToken) {
        // A second call would change nothing: a node has one inbox.
        let _ = self.inbox.set(Arc::clone(&inbox));
        let late = Arc::clone(&self).tell_late(Arc::clone(&inbox), shutdown.clone());
        let link = move |address, channel| {
            let (links, inbox) = (Arc::clone(&self), Arc::clone(&inbox));
            async move { links.run_link(address, channel, inbox.as_ref()).await }
        };
        tokio::join!(peers.keep(shutdown, link), late);
    }

    /// Answers the commands that are not decided in time.
    async fn tell_late(self: Arc<Self>, inbox: Arc<dyn Inbox>, shutdown: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(look.tick()).await.is_some() {
            let late = self.unanswered.lock().late(Instant::now());
            if !late.is_empty() {
                metrics::counter!("stonechat_rpc_commands_late_total").increment(late.len() as u64);
                inbox.batch(Vec::new(), late);
            }
        }
    }

    /// How many routers take commands.
    pub fn ready(&self) -> watch::Receiver<usize> {
        self.ready.subscribe()
    }

    async fn run_link(&self, address: SocketAddr, channel: Channel, inbox: &dyn Inbox) {
        let bounds = Bounds { items: limits::LINK_COMMANDS_QUEUED, bytes: limits::LINK_QUEUE_BYTES };
        let link = Arc::new(Link { address, out: Gather::new(bounds), draining: AtomicBool::new(false) });
        let mut incoming = match tokio::time::timeout(WELCOME_TIMEOUT, self.open(&link, channel)).await {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(status)) => {
                tracing::debug!(peer.address = %address, %status, "router cannot be linked to");
                return;
            }
            Err(_) => {
                tracing::debug!(peer.address = %address, "router did not welcome this node");
                return;
            }
        };
        tracing::info!(peer.address = %address, "linked to a router");
        let listed = Listed::new(self, &link);
        // It may have had something for this node before it knew where to send it.
        inbox.unsure();
        let end = self.read(&link, &mut incoming, inbox).await;
        drop(listed);
        let queued = link.out.drain().into_iter();
        let queued = queued.filter_map(|item| if let Item::Command(command) = item { command.origin } else { None });
        let mut lost: Vec<Origin> = queued.inspect(|origin| self.unanswered.lock().remove(origin)).collect();
        if end.is_err() {
            // Which of them that router had taken, or was to tell the outcome of, nobody knows: all are to be
            // repeated, which does no harm.
            lost.extend(self.unanswered.lock().take_all());
        }
        for origin in lost {
            let error = Error::unavailable("a router was lost").retry_after(RETRY_AFTER);
            inbox.outcome(Outcome { origin, result: Err(error) });
        }
        match end {
            Ok(()) => tracing::info!(peer.address = %address, "router ended the link"),
            Err(status) => tracing::warn!(peer.address = %address, %status, "link to a router was lost"),
        }
        metrics::counter!("stonechat_rpc_links_lost_total").increment(1);
        // What it sent last may not have come.
        inbox.unsure();
    }

    async fn open(&self, link: &Arc<Link>, channel: Channel) -> Result<Streaming<RouterFrame>, Status> {
        let client = RouterClient::new(channel);
        let mut client = client.max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES);
        let hello = NodeFrame { hello: Some(LinkHello { node: self.node.to_string() }), ..NodeFrame::default() };
        let frames = futures::stream::unfold((Some(hello), Arc::clone(link)), |(hello, link)| async {
            let frame = match hello {
                Some(hello) => hello,
                None => gathered(link.out.take(limits::PEER_GATHER_BYTES).await?),
            };
            Some((frame, (None, link)))
        });
        let mut incoming = client.link(frames).await?.into_inner();
        match incoming.message().await? {
            Some(frame) if frame.welcome => Ok(incoming),
            _ => Err(Status::unavailable("there was no welcome")),
        }
    }

    async fn read(
        &self,
        link: &Arc<Link>,
        incoming: &mut Streaming<RouterFrame>,
        inbox: &dyn Inbox,
    ) -> Result<(), Status> {
        while let Some(frame) = incoming.message().await? {
            if frame.draining {
                link.draining.store(true, Ordering::Relaxed);
                self.unlist(link);
                // What is queued still goes out; the router reads until then.
                link.out.close();
            }
            self.hear(frame, inbox)?;
        }
        Ok(())
    }

    fn hear(&self, frame: RouterFrame, inbox: &dyn Inbox) -> Result<(), Status> {
        let deliveries = frame.deliveries.into_iter().map(delivery_from_wire).collect::<Result<Vec<_>, _>>()?;
        let outcome = |outcome| outcome_from_wire(self.node.as_str(), outcome);
        let outcomes = frame.outcomes.into_iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
        self.settle(&outcomes);
        if !deliveries.is_empty() || !outcomes.is_empty() {
            inbox.batch(deliveries, outcomes);
        }
        for signal in frame.signals {
            inbox.signal(signal_from_wire(signal)?);
        }
        for control in &frame.controls {
            inbox.control(control_from_wire(control)?);
        }
        if frame.unsure {
            inbox.unsure();
        }
        Ok(())
    }

    fn settle(&self, outcomes: &[Outcome]) {
        if !outcomes.is_empty() {
            let (mut unanswered, now) = (self.unanswered.lock(), Instant::now());
            outcomes.iter().for_each(|outcome| unanswered.settle(outcome, now));
        }
    }

    fn unlist(&self, link: &Arc<Link>) {
        let mut links = self.links.write();
        links.retain(|other| !Arc::ptr_eq(other, link));
        self.ready.send_replace(links.len());
    }

    /// The link that the commands of a log go over, so that they stay in order; another one only when it is lost.
    fn link_of(&self, command: &CommandRecord) -> Option<Arc<Link>> {
        let links = self.links.read();
        let weight = |link: &&Arc<Link>| {
            let mut hash = Xxh3Default::new();
            hash.update(command.tenant.as_bytes());
            hash.update(&[0]);
            hash.update(command.log.as_bytes());
            hash.update(&[0]);
            match link.address.ip() {
                std::net::IpAddr::V4(ip) => hash.update(&ip.octets()),
                std::net::IpAddr::V6(ip) => hash.update(&ip.octets()),
            }
            hash.update(&link.address.port().to_be_bytes());
            hash.digest()
        };
        links.iter().max_by_key(weight).cloned()
    }

    fn any(&self) -> Option<Arc<Link>> {
        self.links.read().first().cloned()
    }
}

/// What waits for a router as one frame.
fn gathered(items: Vec<Item>) -> NodeFrame {
    let mut frame = NodeFrame::default();
    for item in items {
        match item {
            Item::Command(command) => frame.commands.push(*command),
            Item::Typing(typing) => frame.typing.push(typing),
            Item::Control(control) => frame.controls.push(control),
        }
    }
    frame
}

/// A link that takes commands for as long as this lives.
struct Listed<'a> {
    links: &'a RouterLinks,
    link: &'a Arc<Link>,
}

impl<'a> Listed<'a> {
    fn new(links: &'a RouterLinks, link: &'a Arc<Link>) -> Self {
        let mut open = links.links.write();
        open.push(Arc::clone(link));
        links.ready.send_replace(open.len());
        Self { links, link }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.links.unlist(self.link);
    }
}

#[async_trait]
impl RouterLink for RouterLinks {
    async fn submit(&self, command: CommandRecord) -> Result<(), Error> {
        if let Some(local) = &self.local {
            return local.submit(command).await;
        }
        let (mut command, mut is_waited_for) = (command, false);
        loop {
            let Some(link) = self.link_of(&command) else {
                command.origin.iter().for_each(|origin| self.unanswered.lock().remove(origin));
                return Err(Error::unavailable("no router can be reached").retry_after(RETRY_AFTER));
            };
            let size = command.encoded_len();
            let again = command.clone();
            if !is_waited_for {
                let added = self.unanswered.lock().add(&command, Instant::now());
                added.inspect_err(|_| metrics::counter!("stonechat_rpc_commands_shed_total").increment(1))?;
                is_waited_for = true;
            }
            match link.out.push(Item::Command(Box::new(command)), size) {
                Ok(()) => return Ok(()),
                Err(Refused::Full) => {
                    again.origin.iter().for_each(|origin| self.unanswered.lock().remove(origin));
                    return Err(Error::unavailable("too many commands wait").retry_after(RETRY_AFTER));
                }
                // Lost just now, and no longer among the links in a moment.
                Err(Refused::Closed) => {
                    self.unlist(&link);
                    command = again;
                }
            }
        }
    }

    async fn typing(&self, request: TypingRequest) {
        match (&self.local, self.any()) {
            (Some(local), _) => local.typing(request).await,
            // Failures are not told: typing passes by.
            (None, Some(link)) => drop(link.out.push(Item::Typing(typing_to_wire(&request)), SMALL_BYTES)),
            (None, None) => {}
        }
    }

    async fn control(&self, control: Control) {
        if let Some(local) = &self.local {
            local.control(control.clone()).await;
        }
        // Every router tells the nodes that it knows: one of them may not know all.
        for link in self.links.read().iter() {
            if link.out.push(Item::Control(control_to_wire(&control)), SMALL_BYTES).is_err() {
                tracing::warn!(peer.address = %link.address, "a router was not told of changed credentials");
            }
        }
    }
}
