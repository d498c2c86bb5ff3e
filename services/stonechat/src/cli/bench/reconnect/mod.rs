//! A gateway is killed, and its sessions come back to another one all at once.

mod others;
mod session;
mod setup;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    BenchArgs,
    connection::{Connection, text},
    progress::{Progress, within},
    report::{Latencies, float, latencies, quantile_ms},
    server::{Server, Spent, Window},
};
use crate::cli::CliError;
use others::{Others, Sent};
use session::Session;

/// How long all sessions may take to be in sync again.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// How long the sessions of the others may take to open.
const OTHERS_PATIENCE: Duration = Duration::from_secs(120);

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
    /// When all had been in sync for a while: what came before the kill, the making of their conversations above all,
    /// may still have been at work in the stores before it.
    others_after_p50_ms: Option<f64>,
    others_after_p99_ms: Option<f64>,
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
    failed: AtomicU64,
    over: CancellationToken,
}

impl Shared {
    /// Whether the gateway still stands, so that nobody should have lost it; then it is counted as a failure.
    fn lost_early(&self) -> bool {
        let is_early = self.killed.lock().is_none();
        self.failed.fetch_add(u64::from(is_early), Ordering::Relaxed);
        is_early
    }

    /// # Errors
    /// Sessions were lost before the gateway was.
    fn none_lost(&self) -> Result<(), CliError> {
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(failed(&format!("{lost} sessions were lost before the gateway was"))),
        }
    }
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
    let channels = setup::make_channels(&server, users, args.conversations).await?;
    setup::know_channels(&server, users, args.conversations).await?;
    let shared = Arc::new(Shared {
        server,
        conversations: args.conversations,
        killed: Mutex::new(None),
        in_sync: Semaphore::new(0),
        took: Mutex::new(latencies()),
        failed: AtomicU64::new(0),
        over: CancellationToken::new(),
    });
    let sessions = setup::open_sessions(&shared, users).await?;
    let others = within("open the others", OTHERS_PATIENCE, Others::start(&shared, args)).await?;

    sleep(args.bench.warm_up()).await;
    let (calm_from, calm) = (Instant::now(), Window::begin(&shared.server));
    sleep(args.bench.measured()).await;
    let calm = calm.end(&shared.server);
    // Opened now: it would have been silent for too long.
    let mut writer = Connection::dial(&shared.server.hosts[1], "writer0".to_owned()).await?;
    writer.hello(&shared.server, Vec::new(), 0).await?;
    shared.none_lost()?;
    let storm = Window::begin(&shared.server);
    let killed = Instant::now();
    *shared.killed.lock() = Some(killed);
    kill(victim)?;
    for channel in channels.iter().take(args.missed) {
        writer.call(channel, text("missed".to_owned())).await?;
    }
    all_in_sync(&shared, users).await?;
    let until = Instant::now();
    let storm = storm.end(&shared.server);
    sleep(args.bench.warm_up()).await;
    let quiet_from = Instant::now();
    sleep(args.bench.measured()).await;
    let sent = others.end().await;
    shared.over.cancel();
    drop(sessions);
    let measured = Measured { users, calm, storm, calm_from, killed, until, quiet_from, sent };
    Ok(measured.report(&shared, args))
}

/// Waits until every session is in sync with another gateway.
async fn all_in_sync(shared: &Shared, users: usize) -> Result<(), CliError> {
    let mut progress = Progress::begin("sessions in sync again", users);
    let coming = async {
        for came in 0..users {
            shared.in_sync.acquire().await.map_err(|_| failed("no session came back"))?.forget();
            progress.at(came + 1);
        }
        Ok(())
    };
    within("have all sessions in sync again", PATIENCE, coming).await?;
    progress.end();
    Ok(())
}

/// What a report is made of.
struct Measured {
    users: usize,
    calm: Spent,
    storm: Spent,
    calm_from: Instant,
    killed: Instant,
    /// When all were in sync.
    until: Instant,
    quiet_from: Instant,
    sent: Sent,
}

impl Measured {
    fn report(self, shared: &Shared, args: &ReconnectArgs) -> ReconnectReport {
        let Self { users, calm, storm, calm_from, killed, until, quiet_from, sent } = self;
        let share = storm.seconds / calm.seconds;
        let extra = |name: &String, used: u64| {
            let before = calm.by_process.get(name).map_or(0.0, |us| float(*us) * share);
            (float(used) - before).max(0.0) / float(users as u64)
        };
        let by_process: BTreeMap<String, f64> =
            storm.by_process.iter().map(|(name, used)| (name.clone(), extra(name, *used))).collect();
        let ours = by_process.iter().filter(|(name, _)| shared.server.pid_of(name).is_some()).map(|(_, us)| us).sum();
        let took = shared.took.lock();
        let (before, meanwhile) = (sent.within(calm_from, killed), sent.within(killed, until));
        let after = sent.within(quiet_from, Instant::now());
        ReconnectReport {
            sessions: users,
            conversations: args.conversations,
            all_in_sync_ms: (until - killed).as_millis(),
            in_sync_p50_ms: quantile_ms(&took, 0.5),
            in_sync_p99_ms: quantile_ms(&took, 0.99),
            tries_failed: shared.failed.load(Ordering::Relaxed),
            server_cpu_us_per_sync: Some(ours),
            cpu_us_per_sync_by_process: by_process,
            others_before_p50_ms: quantile_ms(&before, 0.5),
            others_before_p99_ms: quantile_ms(&before, 0.99),
            others_meanwhile_p50_ms: quantile_ms(&meanwhile, 0.5),
            others_meanwhile_p99_ms: quantile_ms(&meanwhile, 0.99),
            others_after_p50_ms: quantile_ms(&after, 0.5),
            others_after_p99_ms: quantile_ms(&after, 0.99),
            others_messages: sent.sent.len(),
            others_errors: sent.errors,
        }
    }
}

fn kill(pid: u32) -> Result<(), CliError> {
    let status = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(failed("the gateway cannot be killed")),
    }
}
