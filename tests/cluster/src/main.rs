//! `local-cluster`: a cluster on this machine, to be tried by hand. `make cluster` runs it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde_json::json;
use stonechat_backends::{
    haproxy::HaProxy,
    server::{Folder, until},
};
use stonechat_cluster_tests::{Cluster, Demo, Kind, Plan};
use stonechat_model::UserId;
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

/// Starts real backends and processes of every role on loopback, behind one address, and says how to use them. What of
/// ours ends is started again, as an orchestrator would. Everything ends with it.
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
    /// Processes for files.
    #[arg(long, default_value_t = 2)]
    files: usize,
    /// A setting of every process by the name of its environment variable, as `NAME=VALUE`; may be repeated.
    #[arg(long, value_parser = setting)]
    set: Vec<(String, String)>,
    /// Print one line of JSON when ready.
    #[arg(long)]
    json: bool,
    /// Where its process id is written while it runs.
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// End the one whose process id the file has, and everything that it started.
    #[arg(long, requires = "pid_file")]
    down: bool,
    /// Runs this while the cluster does, and ends with it and as it did. Its environment has, as
    /// `STONECHAT_TEST_CLUSTER`, the path of a file with what `--json` prints, as it is at present.
    #[arg(last = true)]
    then: Vec<String>,
}

/// How long the servers may take to end.
const END: Duration = Duration::from_secs(60);
/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the development mode allows too: receivers on this machine.
const RECEIVERS: [(&str, &str); 3] = [
    ("STONECHAT_WEBHOOKS__ALLOWED_ADDRESSES", "127.0.0.0/8"),
    ("STONECHAT_WEBHOOKS__ALLOW_HTTP", "true"),
    ("STONECHAT_WEBHOOKS__PORTS", ""),
];

fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("not of the form NAME=VALUE")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

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
    let receivers = RECEIVERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let plan = Plan {
        settings: receivers.into_iter().chain(arguments.set.iter().cloned()).collect(),
        gateways: arguments.gateways,
        routers: arguments.routers,
        storages: arguments.storages,
        files: arguments.files,
        ..Plan::new(program)
    };
    let running = async {
        let cluster = Cluster::start(&plan).await?;
        let demo = cluster.demo().await?;
        let ingress = cluster.ingress().await?;
        let mut local = Local { cluster, demo, ingress, settings: plan.settings.clone() };
        match arguments.then.split_first() {
            Some((program, rest)) => local.while_it_runs(program, rest).await,
            None => {
                if arguments.json {
                    writeln!(std::io::stdout(), "{}", local.json())?;
                } else {
                    local.show()?;
                }
                local.keep_up(|_| Ok(())).await
            }
        }
    };
    // Dropped where it is interrupted: what was started ends.
    tokio::select! {
        ended = running => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// A cluster that is ready.
struct Local {
    cluster: Cluster,
    demo: Demo,
    ingress: HaProxy,
    settings: Vec<(String, String)>,
}

impl Local {
    /// Starts again what has ended, and says so; for good.
    async fn keep_up(
        &mut self,
        mut changed: impl FnMut(&Self) -> std::io::Result<()>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            if self.cluster.keep_up()? {
                changed(self)?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs a command to its end.
    async fn while_it_runs(&mut self, program: &str, arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
        let folder = Folder::new()?;
        let path = folder.path().join("cluster.json");
        let write = |local: &Self| {
            // Who reads it finds the old one or the new one.
            let beside = path.with_extension("new");
            std::fs::write(&beside, local.json())?;
            std::fs::rename(beside, &path)
        };
        write(self)?;
        let mut command = Command::new(program);
        command.args(arguments).env("STONECHAT_TEST_CLUSTER", &path).kill_on_drop(true);
        let mut command = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let status = tokio::select! {
            status = command.wait() => status?,
            kept = self.keep_up(write) => return kept,
        };
        if status.success() {
            return Ok(());
        }
        self.cluster.show_logs();
        Err(format!("{program} ended with {status}").into())
    }

    fn urls(&self, kind: Kind) -> Vec<String> {
        self.cluster.publics(kind).iter().map(|public| format!("http://{public}")).collect()
    }

    fn json(&self) -> String {
        let mut line = json!(self.demo);
        line["url"] = json!(format!("http://{}", self.ingress.address()));
        line["gateways"] = json!(self.urls(Kind::Gateway));
        line["apis"] = json!(self.urls(Kind::Api));
        line["settings"] = json!(self.settings);
        line["operator_key"] = json!(self.cluster.operator_key());
        let processes = self.cluster.processes.iter().map(|process| {
            let url = format!("http://{}", process.public);
            json!({"name": process.name(), "role": process.kind.role(), "pid": process.pid(), "url": url})
        });
        line["processes"] = processes.collect();
        line.to_string()
    }

    fn show(&self) -> Result<(), Box<dyn std::error::Error>> {
        let mut out = std::io::stdout();
        writeln!(out, "\nA Stonechat cluster is ready\n\n  {:10} {:>7}  health, metrics", "process", "pid")?;
        for process in &self.cluster.processes {
            let pid = process.pid().map_or_else(String::new, |pid| pid.to_string());
            writeln!(out, "  {:10} {pid:>7}  http://{}", process.name(), process.public)?;
        }
        let url = format!("http://{}", self.ingress.address());
        writeln!(out, "\nFor clients, your server and the operator: {url}, in front of all of them")?;
        writeln!(out, "\nTwo people chat over two gateways, each in a terminal:\n")?;
        for (user, other) in [("alice", "bob"), ("bob", "alice")] {
            let token = self.demo.token(&UserId::parse(user)?)?;
            writeln!(out, "  stonechat chat --url {url} --to {other} --token {token}\n")?;
        }
        writeln!(out, "For your server: Authorization: Bearer {}", self.demo.server_key)?;
        writeln!(out, "For the operator: Authorization: Bearer {}", self.cluster.operator_key())?;
        writeln!(out, "\nIt ends with Ctrl-C, or `make cluster-down`.")?;
        Ok(())
    }
}
