//! Links between nodes and routers over real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_backends::proxy::{Network, Proxy};
use stonechat_errors::{Code, Error};
use stonechat_model::{GatewayId, LogId, LogKey, TenantId, UserId};
use stonechat_proto::internal::v1::{CommandRecord, Origin};
use stonechat_rpc::{
    Audience, Control, Delivery, Done, Inbox, Inboxes, Outcome, RouterLink, SignalDelivery, TypingRequest,
    remote::{LinkServer, RouterLinks},
};
use support::{Server, peers};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(20);

/// A router that remembers what it was handed.
#[derive(Default)]
struct Front {
    commands: Mutex<Vec<CommandRecord>>,
    controls: Mutex<Vec<Control>>,
    changed: watch::Sender<()>,
    refuses: bool,
}

#[async_trait]
impl RouterLink for Front {
    async fn submit(&self, command: CommandRecord) -> Result<(), Error> {
        if self.refuses {
            return Err(Error::unavailable("the log is full"));
        }
        self.commands.lock().push(command);
        self.changed.send_replace(());
        Ok(())
    }

    async fn typing(&self, _: TypingRequest) {}

    async fn control(&self, control: Control) {
        self.controls.lock().push(control);
        self.changed.send_replace(());
    }
}

impl Front {
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            while !holds(self) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn has(&self, count: usize) {
        self.until(|front| front.commands.lock().len() == count).await;
    }

    fn ids(&self) -> Vec<u64> {
        self.commands.lock().iter().filter_map(|command| Some(command.origin.as_ref()?.id)).collect()
    }
}

struct Router {
    front: Arc<Front>,
    inboxes: Arc<Inboxes>,
    closing: CancellationToken,
    server: Server,
    /// The way to it.
    proxy: Proxy,
}

impl Router {
    async fn start() -> Self {
        Self::of(Front::default()).await
    }

    async fn of(front: Front) -> Self {
        let (front, inboxes, closing) = (Arc::new(front), Arc::new(Inboxes::default()), CancellationToken::new());
        let server = Server::start(|drain| {
            let front = Arc::clone(&front) as Arc<dyn RouterLink>;
            LinkServer::service(front, Arc::clone(&inboxes), drain, closing.clone())
        })
        .await;
        let proxy = Proxy::start(vec![server.address]).await.unwrap();
        Self { front, inboxes, closing, server, proxy }
    }

    fn tell(&self, node: &str) -> Arc<dyn Inbox> {
        self.inboxes.get(node).unwrap()
    }
}

/// What a node is told.
struct Told {
    outcomes: mpsc::UnboundedSender<Outcome>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    unsure: AtomicU64,
}

impl Inbox for Told {
    fn outcome(&self, outcome: Outcome) {
        self.outcomes.send(outcome).unwrap();
    }

    fn deliver(&self, delivery: Delivery) {
        self.deliveries.send(delivery).unwrap();
    }

    fn signal(&self, _: SignalDelivery) {}

    fn control(&self, _: Control) {}

    fn unsure(&self) {
        self.unsure.fetch_add(1, Ordering::Relaxed);
    }
}

struct Node {
    links: Arc<RouterLinks>,
    told: Arc<Told>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    _end: DropGuard,
}

