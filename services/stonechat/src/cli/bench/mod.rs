//! `stonechat bench`: a load generator that is light enough to share a machine with what it measures.
//!
//! Latencies are from the moment a message is sent (at a fixed rate: was due to be sent) to its arrival at the peer.
//! The server's CPU time is its process's own, by the kernel's accounting: the steady figure on a noisy machine.

mod connection;
mod direct;
mod fanout;
mod idle;
mod import;
mod links;
mod progress;
mod reconnect;
mod report;
mod server;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{CliError, output};
use import::ImportArgs;
use reconnect::ReconnectArgs;
use report::Report;
use server::{Server, Watched};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// One-to-one messages, one in flight per pair, as fast as it goes.
    #[command(after_help = "Example:\n  stonechat bench direct --spawn --users 1000 --seconds 10")]
    Direct(BenchArgs),
    /// One-to-one messages at a fixed rate.
    #[command(after_help = "Example:\n  stonechat bench rate --spawn --rate 2000")]
    Rate(BenchArgs),
    /// One channel with many members who all listen.
    #[command(after_help = "Example:\n  stonechat bench fanout --spawn --users 1000 --window 8")]
    Fanout(BenchArgs),
    /// Connections that do nothing.
    #[command(after_help = "Example:\n  ulimit -n 30000; stonechat bench idle --spawn --users 10000")]
    Idle(BenchArgs),
    /// A gateway of a cluster is killed: how long until its sessions are in sync with another one.
    #[command(
        after_help = "Example:\n  stonechat bench reconnect --url http://G1,http://G2 --server-pid gateway1=PID,... \\\n      --kill gateway1 --users 5000 --conversations 100 --key-id ID --key-secret SECRET"
    )]
    Reconnect(ReconnectArgs),
    /// A tenant's history comes in and goes out again, and is compared: speed, memory, and what its pages cost.
    #[command(
        after_help = "Examples:\n  stonechat bench import --spawn --messages 1000000 --conversations 1000\n  stonechat bench import --url http://127.0.0.1:4000 --key sk_... --server-pid PID"
    )]
    Import(ImportArgs),
    /// Those of messages and connections, each on a new server, as a table.
    All(BenchArgs),
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Start a server of its own in a temporary folder.
    #[arg(long, conflicts_with = "url")]
    spawn: bool,
    /// A server that runs, or its gateways by commas; connections take them in turn.
    #[arg(long, required_unless_present = "spawn", requires_all = ["key_id", "key_secret"], value_delimiter = ',')]
    url: Vec<String>,
    /// The process ids of that server, for their CPU time and memory: PID, or NAME=PID by commas.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<Watched>,
    /// The process ids of what is behind it, whose CPU time is told apart: NAME=PID by commas.
    #[arg(long, value_delimiter = ',')]
    backend_pid: Vec<Watched>,
    /// Where its routers have their metrics, HOST:PORT by commas, to count what links to gateways carry (fanout).
    #[arg(long, value_delimiter = ',')]
    router_metrics: Vec<String>,
    /// The key that signs tokens on that server.
    #[arg(long, env = "STONECHAT_KEY_ID")]
    key_id: Option<String>,
    /// The key's secret, which may begin like an argument does.
    #[arg(long, env = "STONECHAT_KEY_SECRET", hide_env_values = true, allow_hyphen_values = true)]
    key_secret: Option<String>,
    /// Users, each with a connection; idle: 10000 when not given.
    #[arg(long)]
    users: Option<usize>,
    /// Bytes of a message's text.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Seconds measured, after a warm-up of a fifth of it.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Messages per second (rate).
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Messages in flight (fanout).
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// One member reads nothing (fanout).
    #[arg(long)]
    reader_off: bool,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    fn users(&self) -> usize {
        self.users.unwrap_or(1_000).max(2)
    }

    fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }

    fn warm_up(&self) -> Duration {
        self.measured() / 5
    }
}

/// Measures.
pub async fn execute(command: BenchCommand) -> Result<(), CliError> {
    match command {
        BenchCommand::Direct(args) => finish(&args, direct::closed_loop(&args, &start(&args).await?).await?),
        BenchCommand::Rate(args) => finish(&args, direct::open_loop(&args, &start(&args).await?).await?),
        BenchCommand::Fanout(args) => finish(&args, fanout::fanout(&args, &start(&args).await?).await?),
        BenchCommand::Idle(args) => finish(&args, idle::idle(&args, &start(&args).await?).await?),
        BenchCommand::Reconnect(args) => {
            let server = Server::given(&args.bench)?;
            let report = reconnect::reconnect(&args, server).await?;
            match args.bench.json {
                true => output::json(&report),
                false => output::line(&report::lines(&report)),
            }
        }
        BenchCommand::Import(args) => return import::import(&args).await,
        BenchCommand::All(args) => return all(args).await,
    }
    Ok(())
}

async fn start(args: &BenchArgs) -> Result<Server, CliError> {
    if args.spawn { Server::spawn().await } else { Server::given(args) }
}

fn finish(args: &BenchArgs, report: Report) {
    match args.json {
        true => output::json(&report),
        false => output::line(&report::lines(&report)),
    }
}

async fn all(args: BenchArgs) -> Result<(), CliError> {
    let mut reports = Vec::new();
    reports.push(direct::closed_loop(&args, &start(&args).await?).await?);
    reports.push(direct::open_loop(&args, &start(&args).await?).await?);
    reports.push(fanout::fanout(&args, &start(&args).await?).await?);
    let one = BenchArgs { window: 1, ..args.clone() };
    reports.push(fanout::fanout(&one, &start(&one).await?).await?);
    let idle = BenchArgs { users: Some(10_000), ..args.clone() };
    reports.push(idle::idle(&idle, &start(&idle).await?).await?);
    match args.json {
        true => output::json(&reports),
        false => output::line(&report::table(&reports)),
    }
    Ok(())
}
