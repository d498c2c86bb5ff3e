//! Asking clamd.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use stonechat_model::limits;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    Address, Verdict,
    answer::{ANSWER_BYTES, parse_answer},
};

/// Bytes of a chunk of the stream; clamd takes each into memory.
const CHUNK_BYTES: usize = 64 << 10;

/// How the scanner is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanConfig {
    /// Where it is.
    pub address: Address,
    /// How long connecting, writing a chunk, and waiting for the answer after the last one may each take.
    pub timeout: Duration,
    /// The largest file that is sent, at most clamd's `StreamMaxLength`.
    pub max_bytes: u64,
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The scanner does not answer as it should, or the file cannot be read now.
    #[error("{0}")]
    Unavailable(String),
    /// The file is larger than is scanned.
    #[error("file is too large to be scanned")]
    TooLarge,
}

impl ScanError {
    /// Whether the same may be tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// A scanner, which takes [`limits::SCANS_AT_ONCE`] files at once; more wait.
pub struct Scanner {
    config: ScanConfig,
    permits: Semaphore,
}

impl Scanner {
    /// A scanner; whether it answers shows in its use.
    pub fn new(config: ScanConfig) -> Self {
        Self { config, permits: Semaphore::new(limits::SCANS_AT_ONCE) }
    }

    /// The largest file that is scanned, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.config.max_bytes
    }

    /// Has the bytes of a file scanned.
    ///
    /// # Errors
    /// [`ScanError::Unavailable`], also when the bytes cannot be had; [`ScanError::TooLarge`].
    pub async fn scan<E: std::fmt::Display>(
        &self,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<Verdict, ScanError> {
        let closed = |_| ScanError::Unavailable("scanner is closed".to_owned());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let connecting = timeout(self.config.timeout, async {
            Ok::<_, io::Error>(match &self.config.address {
                Address::Tcp(address) => Connection::Tcp(TcpStream::connect(address.as_str()).await?),
                Address::Unix(path) => Connection::Unix(UnixStream::connect(path).await?),
            })
        });
        let connection = connecting.await.map_err(|_| silent("connect"))?;
        match connection.map_err(|error| broken(&error))? {
            Connection::Tcp(stream) => self.ask(stream, bytes).await,
            Connection::Unix(stream) => self.ask(stream, bytes).await,
        }
    }

    async fn ask<E: std::fmt::Display>(
        &self,
        connection: impl AsyncRead + AsyncWrite + Send,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<Verdict, ScanError> {
        let (from, to) = tokio::io::split(connection);
        let (mut from, mut to) = (std::pin::pin!(from), std::pin::pin!(to));
        let mut answering = std::pin::pin!(read_answer(&mut from));
        let sending = self.send(&mut to, bytes);
        tokio::select! {
            // An answer before the end of the file: the stream is too long, or something is wrong.
            early = &mut answering => return parse_early(&early?),
            sent = sending => match sent {
                Ok(()) | Err(SendError::Connection(_)) => {}
                Err(SendError::Scan(error)) => return Err(error),
            },
        }
        // Where sending broke off, the answer that was sent before says why.
        let answer = timeout(self.config.timeout, answering).await.map_err(|_| silent("answer"))??;
        parse_answer(&answer)
    }

    async fn send<E: std::fmt::Display>(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(), SendError> {
        let mut bytes = std::pin::pin!(bytes);
        let mut sent = 0_u64;
        self.write(to, b"zINSTREAM\0").await?;
        while let Some(some) = bytes.next().await {
            let unreadable = |error: E| ScanError::Unavailable(format!("file cannot be read: {error}"));
            let some = some.map_err(|error| SendError::Scan(unreadable(error)))?;
            sent = sent.saturating_add(some.len() as u64);
            if sent > self.config.max_bytes {
                return Err(SendError::Scan(ScanError::TooLarge));
            }
            for chunk in some.chunks(CHUNK_BYTES) {
                let length = u32::try_from(chunk.len()).unwrap_or(0);
                self.write(to, &length.to_be_bytes()).await?;
                self.write(to, chunk).await?;
            }
        }
        self.write(to, &0_u32.to_be_bytes()).await
    }

    async fn write(&self, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), SendError> {
        let writing = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        let written = timeout(self.config.timeout, writing).await;
        written.map_err(|_| SendError::Scan(silent("take the file")))?.map_err(SendError::Connection)
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum SendError {
    Connection(#[expect(dead_code, reason = "the answer, or its absence, says more")] io::Error),
    Scan(ScanError),
}

/// Reads to the NUL that ends an answer, or as much as an answer may have.
async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ScanError> {
    let (mut from, mut answer) = (from.take(ANSWER_BYTES as u64), Vec::with_capacity(ANSWER_BYTES));
    loop {
        match from.read_buf(&mut answer).await {
            Ok(0) => return Ok(answer),
            Ok(_) if answer.contains(&0) => return Ok(answer),
            Ok(_) => {}
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// A file of which the scanner has not seen the end is not clean, whatever it says.
fn parse_early(answer: &[u8]) -> Result<Verdict, ScanError> {
    match parse_answer(answer) {
        Ok(Verdict::Clean) => Err(ScanError::Unavailable("scanner answered before the end of the file".to_owned())),
        parsed => parsed,
    }
}

fn silent(what: &str) -> ScanError {
    ScanError::Unavailable(format!("scanner does not {what} in time"))
}

fn broken(error: &io::Error) -> ScanError {
    ScanError::Unavailable(format!("scanner: {}", error.kind()))
}
