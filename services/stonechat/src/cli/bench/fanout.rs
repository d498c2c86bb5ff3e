//! One channel with many members who all listen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use parking_lot::Mutex;
use stonechat_model::limits;
use stonechat_proto::v1::{AddMembers, ConversationKind, action, event, server_frame};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    BenchArgs,
    connection::{Connection, OPEN_AT_ONCE, text},
    links,
    progress::{Progress, within},
    report::{Latencies, Report, float, latencies, quantile_ms, record},
    server::{Server, Window},
};
use crate::cli::CliError;

/// Messages of one run, at most.
const MESSAGES: usize = 1 << 20;
/// How long it may take to make the channel.
const MAKE_PATIENCE: Duration = Duration::from_secs(300);
/// How long members may take to connect and to hear of the channel.
const JOIN_PATIENCE: Duration = Duration::from_secs(600);
/// How long a message may take to reach everybody before the run fails.
const STALLED: Duration = Duration::from_secs(20);

/// A message on its way.
struct Flight {
    /// Nanoseconds after the start.
    sent_ns: AtomicU64,
    missing: AtomicU32,
}

struct Shared {
    started: Instant,
    flights: Vec<Flight>,
    window: Semaphore,
    /// Nothing more is sent.
    is_over: AtomicBool,
    /// A permit for each member that knows of the channel.
    joined: Semaphore,
    deliveries: AtomicU64,
    /// Latencies to the last member, of messages sent while measuring.
    last: Mutex<Latencies>,
    measured_from_ns: AtomicU64,
}

/// Measures.
pub(super) async fn fanout(args: &BenchArgs, server: &Server) -> Result<Report, CliError> {
    let making = make_channel(server, args.users());
    let conversation = within("make the channel", MAKE_PATIENCE, making).await?;
    let count = args.users() - 1 - usize::from(args.reader_off);
    let expected = u32::try_from(count).unwrap_or(u32::MAX);
    let flight = || Flight { sent_ns: AtomicU64::new(0), missing: AtomicU32::new(expected) };
    let shared = Arc::new(Shared {
        started: Instant::now(),
        flights: (0..MESSAGES).map(|_| flight()).collect(),
        window: Semaphore::new(args.window.max(1)),
        is_over: AtomicBool::new(false),
        joined: Semaphore::new(0),
        deliveries: AtomicU64::new(0),
        last: Mutex::new(latencies()),
        measured_from_ns: AtomicU64::new(u64::MAX),
    });
    let mut members = within("have all members join", JOIN_PATIENCE, join(server, count, &shared)).await?;
    // Opened now: it would have been silent for too long.
    let mut sender = Connection::open(server, "u0".to_owned()).await?;
    // Held, and never read.
    let silent = match args.reader_off {
        true => Some(Connection::open(server, format!("u{}", count + 1)).await?),
        false => None,
    };
    let links = Links::begin(args, server).await?;
    let mut sending = std::pin::pin!(send(&mut sender, &conversation, args, &shared));
    let measuring = async {
        sleep(args.warm_up()).await;
        let window = Window::begin(server);
        shared.measured_from_ns.store(shared.now_ns(), Ordering::Relaxed);
        let before = shared.deliveries.load(Ordering::Relaxed);
        sleep(args.measured()).await;
        let deliveries = shared.deliveries.load(Ordering::Relaxed) - before;
        (window.end(server), deliveries)
    };
    let (spent, deliveries) = tokio::select! {
        measured = measuring => measured,
        ended = sending.as_mut() => {
            ended?;
            return Err(CliError::Failed("the run is too long".to_owned()));
        }
    };
    shared.is_over.store(true, Ordering::Relaxed);
    let sent = sending.await?;
    let links = links.end(args, sent).await?;
    drop(silent);
    members.abort_all();
    let last = shared.last.lock();
    Ok(Report {
        bench: format!("fanout-{}", args.window),
        users: args.users(),
        messages_per_second: Some(float(deliveries) / f64::from(expected.max(1)) / spent.seconds),
        deliveries_per_second: Some(float(deliveries) / spent.seconds),
        last_member_p50_ms: quantile_ms(&last, 0.5),
        last_member_p99_ms: quantile_ms(&last, 0.99),
        server_cpu_us_per_message: spent.cpu_us.map(|us| float(us) * f64::from(expected) / float(deliveries.max(1))),
        server_cpu_us_per_delivery: spent.cpu_us.map(|us| float(us) / float(deliveries.max(1))),
        cpu_us_per_delivery_by_process: spent.per(deliveries),
        server_resident_bytes: server.resident_bytes(),
        events_sent: links.map(|_| sent),
        link_events: links.map(|(events, _)| events),
        link_events_per_event_and_gateway: links.map(|(_, share)| share),
        ..Report::default()
    }
    .with_latencies(&last))
}

