//! `bench-cluster`: what a cluster costs, role by role, beside the embedded mode at the same load.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use clap::{Parser, ValueEnum};
use serde_json::Value;
use stonechat_backends::server::Size;
use stonechat_cluster_tests::{Cluster, Demo, Kind, Plan};
use tokio::process::Command;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// CPU per message of one-to-one messages at fixed rates and as fast as it goes.
    Messages,
    /// CPU per delivery in one channel over two gateways.
    Channel,
    /// A gateway is killed, and its sessions come back to the other one.
    Reconnect,
}

/// Measures a cluster of real processes on real backends with `stonechat bench`, and prints tables.
#[derive(Parser)]
#[command(name = "bench-cluster")]
struct Arguments {
    /// What is measured, by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "messages,channel,reconnect")]
    only: Vec<What>,
    /// The server's program, with the feature `cluster`; the one beside this program when not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Messages per second, by commas; 0 is as fast as it goes.
    #[arg(long, value_delimiter = ',', default_value = "500,2000,0")]
    rates: Vec<u32>,
    /// Gateways and routers of the clusters that are compared, by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    sizes: Vec<usize>,
    /// Storage processes; with one of them the rows are embedded in it.
    #[arg(long, default_value_t = 2)]
    storages: usize,
    /// Partitions of the logs: more than routers cost more than they bring at such loads.
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    /// Users of messages.
    #[arg(long, default_value_t = 1_000)]
    users: usize,
    /// Members of the channel.
    #[arg(long, default_value_t = 10_000)]
    members: usize,
    /// Sessions that lose their gateway.
    #[arg(long, default_value_t = 5_000)]
    sessions: usize,
    /// Conversations of each of them.
    #[arg(long, default_value_t = 100)]
    conversations: usize,
    /// Seconds measured in each run, after a fifth of it.
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// Print the figures as lines of JSON too.
    #[arg(long)]
    json: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the result of a command")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What was started ends with its handles: an interrupted run must run its destructors.
    tokio::select! {
        result = measure(&arguments) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench-cluster: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("stonechat"),
    };
    let bench = Bench { program, arguments };
    for what in &arguments.only {
        match what {
            What::Messages => bench.messages().await?,
            What::Channel => bench.channel().await?,
            What::Reconnect => bench.reconnect().await?,
        }
    }
    Ok(())
}

struct Bench<'a> {
    program: PathBuf,
    arguments: &'a Arguments,
}

/// A row of the table of costs.
struct Row {
    what: String,
    figures: Value,
}

/// How long a new cluster takes messages that are not measured, and how many a second.
const WARM_UP_S: u32 = 45;
const WARM_UP_RATE: u32 = 500;

/// Columns of CPU: processes whose names begin so.
const PARTS: [&str; 8] = ["gateway", "router", "storage", "presence", "api", "kafka", "cassandra", "redis"];

