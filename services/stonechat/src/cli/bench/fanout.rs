//! One channel with many members who all listen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use parking_lot::Mutex;
use stonechat_model::limits;
use stonechat_proto::v1::{AddMembers, ConversationKind, action, event, server_frame};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    BenchArgs,
    connection::{Connection, OPEN_AT_ONCE, text},
    report::{Latencies, Report, float, latencies, quantile_ms, record},
    server::{Server, Window},
};
use crate::cli::CliError;

/// Messages of one run, at most.
const MESSAGES: usize = 1 << 20;
/// How long members may take to hear of the channel.
const JOIN_PATIENCE: Duration = Duration::from_secs(300);
/// Sessions are not silent for longer.
const PING_EVERY: Duration = Duration::from_secs(15);
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
    /// A permit for each member that knows of the channel.
    joined: Semaphore,
    deliveries: AtomicU64,
    /// Latencies to the last member, of messages sent while measuring.
    last: Mutex<Latencies>,
    measured_from_ns: AtomicU64,
}

/// Measures.
pub(super) async fn fanout(args: &BenchArgs, server: &Server) -> Result<Report, CliError> {
    let mut owner = Connection::open(server, "u0".to_owned()).await?;
    let conversation = make_channel(&mut owner, args.users()).await?;
    drop(owner);
    let count = args.users() - 1 - usize::from(args.reader_off);
    let expected = u32::try_from(count).unwrap_or(u32::MAX);
    let flight = || Flight { sent_ns: AtomicU64::new(0), missing: AtomicU32::new(expected) };
    let shared = Arc::new(Shared {
        started: Instant::now(),
        flights: (0..MESSAGES).map(|_| flight()).collect(),
        window: Semaphore::new(args.window.max(1)),
        joined: Semaphore::new(0),
        deliveries: AtomicU64::new(0),
        last: Mutex::new(latencies()),
        measured_from_ns: AtomicU64::new(u64::MAX),
    });
    let mut tasks = JoinSet::new();
    let mut opened =
        iter(1..=count).map(|it| Connection::dial(server.next_host(), format!("u{it}"))).buffered(OPEN_AT_ONCE);
    while let Some(mut member) = opened.try_next().await? {
        member.hello(server, Vec::new(), 0).await?;
        tasks.spawn(listen(member, Arc::clone(&shared)));
    }
    // Whoever has heard of its membership gets what is sent from here on.
    let joined = shared.joined.acquire_many(expected);
    let joined =
        timeout(JOIN_PATIENCE, joined).await.map_err(|_| CliError::Failed("a member did not join".to_owned()))?;
    drop(joined);
    // Opened now: it would have been silent for too long.
    let mut sender = Connection::open(server, "u0".to_owned()).await?;
    // Held, and never read.
    let silent = match args.reader_off {
        true => Some(Connection::open(server, format!("u{}", count + 1)).await?),
        false => None,
    };
    let sending = send(&mut sender, &conversation, args.size, &shared);
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
        failed = sending => return Err(failed),
    };
    drop(silent);
    tasks.abort_all();
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
        ..Report::default()
    }
    .with_latencies(&last))
}

async fn make_channel(owner: &mut Connection, users: usize) -> Result<String, CliError> {
    let conversation = owner.create(ConversationKind::Channel, Vec::new()).await?;
    let others: Vec<String> = (1..users).map(|index| format!("u{index}")).collect();
    for some in others.chunks(limits::MEMBERS_PER_COMMAND) {
        let add = AddMembers { users: some.to_vec(), role: 0 };
        owner.call(&conversation, action::Kind::AddMembers(add)).await?;
    }
    Ok(conversation)
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

/// Keeps the window full; ends only by failing.
async fn send(sender: &mut Connection, conversation: &str, size: usize, shared: &Shared) -> CliError {
    for index in 0..MESSAGES {
        let permit = match timeout(STALLED, shared.window.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(error)) => return CliError::Failed(error.to_string()),
            Err(_) => return CliError::Failed("a message did not reach everybody".to_owned()),
        };
        permit.forget();
        let text_of_size = format!("{index:<size$}");
        shared.flights[index].sent_ns.store(shared.now_ns(), Ordering::Relaxed);
        let sent = sender.command(index as u64 + 10, conversation, text(text_of_size)).await;
        if let Err(error) = sent {
            return error;
        }
        // What came back meanwhile is read away, so that the sender is no slow reader itself.
        loop {
            match timeout(Duration::ZERO, sender.next()).await {
                Err(_) => break,
                Ok(Ok(server_frame::Kind::Error(error))) => {
                    return CliError::Failed(format!("{}: {}", error.code, error.reason));
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
            }
        }
    }
    CliError::Failed("the run is too long".to_owned())
}

async fn listen(mut member: Connection, shared: Arc<Shared>) {
    let mut has_joined = false;
    loop {
        let kind = match timeout(PING_EVERY, member.next()).await {
            Ok(Ok(kind)) => kind,
            Ok(Err(_)) => return,
            Err(_) => {
                drop(member.ping().await);
                continue;
            }
        };
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
