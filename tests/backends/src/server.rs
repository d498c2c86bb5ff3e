//! Processes of servers, their ports and folders.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::Rng;

/// Ports that are given: below those that the kernel takes for outgoing connections.
const PORTS: Range<u16> = 18_000..32_000;
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What ends a folder's servers and removes it, once nobody holds the other end of its standard input. Servers
/// are known by the folder that they work in.
const REAPER: &str = r#"trap '' INT TERM HUP
cat >/dev/null
find /proc -maxdepth 2 -name cwd \( -lname "$1" -o -lname "$1/*" \) 2>/dev/null | while read -r link; do
    pid=${link#/proc/}
    kill -9 "${pid%/cwd}"
done
rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A file or process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What it consists of was not fetched.
    #[error("{0} is not there: run `make backends`")]
    NotFetched(PathBuf),
    /// A program ended or was not ready in time.
    #[error("{what}; its last lines:\n{log}")]
    Failed {
        /// What went wrong.
        what: String,
        /// The end of its log.
        log: String,
    },
}

impl BackendError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// How much a server of Java is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Starts soon and needs little: for tests of what is right.
    Small,
    /// Compiles and collects garbage as in production, with memory for a million rows: for what is measured.
    Large,
}

/// Where `make backends` puts what it fetches: `STONECHAT_BACKENDS`, or a folder of the user's cache.
pub fn fetched(name: &str) -> Result<PathBuf, BackendError> {
    let folder = match (env::var_os("STONECHAT_BACKENDS"), env::var_os("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, home) => PathBuf::from(home.unwrap_or_default()).join(".cache/stonechat-backends"),
    };
    let path = folder.join(name);
    if path.is_dir() { Ok(path) } else { Err(BackendError::NotFetched(path)) }
}

/// So many ports of loopback that nobody listens on; none is given twice by this process.
pub fn free_ports(count: usize) -> Result<Vec<u16>, BackendError> {
    static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock();
    let mut found = Vec::with_capacity(count);
    for _ in 0..PORTS.len() {
        if found.len() == count {
            return Ok(found);
        }
        let port = rand::rng().random_range(PORTS);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            found.push(port);
        }
    }
    Err(BackendError::Io { what: "find free ports".to_owned(), source: io::ErrorKind::AddrInUse.into() })
}

/// A temporary folder. Servers that work in it end when it is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    reaper: Child,
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Result<Self, BackendError> {
        let path =
            tempfile::Builder::new().prefix("stonechat-").tempdir().map_err(BackendError::io("make a folder"))?;
        let path = path.keep();
        let mut reaper = Command::new("sh");
        reaper.args(["-c", REAPER, "reaper"]).arg(&path).stdin(Stdio::piped()).process_group(0);
        let reaper = reaper.spawn().map_err(BackendError::io("start a shell"))?;
        Ok(Self { path, reaper })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it, and the folders it is in.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, BackendError> {
        let path = self.path.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        made.map_err(BackendError::io(format!("write {name}")))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        // Nobody is left to tell of a failure.
        drop(self.reaper.wait());
    }
}

/// What is started, again at each restart.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What its environment has beside this process's.
    pub environment: Vec<(String, String)>,
    /// Where it works: a [`Folder`]'s path or below.
    pub folder: PathBuf,
    /// What it writes goes to this file of the folder.
    pub log: String,
}

impl Program {
    /// A program without arguments, which works in this folder and writes `server.log` there.
    pub fn new(program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_owned(),
            log: "server.log".to_owned(),
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> Result<Command, BackendError> {
        let log = self.log_file().map_err(BackendError::io(format!("write {}", self.log)))?;
        let errors = log.try_clone().map_err(BackendError::io(format!("write {}", self.log)))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned()).current_dir(&self.folder);
        // A group of its own: what a terminal sends goes to the test, whose end is theirs.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        Ok(command)
    }

    fn log_file(&self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        OpenOptions::new().create(true).append(true).open(self.folder.join(&self.log))
    }

    /// Runs it to its end.
    pub fn run(&self) -> Result<(), BackendError> {
        let status = self.command()?.status().map_err(BackendError::io(self.program.display().to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(format!("{} ended with {status}", self.program.display())))
        }
    }

