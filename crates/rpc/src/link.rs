//! The link between a router and a node.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::RwLock;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, KeyId, LogId, LogKey, TenantId, TimeUs, UserId};
use stonechat_proto::{internal::v1::CommandRecord, internal::v1::Origin, v1};

/// What a node asks of a router.
#[async_trait]
pub trait RouterLink: Send + Sync + 'static {
    /// Hands over a command, after those that were handed over before it. When it returns the command is in the log or
    /// on its way there; its outcome, or why it could not be taken, comes to the origin's inbox, unless the router or
    /// the owner is lost: whoever waits needs a deadline. On an error it may or may not be in the log.
    async fn submit(&self, command: CommandRecord) -> Result<(), Error>;

    /// Tells a conversation's other members that a user types. Nothing is kept; failures are not told.
    async fn typing(&self, request: TypingRequest);

    /// Tells every node something about credentials.
    async fn control(&self, control: Control);
}

/// A user types, or stopped. The node has checked that the user is a member.
#[derive(Debug, Clone)]
pub struct TypingRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The user.
    pub user: UserId,
    /// Whether the user stopped.
    pub stopped: bool,
}

/// What became of a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose command it was.
    pub origin: Origin,
    /// What became of it.
    pub result: Result<Done, Error>,
}

/// A command was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The event's seq; 0 where nothing had to change.
    pub seq: u64,
    /// The event's time.
    pub time_us: TimeUs,
    /// The log.
    pub log: LogId,
}

/// Events for the sessions of a node, rising by seq.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The log they are of.
    pub log: LogKey,
    /// The log's kind after them.
    pub kind: v1::ConversationKind,
    /// The events.
    pub events: Vec<Arc<v1::Event>>,
    /// Whose sessions get them.
    pub audience: Audience,
    /// The W3C trace context of the first event that is traced; empty where none is.
    pub traceparent: String,
}

/// Whose sessions get something.
#[derive(Debug, Clone)]
pub enum Audience {
    /// These users'.
    Users(Vec<UserId>),
    /// Those that are interested in the channel.
    Interested,
}

/// A signal for the sessions of a node.
#[derive(Debug, Clone)]
pub struct SignalDelivery {
    /// The tenant.
    pub tenant: TenantId,
    /// The signal; its conversation names the channel where the audience is the interested.
    pub signal: v1::Signal,
    /// Whose sessions get it; the user whom the signal is about does not.
    pub audience: Audience,
}

/// Something about credentials that every node must know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A key was disabled or changed: forget what is cached, close sessions that came by it.
    KeyChanged {
        /// The tenant.
        tenant: TenantId,
        /// The key.
        key: KeyId,
    },
    /// A tenant was suspended, resumed or deleted.
    TenantChanged {
        /// The tenant.
        tenant: TenantId,
    },
}

/// What a router or presence tells a node. Never blocks: a node keeps bounded queues of its own.
pub trait Inbox: Send + Sync + 'static {
    /// A command's outcome.
    fn outcome(&self, outcome: Outcome);
    /// Events.
    fn deliver(&self, delivery: Delivery);
    /// Events, and outcomes of commands that led to them, in order. A node that gathers what a session gets from
    /// them into one write does so here.
    fn batch(&self, deliveries: Vec<Delivery>, outcomes: Vec<Outcome>) {
        deliveries.into_iter().for_each(|delivery| self.deliver(delivery));
        outcomes.into_iter().for_each(|outcome| self.outcome(outcome));
    }
    /// A signal.
    fn signal(&self, signal: SignalDelivery);
    /// Something about credentials.
    fn control(&self, control: Control);
    /// What was sent since some moment may be missing: register everything again and check all heads.
    fn unsure(&self);
}

/// The inboxes that a process can reach, by node: those of its own nodes, and those of nodes that are linked to it.
#[derive(Default)]
pub struct Inboxes {
    // Ordered, so that telling all of them is the same in every run of the simulation.
    by_node: RwLock<BTreeMap<GatewayId, Known>>,
}

struct Known {
    inbox: Arc<dyn Inbox>,
    /// It is in another process.
    is_linked: bool,
}

impl Inboxes {
    /// Adds or replaces the inbox of a node of this process.
    pub fn insert(&self, node: GatewayId, inbox: Arc<dyn Inbox>) {
        self.by_node.write().insert(node, Known { inbox, is_linked: false });
    }

    /// Adds the inbox of a node in another process, or replaces that of its last link. `false`: the node is in this
    /// process and keeps its own.
    pub fn link(&self, node: &GatewayId, inbox: &Arc<dyn Inbox>) -> bool {
        let mut by_node = self.by_node.write();
        if by_node.get(node).is_some_and(|known| !known.is_linked) {
            return false;
        }
        by_node.insert(node.clone(), Known { inbox: Arc::clone(inbox), is_linked: true });
        true
    }

    /// Takes the inbox of a link that ended out, unless the node has another one by now.
    pub fn unlink(&self, node: &GatewayId, inbox: &Arc<dyn Inbox>) {
        let mut by_node = self.by_node.write();
        if by_node.get(node).is_some_and(|known| Arc::ptr_eq(&known.inbox, inbox)) {
            by_node.remove(node);
        }
    }

    /// Takes a node's inbox out.
    pub fn remove(&self, node: &GatewayId) {
        self.by_node.write().remove(node);
    }

    /// A node's inbox.
    pub fn get(&self, node: &str) -> Option<Arc<dyn Inbox>> {
        self.by_node.read().get(node).map(|known| Arc::clone(&known.inbox))
    }

    /// Every inbox.
    pub fn all(&self) -> Vec<Arc<dyn Inbox>> {
        self.by_node.read().values().map(|known| Arc::clone(&known.inbox)).collect()
    }
}
