//! A server that speaks S3 and keeps objects in a folder: s3s-fs.

use std::{fs, path::PathBuf, time::Duration};

use tokio::net::TcpStream;

use crate::server::{BackendError, Folder, Program, Server, fetched, free_ports};

/// How long it may take to listen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What was fetched; the version is `fetch.sh`'s.
const S3S_FS: &str = "s3s-fs-0.14.1";
/// The access key that it takes.
pub const ACCESS_KEY: &str = "stonechat-test";
/// The access key's secret.
pub const SECRET_KEY: &str = "stonechat-test-secret";

/// A running server. What it holds goes with it.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    port: u16,
    folder: Folder,
}

impl S3 {
    /// Starts one.
    ///
    /// # Errors
    /// It was not fetched, or does not start.
    pub async fn start() -> Result<Self, BackendError> {
        let folder = Folder::new()?;
        let port = free_ports(1)?[0];
        let root = folder.path().join("objects");
        fs::create_dir_all(&root).map_err(|source| BackendError::Io { what: "make a folder".to_owned(), source })?;
        let program = Program::new(fetched(S3S_FS)?.join("bin/s3s-fs"), folder.path()).with([
            "--host".to_owned(),
            "127.0.0.1".to_owned(),
            "--port".to_owned(),
            port.to_string(),
            "--access-key".to_owned(),
            ACCESS_KEY.to_owned(),
            "--secret-key".to_owned(),
            SECRET_KEY.to_owned(),
            root.display().to_string(),
        ]);
        let mut s3 = Self { server: Server::start(program)?, port, folder };
        s3.ready().await?;
        Ok(s3)
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn make_bucket(&self, name: &str) -> Result<(), BackendError> {
        let bucket = self.folder.path().join("objects").join(name);
        fs::create_dir_all(bucket).map_err(|source| BackendError::Io { what: format!("make bucket {name}"), source })
    }

    /// The objects below a prefix of a bucket, by their paths.
    pub fn objects(&self, bucket: &str, prefix: &str) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.path().join("objects").join(bucket).join(prefix)];
        let mut objects = Vec::new();
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() { &mut folders } else { &mut objects }.push(path);
            }
        }
        objects
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// SIGSTOP: it stands still, its connections stay open.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// SIGCONT: it goes on.
    pub fn go_on(&self) {
        self.server.go_on();
    }

    /// Starts it again with what it held.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<(), BackendError> {
        self.server.restart()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), BackendError> {
        let port = self.port;
        self.server.ready(PATIENCE, || async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await
    }
}
