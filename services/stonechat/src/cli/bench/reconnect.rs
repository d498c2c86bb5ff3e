//! A gateway is killed, and its sessions come back to another one all at once.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream::iter};
use parking_lot::Mutex;
use rand::Rng as _;
use serde::Serialize;
use stonechat_model::limits;
use stonechat_proto::v1::{AddMembers, ConversationKind, Cursor, action, server_frame};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    BenchArgs,
    connection::{Connection, text},
    direct::arrival,
    report::{Latencies, float, latencies, quantile_ms, record},
    server::{Server, Window},
};
use crate::cli::CliError;

/// Channels that are made at once.
const MADE_AT_ONCE: usize = 16;
/// Sessions that are opened at once before the gateway is killed.
const OPENED_AT_ONCE: usize = 32;
/// How long a session may take to hear of all its conversations at first.
const JOIN_PATIENCE: Duration = Duration::from_secs(1_200);
/// How long all sessions may take to be in sync again.
const PATIENCE: Duration = Duration::from_secs(180);
/// Sessions are not silent for longer.
const PING_EVERY: Duration = Duration::from_secs(15);
/// What a client waits at first before it connects again, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// How long a client waits for its session.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message of the others may take before it counts as an error.
const STRAGGLER: Duration = Duration::from_secs(20);

/// How to measure it.
#[derive(Debug, Clone, Args)]
pub struct ReconnectArgs {
    #[command(flatten)]
    pub bench: BenchArgs,
    /// Which process is killed: the first gateway, by its name in --server-pid.
    #[arg(long)]
    kill: String,
    /// Conversations of each session.
    #[arg(long, default_value_t = 100)]
    conversations: usize,
    /// In how many of them a message is missed.
    #[arg(long, default_value_t = 1)]
    missed: usize,
    /// Users on the other gateways who chat in pairs meanwhile.
    #[arg(long, default_value_t = 100)]
    others: usize,
    /// What they send, messages per second.
    #[arg(long, default_value_t = 100)]
    others_rate: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct ReconnectReport {
    sessions: usize,
    conversations: usize,
    /// From the kill until the last session was in sync.
    all_in_sync_ms: u128,
    in_sync_p50_ms: Option<f64>,
    in_sync_p99_ms: Option<f64>,
    /// Tries that failed.
    tries_failed: u64,
    /// Beyond what the processes that stayed used before the kill.
    server_cpu_us_per_sync: Option<f64>,
    cpu_us_per_sync_by_process: BTreeMap<String, f64>,
    others_before_p50_ms: Option<f64>,
    others_before_p99_ms: Option<f64>,
    others_meanwhile_p50_ms: Option<f64>,
    others_meanwhile_p99_ms: Option<f64>,
    others_messages: usize,
    others_errors: u64,
}

/// What all sessions look at.
struct Shared {
    server: Server,
    conversations: usize,
    killed: Mutex<Option<Instant>>,
    in_sync: Semaphore,
    /// From the kill to being in sync.
    took: Mutex<Latencies>,
    failed: std::sync::atomic::AtomicU64,
    over: tokio_util::sync::CancellationToken,
}

fn failed(what: &str) -> CliError {
    CliError::Failed(what.to_owned())
}

/// Measures.
pub(super) async fn reconnect(args: &ReconnectArgs, server: Server) -> Result<ReconnectReport, CliError> {
    if server.hosts.len() < 2 {
        return Err(CliError::Usage("two gateways are needed".to_owned()));
    }
    let victim = server.pid_of(&args.kill);
    let victim = victim.ok_or_else(|| CliError::Usage(format!("--server-pid names no {}", args.kill)))?;
    let users = args.bench.users.unwrap_or(5_000);
    let channels = make_channels(&server, users, args.conversations).await?;
    let shared = Arc::new(Shared {
        server,
        conversations: args.conversations,
        killed: Mutex::new(None),
        in_sync: Semaphore::new(0),
        took: Mutex::new(latencies()),
        failed: Default::default(),
        over: Default::default(),
    });
    let mut sessions = JoinSet::new();
    let opened = iter(0..users).map(|index| Session::open(Arc::clone(&shared), index)).buffered(OPENED_AT_ONCE);
    let opened: Vec<Session> = opened.try_collect().await?;
    opened.into_iter().for_each(|session| drop(sessions.spawn(session.live())));
    let others = Others::start(&shared, args).await?;
    let mut writer = Connection::dial(&shared.server.hosts[1], "writer0".to_owned()).await?;
    writer.hello(&shared.server, Vec::new(), 0).await?;

    sleep(args.bench.warm_up()).await;
    let (calm_from, calm) = (Instant::now(), Window::begin(&shared.server));
    sleep(args.bench.measured()).await;
    let calm = calm.end(&shared.server);
    let storm = Window::begin(&shared.server);
    let killed = Instant::now();
    *shared.killed.lock() = Some(killed);
    kill(victim)?;
    for channel in channels.iter().take(args.missed) {
        writer.call(channel, text("missed".to_owned())).await?;
    }
    let all = u32::try_from(users).unwrap_or(u32::MAX);
    let came = timeout(PATIENCE, shared.in_sync.acquire_many(all)).await;
    let all_in_sync = killed.elapsed();
    let storm = storm.end(&shared.server);
    let there = shared.in_sync.available_permits();
    came.map_err(|_| CliError::Failed(format!("only {there} of {users} sessions came back")))?
        .map_err(|_| failed("no session came back"))?
        .forget();
    let sent = others.end().await;
    shared.over.cancel();
    let share = storm.seconds / calm.seconds;
    let extra = |name: &String, used: u64| {
        let before = calm.by_process.get(name).map_or(0.0, |us| float(*us) * share);
        (float(used) - before).max(0.0) / float(users as u64)
    };
    let by_process: BTreeMap<String, f64> =
        storm.by_process.iter().map(|(name, used)| (name.clone(), extra(name, *used))).collect();
    let ours = by_process.iter().filter(|(name, _)| shared.server.pid_of(name).is_some()).map(|(_, us)| us);
    let took = shared.took.lock();
    let (before, meanwhile) = (sent.within(calm_from, killed), sent.within(killed, killed + all_in_sync));
    Ok(ReconnectReport {
        sessions: users,
        conversations: args.conversations,
        all_in_sync_ms: all_in_sync.as_millis(),
        in_sync_p50_ms: quantile_ms(&took, 0.5),
        in_sync_p99_ms: quantile_ms(&took, 0.99),
        tries_failed: shared.failed.load(std::sync::atomic::Ordering::Relaxed),
        server_cpu_us_per_sync: Some(ours.sum()),
        cpu_us_per_sync_by_process: by_process.clone(),
        others_before_p50_ms: quantile_ms(&before, 0.5),
        others_before_p99_ms: quantile_ms(&before, 0.99),
        others_meanwhile_p50_ms: quantile_ms(&meanwhile, 0.5),
        others_meanwhile_p99_ms: quantile_ms(&meanwhile, 0.99),
        others_messages: sent.sent.len(),
        others_errors: sent.errors,
    })
}

fn kill(pid: u32) -> Result<(), CliError> {
    let status = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(failed("the gateway cannot be killed")),
    }
}

