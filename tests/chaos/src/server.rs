//! The server under test as a child process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The process could not be started or read.
    #[error("cannot run the server: {0}")]
    Io(#[from] std::io::Error),
    /// It ended before it was ready.
    #[error("the server ended before it was ready; see its log")]
    Ended,
    /// It did not become ready in time.
    #[error("the server was not ready within {} s", .0.as_secs())]
    Late(Duration),
    /// Its first line was not what it should be.
    #[error("cannot read the server's first line: {0}")]
    Line(#[from] serde_json::Error),
}

/// What the server says when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Started {
    /// Where its HTTP and WebSocket are.
    pub url: String,
    /// The demo tenant.
    pub tenant: String,
    /// The key that signs user tokens.
    pub key_id: String,
    /// Its secret.
    pub key_secret: String,
    /// The key that acts for the tenant.
    pub server_key: String,
}

/// The server. It dies with this value.
pub struct Server {
    program: PathBuf,
    data: PathBuf,
    listen: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    born: Instant,
}

impl Server {
    /// A server that keeps its data in a folder, listens at an address and writes its log to a file.
    pub fn new(program: PathBuf, data: PathBuf, listen: SocketAddr, log: PathBuf) -> Self {
        Self { program, data, listen, log, child: None, lines: None, born: Instant::now() }
    }

    /// Starts the process; it is not ready yet.
    pub fn start(&mut self) -> Result<(), ServerError> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(["run", "--dev", "--json", "--listen", &self.listen.to_string(), "--data"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        self.child = Some(child);
        self.born = Instant::now();
        Ok(())
    }

    /// Waits for the line that says it is ready; gives it with the time since the start.
    pub async fn ready(&mut self, within: Duration) -> Result<(Started, Duration), ServerError> {
        let Some(mut lines) = self.lines.take() else { return Err(ServerError::Ended) };
        let line = tokio::time::timeout(within, lines.next_line()).await.map_err(|_| ServerError::Late(within))??;
        let took = self.born.elapsed();
        let started = serde_json::from_str(&line.ok_or(ServerError::Ended)?)?;
        // Whatever else it says must not fill the pipe; the task ends with the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((started, took))
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        self.lines = None;
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }
}
