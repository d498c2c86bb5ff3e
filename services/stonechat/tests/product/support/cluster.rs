//! A cluster that runs already, in the place of a server of a test's own: `make test-cluster`.

use std::{env, fs, path::PathBuf};

use serde::Deserialize;

use super::{
    http::Rest,
    look_again,
    server::{DemoUser, Started},
    tenant,
    token::good,
    within,
};

/// What `local-cluster --json` says of it at present.
#[derive(Debug, Deserialize)]
struct Said {
    url: String,
    operator_key: String,
    settings: Vec<(String, String)>,
    processes: Vec<Process>,
}

#[derive(Debug, Deserialize)]
struct Process {
    role: String,
    pid: u32,
    url: String,
}

/// The roles that clients are connected to.
const EDGE: [&str; 2] = ["files", "gateway"];

/// The cluster.
pub struct Cluster {
    file: PathBuf,
    pub operator_key: String,
    killed: Vec<u32>,
}

impl Cluster {
    /// The one that the environment names.
    pub fn of_environment() -> Option<Self> {
        let file = PathBuf::from(env::var_os("STONECHAT_TEST_CLUSTER")?);
        let mut cluster = Self { file, operator_key: String::new(), killed: Vec::new() };
        cluster.operator_key = cluster.said().operator_key;
        Some(cluster)
    }

    fn said(&self) -> Said {
        let text = fs::read_to_string(&self.file).expect("the file of the cluster");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Whether its processes were started with these variables.
    pub fn is_with(&self, environment: &[(&str, &str)]) -> bool {
        let settings = self.said().settings;
        environment.iter().all(|wanted| settings.iter().any(|(name, value)| (name.as_str(), value.as_str()) == *wanted))
    }

    fn of_role(&self, role: &str) -> Vec<Process> {
        self.said().processes.into_iter().filter(|process| process.role == role).collect()
    }

    /// Makes a tenant of a test's own, with the people that the tests know.
    pub async fn tenant(&self) -> Started {
        let said = self.said();
        let operator = Rest::at(&said.url, &said.operator_key);
        let id = format!("t{:016x}", rand::random::<u64>());
        let mut started = tenant::make(&operator, id, (&said.url, &said.url)).await;
        let users = ["alice", "bob"];
        started.users = users.map(|id| DemoUser { id: id.to_owned(), token: good(&started, id) }).into();
        started
    }

    fn edge(&self) -> impl Iterator<Item = Process> {
        self.said().processes.into_iter().filter(|process| EDGE.contains(&process.role.as_str()))
    }

    /// Kills every process that clients are connected to with SIGKILL.
    pub fn kill(&mut self) {
        self.killed = self.edge().map(|process| process.pid).collect();
        assert!(!self.killed.is_empty(), "no process");
        for pid in &self.killed {
            let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(status.expect("kill").success());
        }
    }

    /// Waits until others are in the place of those that were killed, and are reached.
    pub async fn wait(&self) {
        within("others in their place", async {
            while self.edge().any(|process| self.killed.contains(&process.pid)) {
                look_again().await;
            }
        })
        .await;
        let urls: Vec<String> = self.edge().map(|process| process.url).collect();
        let reached = |url: String, path: &'static str, wanted: u16| async move {
            while Rest::at(&url, "").try_get(path).await != Some(wanted) {
                look_again().await;
            }
        };
        for url in urls {
            within("readiness", reached(url, "/readyz", 200)).await;
        }
        // The balancer looks by itself, once in a second.
        for (path, wanted) in [("/v1/files", 401), ("/v1/ws", 400)] {
            within("the balancer's look", reached(self.said().url, path, wanted)).await;
        }
    }

    /// The resident memory of every process of a role together, in bytes.
    pub fn memory_bytes(&self, role: &str) -> u64 {
        self.of_role(role).iter().map(|process| super::server::memory_bytes(process.pid)).sum()
    }
}