fn user(index: usize) -> String {
    format!("r{index}")
}

/// Makes channels whose members are all users and a writer.
async fn make_channels(server: &Server, users: usize, count: usize) -> Result<Vec<String>, CliError> {
    let makers = count.clamp(1, MADE_AT_ONCE);
    let make = |maker: usize| async move {
        let mut writer = Connection::dial(&server.hosts[1], format!("writer{maker}")).await?;
        writer.hello(server, Vec::new(), 0).await?;
        let mut made = Vec::new();
        for _ in (maker..count).step_by(makers) {
            // Who creates it is a member anyway.
            let first = if maker == 0 { Vec::new() } else { vec!["writer0".to_owned()] };
            let channel = writer.create(ConversationKind::Channel, first).await?;
            let all: Vec<String> = (0..users).map(user).collect();
            for some in all.chunks(limits::MEMBERS_PER_COMMAND) {
                let add = AddMembers { users: some.to_vec(), role: 0 };
                writer.call(&channel, action::Kind::AddMembers(add)).await?;
            }
            made.push(channel);
        }
        Ok::<_, CliError>(made)
    };
    let made: Vec<Vec<String>> = iter((0..makers).map(make)).buffered(makers).try_collect().await?;
    Ok(made.into_iter().flatten().collect())
}

/// A session that is about to lose its gateway.
struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    cursors: Vec<Cursor>,
    user_log_seq: u64,
}

impl Session {
    /// Opens it and waits until it knows all its conversations.
    async fn open(shared: Arc<Shared>, index: usize) -> Result<Self, CliError> {
        let mut connection = Connection::dial(&shared.server.hosts[0], user(index)).await?;
        connection.hello(&shared.server, Vec::new(), 0).await?;
        let mut session = Self { shared, connection, cursors: Vec::new(), user_log_seq: 0 };
        let knowing = async {
            let mut seen = BTreeMap::new();
            let mut synced = false;
            while !synced || seen.len() < session.shared.conversations {
                match session.connection.next().await? {
                    server_frame::Kind::Page(page) => {
                        seen.extend(page.conversations.into_iter().map(|it| (it.id, it.last_seq)));
                    }
                    server_frame::Kind::Synced(it) => {
                        session.user_log_seq = it.user_log_seq;
                        synced = true;
                    }
                    _ => {}
                }
            }
            Ok::<_, CliError>(seen)
        };
        let seen = timeout(JOIN_PATIENCE, knowing).await.map_err(|_| failed("a session did not hear of all"))??;
        session.cursors = seen.into_iter().map(|(conversation, seq)| Cursor { conversation, seq }).collect();
        Ok(session)
    }