    /// A failure, with the end of the log.
    pub fn failed(&self, what: impl Into<String>) -> BackendError {
        const LINES: usize = 30;
        let log = fs::read_to_string(self.folder.join(&self.log)).unwrap_or_default();
        let begin = log.lines().count().saturating_sub(LINES);
        BackendError::Failed { what: what.into(), log: log.lines().skip(begin).collect::<Vec<_>>().join("\n") }
    }
}

/// A running server, or one that was stopped.
#[derive(Debug)]
pub struct Server {
    program: Program,
    child: Option<Child>,
}

impl Server {
    /// Starts it; it is hardly ready yet.
    pub fn start(program: Program) -> Result<Self, BackendError> {
        let mut server = Self { program, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again, after a `kill -9` where it runs.
    pub fn restart(&mut self) -> Result<(), BackendError> {
        self.kill();
        let child = self.program.command()?.spawn();
        self.child = Some(child.map_err(BackendError::io(self.program.program.display().to_string()))?);
        Ok(())
    }

    /// Has another program of the same arguments be started from the next time on, as an upgrade does.
    pub fn replace(&mut self, program: &Path) {
        self.program.program = program.to_owned();
    }

    /// What was started.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process, while it was not stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`, until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// SIGTERM, until it is gone; true when it ended by itself within the time, otherwise it was killed.
    pub async fn stop(&mut self, patience: Duration) -> bool {
        self.signal("TERM");
        let end = Instant::now() + patience;
        while self.is_running() && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let ended = !self.is_running();
        let by_signal = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        self.kill();
        ended && by_signal.is_some_and(|status| status.signal() != Some(9))
    }

    /// SIGSTOP: it stands still, its connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT: it goes on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            // Whether it arrived shows in what the server does.
            drop(Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status());
        }
    }

    /// Waits until the server is ready.
    ///
    /// # Errors
    /// It ended, or is not ready after this time.
    pub async fn ready<F>(&mut self, patience: Duration, is_ready: impl Fn() -> F) -> Result<(), BackendError>
    where
        F: Future<Output = bool>,
    {
        let end = Instant::now() + patience;
        while !is_ready().await {
            let name = self.program.program.display().to_string();
            if !self.is_running() {
                return Err(self.program.failed(format!("{name} ended")));
            }
            if Instant::now() > end {
                return Err(self.program.failed(format!("{name} was not ready after {patience:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a condition holds; false when it does not after this time.
pub async fn until(patience: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !condition().await {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    }

    #[test]
    fn ports_are_free_and_given_once() {
        let ports: BTreeSet<u16> = (0..5).flat_map(|_| free_ports(4).unwrap()).collect();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[tokio::test]
    async fn a_server_is_killed_and_started_again() {
        let folder = Folder::new().unwrap();
        let mut server = Server::start(Program::new("sleep", folder.path()).with(["600"])).unwrap();
        let first = server.pid().unwrap();
        assert!(server.is_running());
        server.kill();
        assert!(!alive(first) && !server.is_running());
        server.restart().unwrap();
        assert!(server.is_running() && server.pid() != Some(first));
        assert!(server.stop(PATIENCE).await);
        assert!(!server.is_running());
    }

    #[tokio::test]
    async fn a_paused_server_goes_on() {
        let folder = Folder::new().unwrap();
        let server = Server::start(Program::new("sleep", folder.path()).with(["600"])).unwrap();
        let stat = format!("/proc/{}/stat", server.pid().unwrap());
        let is = |state: &'static str| {
            let stat = stat.clone();
            async move || fs::read_to_string(&stat).unwrap().contains(&format!(") {state}"))
        };
        server.pause();
        assert!(until(PATIENCE, is("T")).await);
        server.go_on();
        assert!(until(PATIENCE, is("S")).await);
    }

    #[tokio::test]
    async fn a_dropped_folder_takes_its_servers_along() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        let below = path.join("below");
        let mut server = Server::start(Program::new("sleep", &below).with(["600"])).unwrap();
        let pid = server.pid().unwrap();
        drop(folder);
        assert!(until(PATIENCE, async || !alive(pid)).await);
        assert!(!server.is_running());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_server_that_ends_is_told_with_its_last_lines() {
        let folder = Folder::new().unwrap();
        let program = Program::new("sh", folder.path()).with(["-c", "echo no luck; exit 3"]);
        let error = program.run().unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
        let mut server = Server::start(program).unwrap();
        let error = server.ready(PATIENCE, || async { false }).await.unwrap_err();
        assert!(error.to_string().contains("ended; its last lines:\nno luck"), "{error}");
    }
}
