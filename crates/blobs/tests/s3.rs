//! Blobs in a real server that speaks S3 pass the suite of every store, and its end is a clear error.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use stonechat_backends::s3::{ACCESS_KEY, S3, SECRET_KEY};
use stonechat_blobs::{BlobError, BlobKey, Blobs, Direct, Link, S3Blobs, S3Config, conformance::Place};
use stonechat_model::TenantId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};

/// The one server of these tests. It ends with the process.
static SERVER: OnceCell<S3> = OnceCell::const_new();

fn blobs(server: &S3, timeout: Duration, retries: usize) -> S3Blobs {
    static BUCKETS: AtomicU32 = AtomicU32::new(0);
    let bucket = format!("test{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
    server.make_bucket(&bucket).unwrap();
    let config = S3Config {
        endpoint: server.endpoint(),
        bucket,
        region: "us-east-1".to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        allow_http: false,
        timeout,
        retries,
    };
    S3Blobs::new(&config).unwrap()
}

async fn server() -> &'static S3 {
    SERVER.get_or_init(async || S3::start().await.unwrap()).await
}

async fn fresh() -> Place {
    // This server answers 500 where two requests remove or make the same folder of its own; stores retry that.
    let blobs = Arc::new(blobs(server().await, Duration::from_secs(60), 8));
    Place { blobs, guard: Box::new(()) }
}

stonechat_blobs::blobs_conformance!(fresh);

fn key(name: &str) -> BlobKey {
    BlobKey::new(&TenantId::parse("acme").unwrap(), name).unwrap()
}

#[tokio::test]
async fn a_server_that_ends_is_a_retryable_error_and_what_it_held_comes_back() {
    let mut server = S3::start().await.unwrap();
    let blobs = blobs(&server, Duration::from_secs(2), 1);
    blobs.put(&key("a"), vec![Bytes::from_static(b"hello")]).await.unwrap();
    server.kill();
    let errors = [
        blobs.put(&key("b"), vec![Bytes::from_static(b"x")]).await.unwrap_err(),
        blobs.get(&key("a"), 0..5).await.unwrap_err(),
        blobs.size(&key("a")).await.unwrap_err(),
        blobs.list(key("a").tenant(), None, 10).await.unwrap_err(),
        Blobs::delete(&blobs, &key("a")).await.unwrap_err(),
        blobs.delete_tenant(key("a").tenant()).await.unwrap_err(),
        blobs.begin(&key("c")).await.unwrap_err(),
        blobs
            .compose(&key("c"), "begun", stream::once(async { Ok(Bytes::from_static(b"x")) }).boxed())
            .await
            .unwrap_err(),
        blobs.give_up(&key("c"), "begun").await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_retryable(), "{error:?}");
        assert!(!error.to_string().contains(SECRET_KEY), "{error}");
    }
    server.restart().await.unwrap();
    assert_eq!(blobs.get(&key("a"), 0..5).await.unwrap(), "hello");
    server.pause();
    let error = blobs.get(&key("a"), 0..5).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    server.go_on();
    assert_eq!(blobs.get(&key("a"), 0..5).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_wrong_secret_is_no_reason_to_try_again() {
    let server = server().await;
    let bucket = "wrong-secret".to_owned();
    server.make_bucket(&bucket).unwrap();
    let config = S3Config {
        endpoint: server.endpoint(),
        bucket,
        region: "us-east-1".to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: "another".to_owned(),
        allow_http: false,
        timeout: Duration::from_secs(10),
        retries: 0,
    };
    let error = S3Blobs::new(&config).unwrap().put(&key("a"), vec![Bytes::from_static(b"x")]).await.unwrap_err();
    assert!(matches!(error, BlobError::Setup(_)), "{error:?}");
}

/// What a browser gets from a link: status and headers, and the body.
async fn fetch(url: &str) -> (String, Vec<u8>) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

#[tokio::test]
async fn a_composed_object_is_fetched_by_its_link_and_by_no_other() {
    let blobs = blobs(server().await, Duration::from_secs(60), 8);
    let piece = |number: usize| Ok(Bytes::from(vec![number as u8; (8 << 20) + 17 * number]));
    let pieces = stream::iter((0..3).map(piece)).boxed();
    let begun = blobs.begin(&key("a")).await.unwrap();
    let length = blobs.compose(&key("a"), &begun, pieces).await.unwrap();
    assert_eq!(length, 3 * (8 << 20) + 17 * 3);
    // It is no blob: only links lead to it.
    assert_eq!(blobs.size(&key("a")).await.unwrap(), None);
    let link = Link {
        expiry: Duration::from_secs(60),
        content_disposition: "attachment; filename=\"report.bin\"".to_owned(),
        content_type: "application/octet-stream".to_owned(),
    };
    let url = blobs.presign_get(&key("a"), &link).await.unwrap();
    let (head, body) = fetch(&url).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-disposition: attachment; filename=\"report.bin\""), "{head}");
    assert_eq!(body.len() as u64, length);
    assert_eq!((body[0], body[body.len() - 1]), (0, 2));
    // What became an object is not given up any more, though not every store says so alike.
    if let Err(error) = blobs.give_up(&key("a"), &begun).await {
        assert!(!error.is_retryable(), "{error:?}");
    }
    assert_eq!(fetch(&url).await.1.len() as u64, length);
    let altered = [
        url.replace("/direct/acme/a", "/direct/acme/b"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
        url.replace("report.bin", "report.html"),
        url.split('?').next().unwrap().to_owned(),
    ];
    for url in altered {
        let (head, _) = fetch(&url).await;
        assert!(head.starts_with("http/1.1 403") || head.starts_with("http/1.1 400"), "{url}: {head}");
    }
    Direct::delete(&blobs, &key("a")).await.unwrap();
    assert!(fetch(&url).await.0.starts_with("http/1.1 404"));
    Direct::delete(&blobs, &key("a")).await.unwrap();
}

#[tokio::test]
async fn nothing_is_composed_of_pieces_that_cannot_be_had() {
    let blobs = blobs(server().await, Duration::from_secs(60), 8);
    let pieces = stream::iter([Ok(Bytes::from(vec![1; 9 << 20])), Err(BlobError::NotFound)]).boxed();
    let begun = blobs.begin(&key("a")).await.unwrap();
    assert_eq!(blobs.compose(&key("a"), &begun, pieces).await, Err(BlobError::NotFound));
    let link =
        Link { expiry: Duration::from_secs(60), content_disposition: "inline".into(), content_type: "x/y".into() };
    let url = blobs.presign_get(&key("a"), &link).await.unwrap();
    assert!(fetch(&url).await.0.starts_with("http/1.1 404"));
    blobs.give_up(&key("a"), &begun).await.unwrap();
    let again = stream::iter([Ok(Bytes::from_static(b"late"))]).boxed();
    assert!(blobs.compose(&key("a"), &begun, again).await.is_err(), "what was given up becomes an object");
    assert!(fetch(&url).await.0.starts_with("http/1.1 404"));
}