    /// Reads until the connection is lost, then comes back as a client does: with full jitter, to another gateway.
    async fn live(mut self) {
        loop {
            match timeout(PING_EVERY, self.connection.next()).await {
                Ok(Ok(_)) => {}
                Err(_) => drop(self.connection.ping().await),
                Ok(Err(_)) => break,
            }
        }
        let mut backoff = BACKOFF.0;
        loop {
            let pause = backoff.mul_f64(rand::rng().random_range(0.0..=1.0));
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF.1);
            match self.back().await {
                Ok(()) => break,
                Err(_) => drop(self.shared.failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            }
        }
        let killed = *self.shared.killed.lock();
        record(&mut self.shared.took.lock(), killed.map_or(Duration::ZERO, |killed| killed.elapsed()));
        self.shared.in_sync.add_permits(1);
        let reading = async { while self.connection.next().await.is_ok() {} };
        self.shared.over.run_until_cancelled(reading).await;
    }

    /// Until the session is in sync.
    async fn back(&mut self) -> Result<(), CliError> {
        let others = &self.shared.server.hosts[1..];
        let host = &others[rand::rng().random_range(0..others.len())];
        let late = |_| failed("no session in time");
        let opening = async {
            self.connection = Connection::dial(host, self.connection.user.clone()).await?;
            self.connection.hello(&self.shared.server, self.cursors.clone(), self.user_log_seq).await?;
            while !matches!(self.connection.next().await?, server_frame::Kind::Ready(_)) {}
            Ok::<_, CliError>(())
        };
        timeout(OPEN_TIMEOUT, opening).await.map_err(late)??;
        let syncing = async {
            while !matches!(self.connection.next().await?, server_frame::Kind::Synced(_)) {}
            Ok(())
        };
        timeout(PATIENCE, syncing).await.map_err(late)?
    }
}

/// Users elsewhere who chat in pairs all the time.
struct Others {
    pairs: JoinSet<Sent>,
    over: tokio_util::sync::CancellationToken,
}

/// What they sent: when, and how long it was on its way.
#[derive(Default)]
struct Sent {
    sent: Vec<(Instant, Duration)>,
    errors: u64,
}

impl Others {
    async fn start(shared: &Arc<Shared>, args: &ReconnectArgs) -> Result<Self, CliError> {
        let (mut pairs, over) = (JoinSet::new(), tokio_util::sync::CancellationToken::new());
        let count = u32::try_from((args.others / 2).max(1)).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) * count / args.others_rate.max(1);
        for pair in 0..count {
            let open = async |side: &str| {
                let mut connection = Connection::dial(&shared.server.hosts[1], format!("o{pair}{side}")).await?;
                connection.hello(&shared.server, Vec::new(), 0).await?;
                while !matches!(connection.next().await?, server_frame::Kind::Synced(_)) {}
                Ok::<_, CliError>(connection)
            };
            let (mut a, b) = (open("a").await?, open("b").await?);
            let conversation = a.create(ConversationKind::Direct, vec![b.user.clone()]).await?;
            pairs.spawn(chat(a, b, conversation, interval, over.clone()));
        }
        Ok(Self { pairs, over })
    }

    async fn end(mut self) -> Sent {
        self.over.cancel();
        let mut all = Sent::default();
        while let Some(Ok(one)) = self.pairs.join_next().await {
            all.sent.extend(one.sent);
            all.errors += one.errors;
        }
        all
    }
}

impl Sent {
    fn within(&self, from: Instant, until: Instant) -> Latencies {
        let mut all = latencies();
        let within = self.sent.iter().filter(|(at, _)| (from..until).contains(at));
        within.for_each(|(_, took)| record(&mut all, *took));
        all
    }
}

/// One pair, at a fixed rate whatever the answers take.
async fn chat(
    a: Connection,
    b: Connection,
    conversation: String,
    interval: Duration,
    over: tokio_util::sync::CancellationToken,
) -> Sent {
    let (mut sender, mut receiver) = (a, b);
    let mut sent = Sent::default();
    let mut due = Instant::now() + interval.mul_f64(rand::rng().random_range(0.0..1.0));
    let mut id = 1;
    while over.run_until_cancelled(tokio::time::sleep_until(due.into())).await.is_some() {
        id += 1;
        let said = async {
            sender.command(id, &conversation, text("how are you".to_owned())).await?;
            arrival(&mut receiver, &sender.user).await
        };
        match timeout(STRAGGLER, said).await {
            Ok(Ok(errors)) => sent.errors += errors,
            _ => sent.errors += 1,
        }
        sent.sent.push((due, due.elapsed()));
        due += interval;
        std::mem::swap(&mut sender, &mut receiver);
    }
    sent
}
