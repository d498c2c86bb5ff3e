//! `local-cluster`: a cluster on this machine, to be tried by hand. `make cluster` runs it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde_json::json;
use stonechat_backends::server::until;
use stonechat_cluster_tests::{Cluster, ClusterError, Demo, Kind, Plan};
use stonechat_model::UserId;
use tokio::signal::unix::{SignalKind, signal};

/// Starts real backends and processes of every role on loopback, and says how to use them. Everything ends with it.
#[derive(Parser)]
#[command(name = "local-cluster")]
struct Arguments {
    /// The server's program, with the feature `cluster`; the one beside this program when not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Gateways.
    #[arg(long, default_value_t = 2)]
    gateways: usize,
    /// Routers.
    #[arg(long, default_value_t = 2)]
    routers: usize,
    /// Storage processes; with one of them the rows are embedded in it.
    #[arg(long, default_value_t = 2)]
    storages: usize,
    /// Print one line of JSON when ready.
    #[arg(long)]
    json: bool,
    /// Where its process id is written while it runs.
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// End the one whose process id the file has, and everything that it started.
    #[arg(long, requires = "pid_file")]
    down: bool,
}

/// How long the servers may take to end.
const END: Duration = Duration::from_secs(60);

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the result of a command")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.pid_file {
        Some(file) if arguments.down => down(file).await,
        _ => run(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The file with the process id, which goes with this value.
struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    fn write(path: &'a Path) -> Result<Self, Box<dyn std::error::Error>> {
        if let Some(pid) = running(path) {
            return Err(format!("a cluster runs already (process {pid}): `make cluster-down` ends it").into());
        }
        std::fs::write(path, std::process::id().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // Whoever reads it looks whether the process is there.
        let _ = std::fs::remove_file(self.0);
    }
}

/// The process that a file names, if it runs and is one of this program.
fn running(path: &Path) -> Option<String> {
    let pid = std::fs::read_to_string(path).ok()?;
    let command = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).ok()?;
    (command.trim() == "local-cluster").then(|| pid.trim().to_owned())
}

async fn down(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let Some(pid) = running(path) else {
        writeln!(std::io::stdout(), "no cluster runs")?;
        return Ok(());
    };
    std::process::Command::new("kill").args(["-TERM", &pid]).status()?;
    if until(END, async || running(path).is_none()).await {
        writeln!(std::io::stdout(), "the cluster is down")?;
        Ok(())
    } else {
        Err(format!("process {pid} has not ended").into())
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let _pid_file = arguments.pid_file.as_deref().map(PidFile::write).transpose()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("stonechat"),
    };
    let plan = Plan {
        gateways: arguments.gateways,
        routers: arguments.routers,
        storages: arguments.storages,
        ..Plan::new(program)
    };
    let starting = async {
        let cluster = Cluster::start(&plan).await?;
        let demo = cluster.demo().await?;
        Ok::<_, ClusterError>((cluster, demo))
    };
    // Dropped where it is interrupted: what was started ends.
    let (cluster, demo) = tokio::select! {
        started = starting => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if arguments.json {
        show_json(&cluster, &demo)?;
    } else {
        show(&cluster, &demo)?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn urls(cluster: &Cluster, kind: Kind) -> Vec<String> {
    let of_kind = cluster.processes.iter().filter(|process| process.kind == kind);
    of_kind.map(|process| format!("http://{}", process.public)).collect()
}

fn show_json(cluster: &Cluster, demo: &Demo) -> Result<(), Box<dyn std::error::Error>> {
    let mut line = json!(demo);
    line["gateways"] = json!(urls(cluster, Kind::Gateway));
    line["apis"] = json!(urls(cluster, Kind::Api));
    line["operator_key"] = json!(cluster.operator_key());
    let processes = cluster.processes.iter().map(
        |process| json!({ "name": process.name(), "pid": process.pid(), "url": format!("http://{}", process.public) }),
    );
    line["processes"] = processes.collect();
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

fn show(cluster: &Cluster, demo: &Demo) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    writeln!(out, "\nA Stonechat cluster is ready\n\n  {:10} {:>7}  health, metrics, clients", "process", "pid")?;
    for process in &cluster.processes {
        let pid = process.pid().map_or_else(String::new, |pid| pid.to_string());
        writeln!(out, "  {:10} {pid:>7}  http://{}", process.name(), process.public)?;
    }
    writeln!(out, "\nTwo people chat over two gateways, each in a terminal:\n")?;
    let gateways = urls(cluster, Kind::Gateway);
    for (nth, (user, other)) in [("alice", "bob"), ("bob", "alice")].into_iter().enumerate() {
        let token = demo.token(&UserId::parse(user)?)?;
        let url = gateways.get(nth % gateways.len().max(1)).map_or("", String::as_str);
        writeln!(out, "  stonechat chat --url {url} --to {other} --token {token}\n")?;
    }
    for url in urls(cluster, Kind::Api) {
        writeln!(out, "For your server: {url} with Authorization: Bearer {}", demo.server_key)?;
    }
    writeln!(out, "For the operator: Authorization: Bearer {}", cluster.operator_key())?;
    writeln!(out, "\nIt ends with Ctrl-C, or `make cluster-down`.")?;
    Ok(())
}
