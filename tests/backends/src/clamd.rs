//! The daemon of ClamAV with signatures of a test's own, and no others.

use std::{path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{BackendError, Folder, Program, Server, free_ports};

/// How long it may take to read its signatures on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest stream that it takes, in bytes.
pub const STREAM_BYTES: u64 = 20 << 20;

/// A running daemon, on a port of loopback and on a socket of the folder.
#[derive(Debug)]
pub struct Clamd {
    server: Server,
    port: u16,
    folder: Folder,
}

impl Clamd {
    /// Starts one that finds these texts, each by its name.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn start(signatures: &[(&str, &str)]) -> Result<Self, BackendError> {
        let folder = Folder::new()?;
        let port = free_ports(1)?[0];
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Name, any type of file, anywhere in it, what it holds.
        let lines: String = signatures.iter().map(|(name, text)| format!("{name}:0:*:{}\n", hex(text))).collect();
        folder.write("signatures/own.ndb", &lines)?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let configuration = format!(
            "Foreground yes\nDatabaseDirectory {}\nTCPSocket {port}\nTCPAddr 127.0.0.1\nLocalSocket {}\n\
             StreamMaxLength {STREAM_BYTES}\nMaxScanSize {STREAM_BYTES}\nMaxFileSize {STREAM_BYTES}\nMaxThreads 4\n\
             TemporaryDirectory {}\nOfficialDatabaseOnly no\nBytecode no\nConcurrentDatabaseReload no\n",
            path("signatures"),
            path("clamd.sock"),
            folder.path().display(),
        );
        let file = folder.write("clamd.conf", &configuration)?;
        let program =
            Program::new("clamd", folder.path()).with(["--config-file".to_owned(), file.display().to_string()]);
        let mut clamd = Self { server: Server::start(program)?, port, folder };
        clamd.ready().await?;
        Ok(clamd)
    }

    /// `host:port` of it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("clamd.sock")
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

    /// Starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<(), BackendError> {
        self.server.restart()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), BackendError> {
        let port = self.port;
        self.server.ready(PATIENCE, || async move { pong(port).await.is_ok_and(|is_pong| is_pong) }).await
    }
}

async fn pong(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"zPING\0").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer == b"PONG\0")
}
