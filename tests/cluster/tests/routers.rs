//! Routers that share the partitions of a real Kafka.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use stonechat_backends::{
    kafka::Kafka,
    server::{Size, until},
};
use stonechat_commands::CommandRequest;
use stonechat_log::{CommandLog, CommandSource, KafkaCommandLog, KafkaConfig, KafkaEventStream, LogError, prepare};
use stonechat_model::{ClientId, ConversationId, GatewayId, LogId, LogKey, TenantId, UserId, now_us};
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_proto::v1::{Action, ConversationKind, Create, Event, Message, action::Kind};
use stonechat_router::{Dependencies, RouterService};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows, tables};
use stonechat_rpc::{CommandCaller, Inbox, Inboxes, Presence, RouterLink};
use stonechat_views::Views;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(90);
/// How long a command may take before it is sent again.
const ANSWER: Duration = Duration::from_secs(5);
const CONVERSATIONS: usize = 24;
const MEMBERS: [&str; 3] = ["alice", "bob", "carol"];

/// What all routers share.
struct World {
    config: KafkaConfig,
    rows: Arc<dyn Rows>,
    presence: Arc<dyn Presence>,
    inboxes: Arc<Inboxes>,
    kafka: Kafka,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
        let kafka = Kafka::single(Size::Small).await.unwrap();
        let config = KafkaConfig {
            brokers: kafka.bootstrap(),
            partitions: 6,
            replication: 1,
            min_insync_replicas: 1,
            ..KafkaConfig::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        let presence = MemoryPresence::new(PresenceConfig::default(), Arc::new(now_us));
        prepare(&config, rows.as_ref()).await.unwrap();
        Self { config, rows, presence, inboxes: Arc::default(), kafka, _folder: folder }
    }

    async fn front(&self) -> Arc<dyn RouterLink> {
        let log = KafkaCommandLog::open(&self.config).await.unwrap();
        self.front_of(log)
    }

    fn front_of(&self, log: Arc<dyn CommandLog>) -> Arc<dyn RouterLink> {
        let (rows, presence) = (Arc::clone(&self.rows), Arc::clone(&self.presence));
        Arc::new(RouterService::new(log, rows, presence, Arc::clone(&self.inboxes)))
    }

    fn caller(&self, name: &str, link: &Arc<dyn RouterLink>) -> Arc<CommandCaller> {
        let node = GatewayId::parse(name).unwrap();
        let caller = CommandCaller::new(node.clone(), Arc::clone(link), |_| {});
        self.inboxes.insert(node, Arc::clone(&caller) as Arc<dyn Inbox>);
        caller
    }

    /// A router, as its process would be.
    async fn router(&self, name: &str) -> Router {
        let log = KafkaCommandLog::open(&self.config).await.unwrap();
        let stream = KafkaEventStream::open(&self.config).await.unwrap();
        let caller = self.caller(name, &self.front_of(Arc::clone(&log) as Arc<dyn CommandLog>));
        let claims = Arc::new(AtomicU64::new(0));
        let dependencies = Dependencies {
            log: Arc::new(Counted { log, claims: Arc::clone(&claims) }),
            stream,
            rows: Arc::clone(&self.rows),
            presence: Arc::clone(&self.presence),
            inboxes: Arc::clone(&self.inboxes),
            caller,
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(stonechat_router::run(dependencies, shutdown.clone()));
        Router { shutdown, task, claims }
    }

    async fn events(&self, log: &LogKey) -> Vec<Event> {
        let range = tables::bucket_range(&tables::EVENTS, log, 0, 4_096, false, 10_000);
        let rows = self.rows.range(range).await.unwrap();
        rows.into_iter().map(|row| Event::decode(row.value).unwrap()).collect()
    }
}

/// A command log that counts the partitions that were claimed of it.
struct Counted {
    log: Arc<KafkaCommandLog>,
    claims: Arc<AtomicU64>,
}

#[async_trait]
impl CommandLog for Counted {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    async fn append(&self, key: &LogKey, payload: Bytes) -> Result<(), LogError> {
        self.log.append(key, payload).await
    }

    async fn claim(&self) -> Result<Box<dyn CommandSource>, LogError> {
        let claimed = self.log.claim().await;
        self.claims.fetch_add(u64::from(claimed.is_ok()), Ordering::Relaxed);
        claimed
    }

