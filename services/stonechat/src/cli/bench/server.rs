//! The server that is measured.

use std::{
    collections::BTreeMap,
    process::Stdio,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde::Deserialize;
use stonechat_auth::sign_user_token;
use stonechat_model::{KeyId, UserId, now_us};
use stonechat_telemetry::Usage;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{BenchArgs, report::float};
use crate::cli::CliError;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN_TTL: Duration = Duration::from_secs(86_400);

/// A process whose CPU time is told.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is called.
    pub name: String,
    pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    /// `NAME=PID`, or the process id alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("server", text));
        let pid = pid.parse().map_err(|_| format!("`{pid}` is no process id"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// A server, its own or somebody's.
pub(super) struct Server {
    /// `host:port` of each gateway.
    pub hosts: Vec<String>,
    next: AtomicUsize,
    processes: Vec<Watched>,
    backends: Vec<Watched>,
    /// The key that signs tokens, with its secret.
    token_key: Option<(KeyId, String)>,
    /// The key of the tenant's own server.
    pub server_key: Option<String>,
    /// Ends with this.
    _child: Option<(Child, tempfile::TempDir)>,
}

/// What a started server prints.
#[derive(Deserialize)]
struct Announcement {
    url: String,
    key_id: String,
    key_secret: String,
    server_key: String,
}

fn failed(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what}: {error}"))
}

fn key_id(text: &str) -> Result<KeyId, CliError> {
    KeyId::parse(text).map_err(|e| CliError::Usage(format!("key id: {e}")))
}

impl Server {
    /// Starts this very program as a server in a temporary folder.
    pub async fn spawn() -> Result<Self, CliError> {
        let folder = tempfile::tempdir().map_err(|e| failed("make a folder", e))?;
        let program = std::env::current_exe().map_err(|e| failed("find this program", e))?;
        let mut child = Command::new(program)
            .args(["run", "--dev", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path())
            // The generator is one user where the limits are for people.
            .env("STONECHAT_GATEWAY__COMMANDS_PER_S", "1000000")
            .env("STONECHAT_GATEWAY__COMMANDS_BURST", "1000000")
            .env("STONECHAT_TELEMETRY__LOG_FILTER", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed("start a server", e))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("start a server", "no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_TIMEOUT, lines.next_line()).await;
        let line = line.map_err(|e| failed("server is not ready", e))?.map_err(|e| failed("read the server", e))?;
        let line = line.ok_or_else(|| failed("server ended", "see above"))?;
        let said: Announcement = serde_json::from_str(&line).map_err(|e| failed("read the server's line", e))?;
        let pid = child.id();
        let processes = pid.map(|pid| Watched { name: "server".to_owned(), pid }).into_iter().collect();
        let token_key = Some((key_id(&said.key_id)?, said.key_secret));
        let (server_key, child) = (Some(said.server_key), Some((child, folder)));
        Ok(Self { processes, token_key, server_key, _child: child, ..Self::new(&[said.url])? })
    }

    /// A server that runs.
    pub fn given(args: &BenchArgs) -> Result<Self, CliError> {
        let need = |what: &Option<String>| what.clone().ok_or_else(|| CliError::Usage("a key is missing".to_owned()));
        if args.url.is_empty() {
            return Err(CliError::Usage("a url is missing".to_owned()));
        }
        let token_key = Some((key_id(&need(&args.key_id)?)?, need(&args.key_secret)?));
        let (processes, backends) = (args.server_pid.clone(), args.backend_pid.clone());
        Ok(Self { processes, backends, token_key, ..Self::new(&args.url)? })
    }

    /// A server that runs, for what a tenant's own server does there.
    pub fn of_tenant(url: &str, processes: Vec<Watched>, server_key: String) -> Result<Self, CliError> {
        Ok(Self { processes, server_key: Some(server_key), ..Self::new(&[url.to_owned()])? })
    }

    fn new(urls: &[String]) -> Result<Self, CliError> {
        let host = |url: &String| {
            let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/').to_owned());
            host.ok_or_else(|| CliError::Usage("url must be http://".to_owned()))
        };
        let hosts = urls.iter().map(host).collect::<Result<_, _>>()?;
        let (processes, backends) = (Vec::new(), Vec::new());
        let (token_key, server_key) = (None, None);
        Ok(Self { hosts, next: AtomicUsize::new(0), processes, backends, token_key, server_key, _child: None })
    }

    /// The gateway of the next connection, in turn.
    pub fn next_host(&self) -> &str {
        &self.hosts[self.next.fetch_add(1, Ordering::Relaxed) % self.hosts.len()]
    }

    /// The process of this name.
    pub fn pid_of(&self, name: &str) -> Option<u32> {
        self.processes.iter().find(|it| it.name == name).map(|it| it.pid)
    }

    /// A token for a user.
    pub fn token(&self, user: &str) -> Result<String, CliError> {
        let user = UserId::parse(user).map_err(|e| failed("user", e))?;
        let (key_id, key_secret) = self.token_key.as_ref().ok_or_else(|| failed("token", "no key signs it"))?;
        sign_user_token(key_id, key_secret.as_bytes(), &user, None, now_us(), TOKEN_TTL).map_err(|e| failed("token", e))
    }

    /// Memory of all its processes.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.memory().resident_bytes()
    }

    /// The processes whose memory is its own.
    pub fn memory(&self) -> Memory {
        Memory(self.processes.clone())
    }

    /// CPU microseconds of each process that still runs, so far.
    fn cpu(&self) -> BTreeMap<String, u64> {
        let all = self.processes.iter().chain(&self.backends);
        all.filter_map(|it| Some((it.name.clone(), Usage::of(it.pid).ok()?.cpu_us))).collect()
    }
}

/// Processes whose memory is looked at.
pub(super) struct Memory(Vec<Watched>);

impl Memory {
    /// What is present of all of them; nothing where none is known.
    pub fn resident_bytes(&self) -> Option<u64> {
        let present = self.0.iter().map(|it| Usage::of(it.pid).ok().map(|usage| usage.resident_bytes));
        present.sum::<Option<u64>>().filter(|_| !self.0.is_empty())
    }
}

/// A span of time, and what the server used in it.
pub(super) struct Window {
    started: Instant,
    before: BTreeMap<String, u64>,
}

/// What was used in a span of time.
pub(super) struct Spent {
    pub seconds: f64,
    /// CPU microseconds of the server, if they are known.
    pub cpu_us: Option<u64>,
    /// Of each process, backends among them.
    pub by_process: BTreeMap<String, u64>,
}

impl Spent {
    /// CPU microseconds of each process for one of so many; empty where there is only one process.
    pub fn per(&self, count: u64) -> BTreeMap<String, f64> {
        let all = self.by_process.iter().filter(|_| self.by_process.len() > 1);
        all.map(|(name, us)| (name.clone(), float(*us) / float(count.max(1)))).collect()
    }
}

impl Window {
    /// Begins one.
    pub fn begin(server: &Server) -> Self {
        Self { started: Instant::now(), before: server.cpu() }
    }

    /// Ends it. A process that ended meanwhile is left out.
    pub fn end(self, server: &Server) -> Spent {
        let seconds = self.started.elapsed().as_secs_f64();
        let after = server.cpu();
        let by_process: BTreeMap<String, u64> = after
            .into_iter()
            .filter_map(|(name, after)| {
                let used = after - self.before.get(&name)?;
                Some((name, used))
            })
            .collect();
        let ours = server.processes.iter().filter_map(|it| by_process.get(&it.name));
        let cpu_us = ours.copied().reduce(|all, one| all + one);
        Spent { seconds, cpu_us, by_process }
    }
}
