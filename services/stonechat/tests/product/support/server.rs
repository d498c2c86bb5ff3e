//! The server.

use std::{net::SocketAddr, path::Path, process::Stdio};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{cluster::Cluster, within};

/// What the server says when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Started {
    pub url: String,
    pub grpc_url: String,
    pub tenant: String,
    pub key_id: String,
    pub key_secret: String,
    pub server_key: String,
    pub users: Vec<DemoUser>,
}

/// A user of the demo tenant.
#[derive(Debug, Clone, Deserialize)]
pub struct DemoUser {
    pub id: String,
    pub token: String,
}

/// A running server; it dies with this value. With `STONECHAT_TEST_CLUSTER` a tenant of its own on a cluster.
pub struct Server {
    pub started: Started,
    pub address: SocketAddr,
    place: Place,
}

enum Place {
    Own { child: Child, data: TempDir, environment: Vec<(String, String)> },
    Cluster(Cluster),
}

/// The key of the operator of these servers.
pub const OPERATOR_KEY: &str = "7d1f0c4be62a9358d0e4b7a1c95f3826";
/// What a test says that needs a process of its own and was given a cluster.
const OWN: &str = "this test is about a server of its own";

/// A command that runs the binary.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stonechat"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn spawn(data: &Path, listen: &str, environment: &[(&str, &str)]) -> (Child, Started) {
    let mut command = binary();
    command.args(["run", "--dev", "--json", "--listen", listen, "--data"]).arg(data);
    command.env("STONECHAT_API__OPERATOR_KEY", OPERATOR_KEY).envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("run the binary");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = within("ready line", lines.next_line()).await.expect("readable").expect("a ready line");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line}")))
}

fn address_of(started: &Started) -> SocketAddr {
    let text = started.url.split("//").last().unwrap_or_default().trim_end_matches('/');
    text.parse().unwrap_or_else(|_| panic!("no socket address in {}", started.url))
}

impl Server {
    /// Starts one in a folder of its own on a free port.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more variables in its environment.
    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        if let Some(cluster) = Cluster::of_environment().filter(|cluster| cluster.is_with(environment)) {
            let started = cluster.tenant().await;
            return Self { address: address_of(&started), started, place: Place::Cluster(cluster) };
        }
        let data = tempfile::tempdir().expect("a temporary folder");
        let (child, started) = spawn(data.path(), "127.0.0.1:0", environment).await;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { address: address_of(&started), started, place: Place::Own { child, data, environment } }
    }

    /// Kills it with SIGKILL and starts it again as it was, on the same folder and port. Of a cluster: every
    /// process that clients are connected to.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        match &mut self.place {
            Place::Own { child, .. } => child.kill().await.expect("kill"),
            Place::Cluster(cluster) => cluster.kill(),
        }
    }

    /// Starts it again as it was, on the same folder and port, after it ended. A cluster does so by itself.
    pub async fn start_again(&mut self) {
        let (child, data, environment) = match &mut self.place {
            Place::Own { child, data, environment } => (child, data, environment),
            Place::Cluster(cluster) => return cluster.wait().await,
        };
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        (*child, self.started) = spawn(data.path(), &self.address.to_string(), &environment).await;
    }

    /// Asks it to end, as an orchestrator would.
    pub async fn terminate(&mut self) {
        let pid = self.child().id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        assert!(status.success());
    }

    /// Waits until it has ended; gives whether it did so well.
    pub async fn ended(&mut self) -> bool {
        within("end of the server", self.child().wait()).await.expect("wait").success()
    }

    fn child(&mut self) -> &mut Child {
        match &mut self.place {
            Place::Own { child, .. } => child,
            Place::Cluster(_) => panic!("{OWN}"),
        }
    }

    /// Its resident memory in bytes; of a cluster, that of the processes for files.
    pub fn memory_bytes(&self) -> u64 {
        match &self.place {
            Place::Own { child, .. } => memory_bytes(child.id().expect("it runs")),
            Place::Cluster(cluster) => cluster.memory_bytes("files"),
        }
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        self.folder().expect(OWN)
    }

    /// The folder of its data; a cluster has none.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Own { data, .. } => Some(data.path()),
            Place::Cluster(_) => None,
        }
    }

    /// The key of its operator.
    pub fn operator_key(&self) -> &str {
        match &self.place {
            Place::Own { .. } => OPERATOR_KEY,
            Place::Cluster(cluster) => &cluster.operator_key,
        }
    }

    /// The token of a demo user.
    pub fn token(&self, user: &str) -> &str {
        let found = self.started.users.iter().find(|u| u.id == user);
        &found.unwrap_or_else(|| panic!("no demo user {user}")).token
    }
}

/// The resident memory of a process, in bytes.
pub fn memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("proc status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
