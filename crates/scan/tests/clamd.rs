//! A real clamd with a signature of our own. `make test-backends` runs it.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::stream;
use stonechat_backends::clamd::{Clamd, STREAM_BYTES};
use stonechat_scan::{Address, ScanConfig, ScanError, Scanner, Verdict};

const SIGNATURE: &str = "stonechat test signature 4d1f0c";

fn scanner(address: Address, timeout: Duration, max_bytes: u64) -> Scanner {
    Scanner::new(ScanConfig { address, timeout, max_bytes })
}

async fn scan(scanner: &Scanner, bytes: Vec<u8>) -> Result<Verdict, ScanError> {
    let chunks: Vec<_> =
        bytes.chunks(100_000).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    scanner.scan(stream::iter(chunks)).await
}

#[tokio::test]
#[ignore = "needs clamd: make test-backends"]
async fn a_real_clamd_finds_our_signature_and_nothing_else() {
    let mut clamd = Clamd::start(&[("Stonechat.Test", SIGNATURE)]).await.unwrap();
    let patience = Duration::from_secs(30);
    let tcp: Address = clamd.address().parse().unwrap();
    let found = Ok(Verdict::Infected("Stonechat.Test.UNOFFICIAL".to_owned()));
    for address in [tcp.clone(), Address::Unix(clamd.socket())] {
        let scanner = scanner(address, patience, u64::MAX);
        assert_eq!(scan(&scanner, Vec::new()).await, Ok(Verdict::Clean));
        assert_eq!(scan(&scanner, b"hello".to_vec()).await, Ok(Verdict::Clean));
        assert_eq!(scan(&scanner, SIGNATURE.into()).await, found);
        // Over the edge of chunks, deep in a file.
        let mut deep = vec![b' '; 3_000_000];
        deep[2_000_000 - 10..][..SIGNATURE.len()].copy_from_slice(SIGNATURE.as_bytes());
        assert_eq!(scan(&scanner, deep).await, found);
        let larger = vec![0; usize::try_from(STREAM_BYTES).unwrap() + 1_000_000];
        assert_eq!(scan(&scanner, larger).await, Err(ScanError::TooLarge));
    }
    let short = scanner(tcp, Duration::from_secs(1), u64::MAX);
    clamd.pause();
    assert!(scan(&short, SIGNATURE.into()).await.is_err_and(|error| error.is_retryable()));
    clamd.go_on();
    clamd.kill();
    assert!(scan(&short, SIGNATURE.into()).await.is_err_and(|error| error.is_retryable()));
    clamd.restart().await.unwrap();
    assert_eq!(scan(&short, SIGNATURE.into()).await, found);
}