    async fn leave(&self) {
        self.log.leave().await;
    }
}

struct Router {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    claims: Arc<AtomicU64>,
}

impl Router {
    async fn wait_for_claims(&self, wanted: u64) {
        assert!(until(PATIENCE, async || self.claims.load(Ordering::Relaxed) >= wanted).await, "no partitions");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn conversation(number: usize) -> LogKey {
    let id = ConversationId::parse(&format!("room{number}")).unwrap();
    LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(id) }
}

/// Sends to each conversation, one after the other, each again until it is answered.
struct Senders {
    tasks: JoinSet<(usize, Vec<(ClientId, u64)>)>,
    is_ending: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Senders {
    fn start(caller: &Arc<CommandCaller>, views: &Views, is_first: bool) -> Self {
        let (is_ending, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for number in 0..CONVERSATIONS {
            let (caller, views) = (Arc::clone(caller), views.clone());
            let (is_ending, answered) = (Arc::clone(&is_ending), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut done = Vec::new();
                if is_first {
                    let members = MEMBERS[1..].iter().map(ToString::to_string).collect();
                    let create = Create { kind: ConversationKind::Group.into(), members, settings: None };
                    done.push(send(&caller, &views, number, Kind::Create(create)).await);
                }
                while !is_ending.load(Ordering::Relaxed) {
                    let message = Message { text: format!("message {}", done.len()), ..Message::default() };
                    done.push(send(&caller, &views, number, Kind::Send(message)).await);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                (number, done)
            });
        }
        Self { tasks, is_ending, answered }
    }

    async fn wait_for(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        assert!(until(PATIENCE, async || self.answered.load(Ordering::Relaxed) >= wanted).await, "no answers");
    }

    async fn end(self) -> BTreeMap<usize, Vec<(ClientId, u64)>> {
        self.is_ending.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.tasks.join_all()).await.unwrap().into_iter().collect()
    }
}

async fn send(caller: &CommandCaller, views: &Views, number: usize, kind: Kind) -> (ClientId, u64) {
    let client_id = ClientId::generate();
    let LogKey { tenant, log } = conversation(number);
    let request = CommandRequest {
        tenant,
        sender: Some(UserId::parse(MEMBERS[0]).unwrap()),
        is_by_tenant: false,
        asked_hash: 0,
        conversation: log.to_string(),
        client_id,
        action: Action { kind: Some(kind) },
        traceparent: String::new(),
    };
    let record = stonechat_commands::command(views, request).await.unwrap();
    loop {
        match caller.call(record.clone(), ANSWER).await {
            Ok(done) => return (client_id, done.seq),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// Everything that was answered is there once, where the answer said, and nothing is between.
async fn check(world: &World, answered: &BTreeMap<usize, Vec<(ClientId, u64)>>) {
    for (number, answers) in answered {
        let events = world.events(&conversation(*number)).await;
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "room{number} has gaps");
        let ids: BTreeSet<&str> = events.iter().map(|event| event.client_id.as_str()).collect();
        assert_eq!(ids.len(), events.len(), "room{number} has something twice");
        for (id, seq) in answers {
            let event = &events[usize::try_from(*seq).unwrap() - 1];
            assert_eq!(event.client_id, id.to_string(), "room{number}: {seq} is not what was answered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_come_and_go_and_nothing_is_lost_doubled_or_reordered() {
    let world = World::new().await;
    let views = Views::new(Arc::clone(&world.rows));
    let front = world.front().await;
    let api = world.caller("api", &front);
    let first = world.router("router1").await;
    let senders = Senders::start(&api, &views, true);
    senders.wait_for(200).await;
    let second = world.router("router2").await;
    second.wait_for_claims(3).await;
    senders.wait_for(200).await;
    first.stop().await;
    second.wait_for_claims(6).await;
    senders.wait_for(200).await;
    let third = world.router("router3").await;
    third.wait_for_claims(3).await;
    senders.wait_for(200).await;
    second.stop().await;
    senders.wait_for(200).await;
    let mut answered = senders.end().await;
    check(&world, &answered).await;

    // Another number of partitions, once everything that followed was done.
    let next = KafkaConfig { generation: 2, partitions: 10, ..world.config.clone() };
    let prepared = until(PATIENCE, async || prepare(&next, world.rows.as_ref()).await.is_ok()).await;
    assert!(prepared, "{:?}", prepare(&next, world.rows.as_ref()).await);
    third.stop().await;
    let world = World { config: next, ..world };
    let front = world.front().await;
    let api = world.caller("api", &front);
    let fourth = world.router("router4").await;
    let senders = Senders::start(&api, &views, false);
    senders.wait_for(500).await;
    for (number, mut answers) in senders.end().await {
        answered.entry(number).or_default().append(&mut answers);
    }
    check(&world, &answered).await;
    for member in MEMBERS {
        let log = LogKey { tenant: conversation(0).tenant, log: LogId::User(UserId::parse(member).unwrap()) };
        let known = async || world.events(&log).await.len() >= CONVERSATIONS;
        assert!(until(PATIENCE, known).await, "{member} was not told of every conversation");
    }
    fourth.stop().await;
    drop(world.kafka);
}
