//! The server that is measured.

use std::{
    process::Stdio,
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

use super::BenchArgs;
use crate::cli::CliError;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN_TTL: Duration = Duration::from_secs(86_400);

/// A server, its own or somebody's.
pub(super) struct Server {
    /// `host:port`.
    pub host: String,
    pid: Option<u32>,
    key_id: KeyId,
    key_secret: String,
    /// Ends with this.
    _child: Option<(Child, tempfile::TempDir)>,
}

/// What a started server prints.
#[derive(Deserialize)]
struct Announcement {
    url: String,
    key_id: String,
    key_secret: String,
}

fn failed(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what}: {error}"))
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
        Self::new(&said.url, pid, &said.key_id, said.key_secret, Some((child, folder)))
    }

    /// A server that runs.
    pub fn given(args: &BenchArgs) -> Result<Self, CliError> {
        let need = |what: &Option<String>| what.clone().ok_or_else(|| CliError::Usage("a key is missing".to_owned()));
        let url = need(&args.url)?;
        Self::new(&url, args.server_pid, &need(&args.key_id)?, need(&args.key_secret)?, None)
    }

    fn new(
        url: &str,
        pid: Option<u32>,
        key_id: &str,
        key_secret: String,
        child: Option<(Child, tempfile::TempDir)>,
    ) -> Result<Self, CliError> {
        let host = url.strip_prefix("http://").ok_or_else(|| CliError::Usage("url must be http://".to_owned()))?;
        let key_id = KeyId::parse(key_id).map_err(|e| CliError::Usage(format!("key id: {e}")))?;
        Ok(Self { host: host.trim_end_matches('/').to_owned(), pid, key_id, key_secret, _child: child })
    }

    /// A token for a user.
    pub fn token(&self, user: &str) -> Result<String, CliError> {
        let user = UserId::parse(user).map_err(|e| failed("user", e))?;
        sign_user_token(&self.key_id, self.key_secret.as_bytes(), &user, None, now_us(), TOKEN_TTL)
            .map_err(|e| failed("token", e))
    }

    /// What the server has used so far.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.pid?).ok()
    }
}

/// A span of time, and what the server used in it.
pub(super) struct Window {
    started: Instant,
    before: Option<Usage>,
}

impl Window {
    /// Begins one.
    pub fn begin(server: &Server) -> Self {
        Self { started: Instant::now(), before: server.usage() }
    }

    /// Ends it: seconds, and CPU microseconds of the server if they are known.
    pub fn end(self, server: &Server) -> (f64, Option<u64>) {
        let seconds = self.started.elapsed().as_secs_f64();
        let used = self.before.zip(server.usage()).map(|(before, after)| after.cpu_us - before.cpu_us);
        (seconds, used)
    }
}
