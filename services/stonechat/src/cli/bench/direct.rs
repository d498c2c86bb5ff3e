//! One-to-one messages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use rand::Rng as _;
use stonechat_proto::v1::{ConversationKind, event, server_frame};
use tokio::{task::JoinSet, time::sleep};

use super::{
    BenchArgs,
    connection::{Connection, open_all, text},
    report::{Latencies, Report, float, latencies, record},
    server::{Server, Window},
};
use crate::cli::CliError;

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;
/// Conversations that are made at once.
const MADE_AT_ONCE: usize = 16;
/// How long the last messages may be on their way.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// What all pairs look at.
struct Shared {
    phase: AtomicU8,
    size: usize,
    /// At a fixed rate: the time from one message of a pair to the next.
    interval: Option<Duration>,
}

/// What a pair has seen.
struct Seen {
    latencies: Latencies,
    messages: u64,
    errors: u64,
}

/// As fast as it goes, one in flight per pair: whoever got the last message sends the next.
pub(super) async fn closed_loop(args: &BenchArgs, server: &Server) -> Result<Report, CliError> {
    measure("direct", args, server, None).await
}

/// At a fixed rate over all pairs, whatever the answers take.
pub(super) async fn open_loop(args: &BenchArgs, server: &Server) -> Result<Report, CliError> {
    let pairs = u32::try_from(args.users() / 2).unwrap_or(u32::MAX);
    let interval = Duration::from_secs(1) * pairs / u32::try_from(args.rate.max(1)).unwrap_or(u32::MAX);
    measure("rate", args, server, Some(interval)).await
}

async fn measure(
    bench: &str,
    args: &BenchArgs,
    server: &Server,
    interval: Option<Duration>,
) -> Result<Report, CliError> {
    let mut opened = open_all(server, args.users() / 2 * 2).await?.into_iter();
    let shared = Arc::new(Shared { phase: AtomicU8::new(WARMING_UP), size: args.size, interval });
    let mut pairs = JoinSet::new();
    // Some at once, or the last ones wait for longer than a session may be silent.
    let meeting = std::iter::from_fn(|| Some(meet(opened.next()?, opened.next()?)));
    let mut made = iter(meeting).buffer_unordered(MADE_AT_ONCE);
    while let Some((a, b, conversation)) = made.try_next().await? {
        pairs.spawn(pair(a, b, conversation, Arc::clone(&shared)));
    }
    sleep(args.warm_up()).await;
    let window = Window::begin(server);
    shared.phase.store(MEASURING, Ordering::Relaxed);
    sleep(args.measured()).await;
    shared.phase.store(OVER, Ordering::Relaxed);
    let spent = window.end(server);
    let mut all = Seen { latencies: latencies(), messages: 0, errors: 0 };
    while let Some(seen) = pairs.join_next().await {
        let seen = seen.map_err(|e| CliError::Failed(format!("a pair failed: {e}")))?;
        all.messages += seen.messages;
        all.errors += seen.errors;
        let added = all.latencies.add(&seen.latencies);
        added.map_err(|e| CliError::Failed(format!("add latencies: {e}")))?;
    }
    Ok(Report {
        bench: bench.to_owned(),
        users: args.users(),
        messages_per_second: Some(float(all.messages) / spent.seconds),
        server_cpu_us_per_message: spent.cpu_us.map(|us| float(us) / float(all.messages.max(1))),
        cpu_us_per_message_by_process: spent.per(all.messages),
        server_resident_bytes: server.resident_bytes(),
        errors: all.errors,
        ..Report::default()
    }
    .with_latencies(&all.latencies))
}

/// Gives two users the conversation they write in.
async fn meet(mut a: Connection, b: Connection) -> Result<(Connection, Connection, String), CliError> {
    let conversation = a.create(ConversationKind::Direct, vec![b.user.clone()]).await?;
    Ok((a, b, conversation))
}

async fn pair(a: Connection, b: Connection, conversation: String, shared: Arc<Shared>) -> Seen {
    let mut seen = Seen { latencies: latencies(), messages: 0, errors: 0 };
    let (mut sender, mut receiver) = (a, b);
    let text_of_size = "x".repeat(shared.size);
    let mut due = Instant::now();
    if let Some(interval) = shared.interval {
        // Pairs begin at different moments of the interval.
        due += interval.mul_f64(rand::rng().random_range(0.0..1.0));
    }
    let mut id = 1;
    loop {
        if shared.interval.is_some() {
            tokio::time::sleep_until(due.into()).await;
        } else {
            due = Instant::now();
        }
        let phase = shared.phase.load(Ordering::Relaxed);
        if phase == OVER {
            return seen;
        }
        id += 1;
        let sent = sender.command(id, &conversation, text(text_of_size.clone())).await;
        let arrived = match sent {
            Ok(()) => tokio::time::timeout(STRAGGLERS, arrival(&mut receiver, &sender.user)).await,
            Err(error) => Ok(Err(error)),
        };
        match arrived {
            Ok(Ok(errors)) => seen.errors += errors,
            Ok(Err(_)) | Err(_) => {
                seen.errors += 1;
                return seen;
            }
        }
        if phase == MEASURING && shared.phase.load(Ordering::Relaxed) == MEASURING {
            seen.messages += 1;
            record(&mut seen.latencies, due.elapsed());
        }
        due += shared.interval.unwrap_or_default();
        std::mem::swap(&mut sender, &mut receiver);
    }
}

/// Waits for the peer's message; gives how many refusals came before it.
pub(super) async fn arrival(receiver: &mut Connection, peer: &str) -> Result<u64, CliError> {
    let mut errors = 0;
    loop {
        match receiver.next().await? {
            server_frame::Kind::Event(frame) => {
                let is_message = |event: &stonechat_proto::v1::Event| {
                    event.sender == peer && matches!(event.body, Some(event::Body::Message(_)))
                };
                if frame.event.as_ref().is_some_and(is_message) {
                    return Ok(errors);
                }
            }
            server_frame::Kind::Error(_) => errors += 1,
            _ => {}
        }
    }
}
