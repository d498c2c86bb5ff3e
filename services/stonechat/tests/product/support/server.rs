//! The server.

use std::{net::SocketAddr, path::Path, process::Stdio};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::within;

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

/// A running server; it dies with this value.
pub struct Server {
    pub started: Started,
    pub address: SocketAddr,
    child: Child,
    data: TempDir,
    environment: Vec<(String, String)>,
}

/// The key of the operator of these servers.
pub const OPERATOR_KEY: &str = "7d1f0c4be62a9358d0e4b7a1c95f3826";

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
        let data = tempfile::tempdir().expect("a temporary folder");
        let (child, started) = spawn(data.path(), "127.0.0.1:0", environment).await;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { address: address_of(&started), started, child, data, environment }
    }

    /// Kills it with SIGKILL and starts it again as it was, on the same folder and port.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill");
    }

    /// Starts it again as it was, on the same folder and port, after it ended.
    pub async fn start_again(&mut self) {
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (child, started) = spawn(self.data.path(), &self.address.to_string(), &environment).await;
        (self.child, self.started) = (child, started);
    }

    /// Asks it to end, as an orchestrator would.
    pub async fn terminate(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        assert!(status.success());
    }

    /// Waits until it has ended; gives whether it did so well.
    pub async fn ended(&mut self) -> bool {
        within("end of the server", self.child.wait()).await.expect("wait").success()
    }

    /// Its resident memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("proc status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The token of a demo user.
    pub fn token(&self, user: &str) -> &str {
        let found = self.started.users.iter().find(|u| u.id == user);
        &found.unwrap_or_else(|| panic!("no demo user {user}")).token
    }
}