impl Bench<'_> {
    fn plan(&self, size: usize, storages: usize) -> Plan {
        let many = "1000000".to_owned();
        let settings = vec![
            // The generator is one user where the limits are for people.
            ("STONECHAT_GATEWAY__COMMANDS_PER_S".to_owned(), many.clone()),
            ("STONECHAT_GATEWAY__COMMANDS_BURST".to_owned(), many),
            ("STONECHAT_TELEMETRY__LOG_FILTER".to_owned(), "warn".to_owned()),
            // As many processes as there are here have less than a core each.
            ("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned()),
        ];
        Plan {
            gateways: size,
            routers: size,
            storages,
            size: Size::Large,
            partitions: self.arguments.partitions,
            webhooks: 0,
            files: 0,
            settings,
            ..Plan::new(self.program.clone())
        }
    }

    /// One-to-one messages: embedded, then clusters of each size.
    async fn messages(&self) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for rate in &self.arguments.rates {
            let figures = self.bench(&self.of_rate(*rate, &["--spawn".to_owned()])).await?;
            rows.push(Row { what: format!("embedded, {}", named(*rate)), figures });
        }
        for size in &self.arguments.sizes {
            let cluster = Cluster::start(&self.plan(*size, self.arguments.storages)).await?;
            let target = target(&cluster, &cluster.demo().await?);
            // Servers of Java compile what they do often: what that costs is no message's.
            self.bench_for(WARM_UP_S, &self.of_rate(WARM_UP_RATE, &target)).await?;
            for rate in &self.arguments.rates {
                let figures = self.bench(&self.of_rate(*rate, &target)).await?;
                rows.push(Row { what: format!("{size} gateways, {size} routers, {}", named(*rate)), figures });
            }
        }
        self.show("CPU per message, microseconds", "message", &rows);
        Ok(())
    }

    fn of_rate(&self, rate: u32, target: &[String]) -> Vec<String> {
        let users = self.arguments.users.to_string();
        let mut command = match rate {
            0 => vec!["direct".to_owned()],
            _ => ["rate", "--rate", &rate.to_string()].map(ToOwned::to_owned).into(),
        };
        command.extend(["--users".to_owned(), users]);
        command.extend_from_slice(target);
        command
    }

    /// A channel with many members: embedded, then over two gateways.
    async fn channel(&self) -> Result<(), Failure> {
        let fanout = |target: &[String]| {
            let members = self.arguments.members.to_string();
            let mut command = ["fanout", "--users", &members].map(ToOwned::to_owned).to_vec();
            command.extend_from_slice(target);
            command
        };
        let what = format!("{} members", self.arguments.members);
        let mut rows = Vec::new();
        let figures = self.bench(&fanout(&["--spawn".to_owned()])).await?;
        rows.push(Row { what: format!("embedded, {what}"), figures });
        let cluster = Cluster::start(&self.plan(2, self.arguments.storages)).await?;
        let mut command = fanout(&target(&cluster, &cluster.demo().await?));
        let routers = cluster.publics(Kind::Router).into_iter().map(|it| it.to_string()).collect::<Vec<_>>();
        command.push(format!("--router-metrics={}", routers.join(",")));
        let figures = self.bench(&command).await?;
        show_links(&figures);
        rows.push(Row { what: format!("2 gateways, 2 routers, {what}"), figures });
        self.show("CPU per delivery, microseconds", "delivery", &rows);
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the result of a command")]
    async fn reconnect(&self) -> Result<(), Failure> {
        let cluster = Cluster::start(&self.plan(2, self.arguments.storages)).await?;
        let demo = cluster.demo().await?;
        let (sessions, conversations) = (self.arguments.sessions.to_string(), self.arguments.conversations.to_string());
        let mut command = ["reconnect", "--kill", "gateway1", "--users", &sessions, "--conversations", &conversations]
            .map(ToOwned::to_owned)
            .to_vec();
        command.extend(target(&cluster, &demo));
        let figures = self.bench(&command).await?;
        println!("\n## A gateway is killed\n\n| figure | |\n|---|---|");
        for (name, value) in figures.as_object().into_iter().flatten() {
            println!("| {name} | {value} |");
        }
        Ok(())
    }

    /// Runs `stonechat bench`; gives its figures.
    async fn bench(&self, command: &[String]) -> Result<Value, Failure> {
        self.bench_for(self.arguments.seconds, command).await
    }

    async fn bench_for(&self, seconds: u32, command: &[String]) -> Result<Value, Failure> {
        let seconds = seconds.to_string();
        let mut bench = Command::new(&self.program);
        bench.arg("bench").args(command).args(["--json", "--seconds", &seconds]).kill_on_drop(true);
        // It tells there how far it is, and why it failed.
        bench.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let output = bench.spawn()?.wait_with_output().await?;
        if !output.status.success() {
            return Err(format!("bench {}: {}", command[0], output.status).into());
        }
        let figures: Value = serde_json::from_slice(&output.stdout)?;
        Ok(figures)
    }

    #[expect(clippy::print_stdout, reason = "the result of a command")]
    fn show(&self, title: &str, of: &str, rows: &[Row]) {
        let head = ["run", "messages/s", "p50 ms", "p99 ms", "all ours"];
        println!("\n## {title}\n\n| {} | {} | errors |", head.join(" | "), PARTS.join(" | "));
        println!("|{}", "---|".repeat(head.len() + PARTS.len() + 1));
        for Row { what, figures } in rows {
            let figure = |name: &str| figures[name].as_f64().map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
            let mut cells = vec![what.clone(), figure("messages_per_second"), figure("p50_ms"), figure("p99_ms")];
            cells.push(figure(&format!("server_cpu_us_per_{of}")));
            let by_process: BTreeMap<String, f64> =
                serde_json::from_value(figures[format!("cpu_us_per_{of}_by_process")].clone()).unwrap_or_default();
            cells.extend(PARTS.map(|part| {
                let of_part: Vec<f64> =
                    by_process.iter().filter(|(name, _)| name.starts_with(part)).map(|(_, us)| *us).collect();
                if of_part.is_empty() { "-".to_owned() } else { format!("{:.1}", of_part.iter().sum::<f64>()) }
            }));
            println!("| {} | {} |", cells.join(" | "), figures["errors"]);
        }
        for Row { what, figures } in rows.iter().filter(|_| self.arguments.json) {
            println!("{what}: {figures}");
        }
    }
}

/// What links between routers and gateways carried for the channel.
#[expect(clippy::print_stdout, reason = "the result of a command")]
fn show_links(figures: &Value) {
    println!(
        "\n## Events over links\n\n| sent in the channel | over links | for each event and gateway |\n|---|---|---|"
    );
    let figure = |name: &str| &figures[name];
    let (sent, carried) = (figure("events_sent"), figure("link_events"));
    println!("| {sent} | {carried} | {} |", figure("link_events_per_event_and_gateway"));
}

fn named(rate: u32) -> String {
    if rate == 0 { "as fast as it goes".to_owned() } else { format!("{rate}/s") }
}

/// Where the generator finds a cluster, and whose CPU time it tells.
fn target(cluster: &Cluster, demo: &Demo) -> Vec<String> {
    let list = |items: Vec<String>| items.join(",");
    let urls = cluster.processes.iter().filter(|it| it.kind == Kind::Gateway);
    let ours = cluster.processes.iter().filter_map(|it| Some(format!("{}={}", it.name(), it.pid()?)));
    let backends = cluster.backends.pids().into_iter().map(|(name, pid)| format!("{name}={pid}"));
    let pairs = [
        ("--url", list(urls.map(|it| format!("http://{}", it.public)).collect())),
        ("--server-pid", list(ours.collect())),
        ("--backend-pid", list(backends.collect())),
        ("--key-id", demo.key_id.clone()),
        ("--key-secret", demo.key_secret.clone()),
    ];
    // A secret may begin like an argument does.
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