impl Node {
    async fn linked(routers: &[&Router]) -> Self {
        let addresses: Vec<_> = routers.iter().map(|router| router.proxy.address()).collect();
        let links = RouterLinks::new(GatewayId::parse("node").unwrap(), None);
        let ((outcomes, heard), (deliveries, delivered)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let told = Arc::new(Told { outcomes, deliveries, unsure: AtomicU64::new(0) });
        let end = CancellationToken::new();
        let inbox = Arc::clone(&told) as Arc<dyn Inbox>;
        tokio::spawn(Arc::clone(&links).run(peers(&addresses), inbox, end.clone()));
        let node = Self { links, told, outcomes: heard, deliveries: delivered, _end: end.drop_guard() };
        node.has_links(addresses.len()).await;
        node
    }

    async fn has_links(&self, count: usize) {
        let mut ready = self.links.ready();
        tokio::time::timeout(PATIENCE, ready.wait_for(|links| *links == count)).await.unwrap().unwrap();
    }

    async fn next(&mut self) -> Outcome {
        tokio::time::timeout(PATIENCE, self.outcomes.recv()).await.unwrap().unwrap()
    }

    /// The id of the command that was done next.
    async fn done(&mut self) -> u64 {
        let outcome = self.next().await;
        assert_eq!(outcome.result.unwrap().seq, outcome.origin.id);
        outcome.origin.id
    }
}

fn origin(id: u64) -> Origin {
    Origin { node: "node".to_owned(), session: 1, id }
}

fn command(log: &str, id: u64) -> CommandRecord {
    let (tenant, log) = ("t".to_owned(), log.to_owned());
    CommandRecord { tenant, log, origin: Some(origin(id)), ..CommandRecord::default() }
}

fn log() -> LogKey {
    let alice = UserId::parse("alice").unwrap();
    LogKey { tenant: TenantId::parse("t").unwrap(), log: LogId::User(alice) }
}

fn done(id: u64) -> Outcome {
    Outcome { origin: origin(id), result: Ok(Done { seq: id, time_us: 5, log: log().log }) }
}

#[tokio::test]
async fn commands_go_one_way_and_what_they_lead_to_the_other() {
    let router = Router::start().await;
    let mut node = Node::linked(&[&router]).await;
    for id in 1..=100 {
        node.links.submit(command("c", id)).await.unwrap();
    }
    router.front.has(100).await;
    assert_eq!(router.front.ids(), (1..=100).collect::<Vec<_>>(), "in the order in which they were handed over");
    let event = Arc::new(stonechat_proto::v1::Event { seq: 7, ..Default::default() });
    let delivery = Delivery {
        log: log(),
        kind: stonechat_proto::v1::ConversationKind::Group,
        events: vec![event],
        audience: Audience::Users(vec![UserId::parse("alice").unwrap()]),
        traceparent: String::new(),
    };
    router.tell("node").batch(vec![delivery], vec![done(1)]);
    router.tell("node").outcome(done(2));
    let delivered = tokio::time::timeout(PATIENCE, node.deliveries.recv()).await.unwrap().unwrap();
    assert_eq!((delivered.events[0].seq, node.done().await, node.done().await), (7, 1, 2));
    let changed = Control::TenantChanged { tenant: TenantId::parse("t").unwrap() };
    node.links.control(changed.clone()).await;
    router.front.until(|front| *front.controls.lock() == [changed.clone()]).await;
}

#[tokio::test]
async fn a_command_that_the_log_refuses_is_answered() {
    let router = Router::of(Front { refuses: true, ..Front::default() }).await;
    let mut node = Node::linked(&[&router]).await;
    node.links.submit(command("c", 1)).await.unwrap();
    assert_eq!(node.next().await.result.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn commands_that_a_lost_router_did_not_answer_are_to_be_repeated() {
    let (lost, stays) = (Router::start().await, Router::start().await);
    let mut node = Node::linked(&[&lost, &stays]).await;
    let before = node.told.unsure.load(Ordering::Relaxed);
    for id in 1..=40 {
        // Of many logs some go to each.
        node.links.submit(command(&format!("c{id}"), id)).await.unwrap();
    }
    let both = async {
        while lost.front.commands.lock().len() + stays.front.commands.lock().len() < 40 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(!lost.front.ids().is_empty() && !stays.front.ids().is_empty());
    let answered = stays.front.ids()[0];
    stays.tell("node").outcome(done(answered));
    assert_eq!(node.done().await, answered);
    lost.proxy.set(Network::Cut);
    let mut repeated = Vec::new();
    for _ in 0..39 {
        let outcome = node.next().await;
        assert!(outcome.result.unwrap_err().is_retryable());
        repeated.push(outcome.origin.id);
    }
    repeated.sort_unstable();
    let expected: Vec<u64> = (1..=40).filter(|id| *id != answered).collect();
    assert_eq!(repeated, expected, "all but the one that was answered");
    node.has_links(1).await;
    assert!(node.told.unsure.load(Ordering::Relaxed) > before);
    node.links.submit(command("c1", 41)).await.unwrap();
    stays.front.until(|front| front.ids().contains(&41)).await;
}

#[tokio::test]
async fn a_router_that_drains_gets_nothing_new_and_still_answers() {
    let (one, two) = (Router::start().await, Router::start().await);
    let mut node = Node::linked(&[&one, &two]).await;
    let (log, id) = ("c".to_owned(), 1);
    node.links.submit(command(&log, id)).await.unwrap();
    let taken_by_it = async {
        while one.front.ids().is_empty() && two.front.ids().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_by_it).await.unwrap();
    let (first, other) = if one.front.ids().is_empty() { (two, one) } else { (one, two) };
    first.server.drain.cancel();
    node.has_links(1).await;
    node.links.submit(command(&log, 1_000)).await.unwrap();
    other.front.has(1).await;
    assert_eq!((other.front.ids(), first.front.ids()), (vec![1_000], vec![id]));
    first.tell("node").outcome(done(id));
    assert_eq!(node.done().await, id);
    // The link ends in order: nothing has to be repeated.
    first.closing.cancel();
    tokio::time::timeout(PATIENCE, first.server.stop()).await.unwrap();
    other.tell("node").outcome(done(1_000));
    assert_eq!(node.done().await, 1_000);
}

#[tokio::test]
async fn without_a_router_a_command_is_refused_to_be_repeated() {
    let router = Router::start().await;
    let node = Node::linked(&[&router]).await;
    router.proxy.set(Network::Cut);
    node.has_links(0).await;
    let error = node.links.submit(command("c", 1)).await.unwrap_err();
    assert!(error.is_retryable());
}