async fn make_channel(server: &Server, users: usize) -> Result<String, CliError> {
    let mut owner = Connection::open(server, "u0".to_owned()).await?;
    let conversation = owner.create(ConversationKind::Channel, Vec::new()).await?;
    let others: Vec<String> = (1..users).map(|index| format!("u{index}")).collect();
    for some in others.chunks(limits::MEMBERS_PER_COMMAND) {
        let add = AddMembers { users: some.to_vec(), role: 0 };
        owner.call(&conversation, action::Kind::AddMembers(add)).await?;
    }
    Ok(conversation)
}

/// Opens the members' sessions, and waits until each has heard of its membership: it gets what is sent from there on.
async fn join(server: &Server, count: usize, shared: &Arc<Shared>) -> Result<JoinSet<()>, CliError> {
    let mut members = JoinSet::new();
    let dialled = iter(1..=count).map(|it| Connection::dial(server.next_host(), format!("u{it}")));
    let mut dialled = dialled.buffered(OPEN_AT_ONCE);
    let mut progress = Progress::begin("members connected", count);
    while let Some(mut member) = dialled.try_next().await? {
        member.hello(server, Vec::new(), 0).await?;
        members.spawn(listen(member, Arc::clone(shared)));
        progress.at(members.len());
    }
    progress.end();
    let mut progress = Progress::begin("members joined", count);
    for joined in 0..count {
        let permit = shared.joined.acquire().await.map_err(|e| CliError::Failed(e.to_string()))?;
        permit.forget();
        progress.at(joined + 1);
    }
    progress.end();
    Ok(members)
}

impl Shared {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A message reached a member.
    fn arrived(&self, index: usize) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let Some(flight) = self.flights.get(index) else { return };
        if flight.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.window.add_permits(1);
            let sent_ns = flight.sent_ns.load(Ordering::Relaxed);
            if sent_ns >= self.measured_from_ns.load(Ordering::Relaxed) {
                record(&mut self.last.lock(), Duration::from_nanos(self.now_ns() - sent_ns));
            }
        }
    }
}

/// What links carried until nothing was sent yet, where that is counted.
struct Links {
    before: Option<u64>,
    gateways: usize,
}

impl Links {
    async fn begin(args: &BenchArgs, server: &Server) -> Result<Self, CliError> {
        let before = match args.router_metrics.is_empty() {
            true => None,
            false => Some(links::quiet(&args.router_metrics).await?),
        };
        Ok(Self { before, gateways: server.hosts.len() })
    }

    /// What they carried since, and how much that is for each event and gateway, once everything arrived.
    async fn end(self, args: &BenchArgs, sent: u64) -> Result<Option<(u64, f64)>, CliError> {
        let Some(before) = self.before else { return Ok(None) };
        let carried = links::quiet(&args.router_metrics).await? - before;
        Ok(Some((carried, float(carried) / float((sent * self.gateways as u64).max(1)))))
    }
}

/// Keeps the window full until it is over, and waits until everything arrived; gives how many messages were sent.
async fn send(sender: &mut Connection, conversation: &str, args: &BenchArgs, shared: &Shared) -> Result<u64, CliError> {
    let size = args.size;
    let mut sent = 0;
    for index in 0..MESSAGES {
        let permit = room(shared, 1).await?;
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        permit.forget();
        let text_of_size = format!("{index:<size$}");
        shared.flights[index].sent_ns.store(shared.now_ns(), Ordering::Relaxed);
        sender.command(index as u64 + 10, conversation, text(text_of_size)).await?;
        sent += 1;
        read_away(sender).await?;
    }
    drop(room(shared, args.window.max(1)).await?);
    Ok(sent)
}

/// Waits for room for so many messages.
async fn room(shared: &Shared, count: usize) -> Result<SemaphorePermit<'_>, CliError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match timeout(STALLED, shared.window.acquire_many(count)).await {
        Ok(permit) => permit.map_err(|e| CliError::Failed(e.to_string())),
        Err(_) => Err(CliError::Failed("a message did not reach everybody".to_owned())),
    }
}

/// Reads what came back meanwhile, so that the sender is no slow reader itself.
async fn read_away(sender: &mut Connection) -> Result<(), CliError> {
    while let Ok(frame) = timeout(Duration::ZERO, sender.next()).await {
        if let server_frame::Kind::Error(error) = frame? {
            return Err(CliError::Failed(format!("{}: {}", error.code, error.reason)));
        }
    }
    Ok(())
}

async fn listen(mut member: Connection, shared: Arc<Shared>) {
    let mut has_joined = false;
    loop {
        let Ok(kind) = member.next_alive().await else { return };
        match kind {
            server_frame::Kind::Page(page) if !has_joined && !page.conversations.is_empty() => {
                has_joined = true;
                shared.joined.add_permits(1);
            }
            server_frame::Kind::Event(frame) => {
                if let Some(event::Body::Message(message)) = frame.event.and_then(|event| event.body)
                    && let Ok(index) = message.text.trim_end().parse()
                {
                    shared.arrived(index);
                }
            }
            _ => {}
        }
    }
}
