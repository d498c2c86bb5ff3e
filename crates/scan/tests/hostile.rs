//! A scanner that is none: whatever it does, no file is clean that was not said to be, and nobody waits for ever.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::stream;
use stonechat_scan::{Address, ScanConfig, ScanError, Scanner, Verdict};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const TIMEOUT: Duration = Duration::from_millis(500);

async fn scanner<F: Future<Output = ()> + Send + 'static>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> Scanner {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    at(Address::Tcp(address))
}

fn at(address: Address) -> Scanner {
    Scanner::new(ScanConfig { address, timeout: TIMEOUT, max_bytes: 1 << 20 })
}

async fn scan(scanner: &Scanner, bytes: usize) -> Result<Verdict, ScanError> {
    let chunk = Bytes::from(vec![7; bytes]);
    let scanning = scanner.scan(stream::iter([Ok::<_, Infallible>(chunk)]));
    tokio::time::timeout(20 * TIMEOUT, scanning).await.expect("waits for ever")
}

/// Reads a stream to its end; gives what was in its chunks.
async fn take(stream: &mut TcpStream) -> Vec<u8> {
    let mut command = [0; 10];
    stream.read_exact(&mut command).await.unwrap();
    assert_eq!(&command, b"zINSTREAM\0");
    let mut all = Vec::new();
    loop {
        let length = stream.read_u32().await.unwrap() as usize;
        if length == 0 {
            return all;
        }
        let begin = all.len();
        all.resize(begin + length, 0);
        stream.read_exact(&mut all[begin..]).await.unwrap();
    }
}

#[tokio::test]
async fn every_byte_is_sent_and_only_ok_is_clean() {
    let scanner = scanner(|mut stream| async move {
        let answer = if take(&mut stream).await == vec![7; 200_000] { "stream: OK\0" } else { "stream: x FOUND\0" };
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    assert_eq!(scan(&scanner, 200_000).await, Ok(Verdict::Clean));
    assert_eq!(scan(&scanner, 200_001).await, Ok(Verdict::Infected("x".to_owned())));
    assert_eq!(scan(&scanner, (1 << 20) + 1).await, Err(ScanError::TooLarge));
}

#[tokio::test]
async fn an_answer_before_the_end_is_never_clean() {
    let early = scanner(|mut stream| async move {
        stream.write_all(b"stream: OK\0").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let slow = stream::once(async {
        tokio::time::sleep(TIMEOUT / 2).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    });
    let scanned = early.scan(slow).await;
    assert!(scanned.as_ref().is_err_and(ScanError::is_retryable), "{scanned:?}");
}

#[tokio::test]
async fn a_silent_deaf_or_babbling_scanner_is_unavailable() {
    let deaf = scanner(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    assert!(scan(&deaf, 1 << 20).await.is_err_and(|error| error.is_retryable()));
    let silent = scanner(|mut stream| async move {
        take(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert!(scan(&silent, 10).await.is_err_and(|error| error.is_retryable()));
    let babbling = scanner(|mut stream| async move {
        take(&mut stream).await;
        while stream.write_all(&[b'a'; 4_096]).await.is_ok() {}
    })
    .await;
    assert!(scan(&babbling, 10).await.is_err_and(|error| error.is_retryable()));
    let dripping = scanner(|mut stream| async move {
        take(&mut stream).await;
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(TIMEOUT / 20).await;
        }
    })
    .await;
    assert!(scan(&dripping, 10).await.is_err_and(|error| error.is_retryable()));
    let closing = scanner(|stream| async move { drop(stream) }).await;
    assert!(scan(&closing, 1 << 20).await.is_err_and(|error| error.is_retryable()));
    assert!(scan(&at(Address::Unix("/nowhere/clamd.sock".into())), 1).await.is_err_and(|error| error.is_retryable()));
    assert!(scan(&at(Address::Tcp("127.0.0.1:1".to_owned())), 1).await.is_err_and(|error| error.is_retryable()));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_clean() {
    let scanner = scanner(|mut stream| async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let _ = stream.write_all(b"stream: OK\0").await;
    })
    .await;
    let chunks = [Ok(Bytes::from_static(b"begin")), Err("gone")];
    let scanned = scanner.scan(stream::iter(chunks)).await;
    assert!(scanned.as_ref().is_err_and(ScanError::is_retryable), "{scanned:?}");
}
