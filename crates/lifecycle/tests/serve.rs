//! One listener, seen from outside.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::get};
use hyper_util::rt::TokioIo;
use stonechat_lifecycle::{Connection, ServeLimits, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);
const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

async fn start(app: Router, limits: ServeLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, app, limits, shutdown.clone()));
    Server { address, shutdown, task }
}

fn app() -> Router {
    Router::new().route("/hello", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
}

fn limits() -> ServeLimits {
    ServeLimits { connections: 100, header_timeout: LONG, drain_timeout: LONG, ..ServeLimits::default() }
}

/// Reads until `end` shows up.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "stream ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_request_is_answered_and_knows_its_peer() {
    let server = start(app(), limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(HELLO).await.unwrap();
    let answer = read_until(&mut stream, &own).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_answered_on_the_same_port() {
    let server = start(app(), limits()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder().uri("http://x/hello").body(axum::body::Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.version(), hyper::Version::HTTP_2);
}

/// Sends `begin` and waits for the server to close.
async fn is_closed_after(begin: &[u8]) {
    let server = start(app(), ServeLimits { header_timeout: SHORT, ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(begin).await.unwrap();
    let mut rest = Vec::new();
    // Closed with bytes unread is a reset; both are an end.
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("server must close");
    assert!(end.is_ok() || end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_closed() {
    is_closed_after(b"").await;
}

#[tokio::test]
async fn a_header_that_does_not_end_is_closed() {
    is_closed_after(b"GET /hello HTTP/1.1\r\nhost: ").await;
}

#[tokio::test]
async fn a_preface_that_does_not_end_is_closed() {
    is_closed_after(b"PRI * HTT").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let server = start(app(), ServeLimits { connections: 1, ..limits() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(HELLO).await.unwrap();
    read_until(&mut first, "127.0.0.1").await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(HELLO).await.unwrap();
    let early = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(early.is_err(), "the second connection was served beside the first");
    drop(first);
    read_until(&mut second, "127.0.0.1").await;
}

/// An app whose `/upgrade` hands the bare connection to the test.
fn upgrading_app(upgraded: mpsc::Sender<Connection>) -> Router {
    let handler = move |request: axum::extract::Request| async move {
        tokio::spawn(async move {
            let io = hyper::upgrade::on(request).await.unwrap();
            let parts = io.downcast::<TokioIo<Connection>>().expect("the listener's own connection");
            upgraded.send(parts.io.into_inner()).await.unwrap();
        });
        (axum::http::StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "test")])
    };
    app().route("/upgrade", get(handler))
}

const UPGRADE: &[u8] = b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";

#[tokio::test]
async fn an_upgraded_connection_counts_until_it_is_dropped() {
    let (sender, mut upgraded) = mpsc::channel(1);
    let server = start(upgrading_app(sender), ServeLimits { connections: 1, ..limits() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(UPGRADE).await.unwrap();
    read_until(&mut first, "\r\n\r\n").await;
    let mut connection = upgraded.recv().await.unwrap();
    connection.write_all(b"bare").await.unwrap();
    read_until(&mut first, "bare").await;

    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(HELLO).await.unwrap();
    let early = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(early.is_err(), "the upgraded connection did not count");
    drop(connection);
    read_until(&mut second, "127.0.0.1").await;
}

#[tokio::test]
async fn an_upgraded_connection_leaves_no_task_behind() {
    let (sender, mut upgraded) = mpsc::channel(1);
    let server = start(upgrading_app(sender), limits()).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(UPGRADE).await.unwrap();
    let _connection = upgraded.recv().await.unwrap();
    // What served HTTP has ended: whoever took the connection over is all it costs.
    let ended = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("the task of the connection must end");
}

#[tokio::test]
async fn shutdown_waits_for_upgraded_connections() {
    let (sender, mut upgraded) = mpsc::channel(1);
    let mut server = start(upgrading_app(sender), limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(UPGRADE).await.unwrap();
    let connection = upgraded.recv().await.unwrap();
    server.shutdown.cancel();
    assert!(tokio::time::timeout(SHORT, &mut server.task).await.is_err(), "serve returned too early");
    drop(connection);
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_closes_what_is_idle() {
    let (entered, go_on) = (std::sync::Arc::new(Notify::new()), std::sync::Arc::new(Notify::new()));
    let slow = {
        let (entered, go_on) = (entered.clone(), go_on.clone());
        move || async move {
            entered.notify_one();
            go_on.notified().await;
            "slow but whole"
        }
    };
    let server = start(app().route("/slow", get(slow)), limits()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    entered.notified().await;
    server.shutdown.cancel();
    let mut nothing = Vec::new();
    idle.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());
    go_on.notify_one();
    read_until(&mut busy, "slow but whole").await;
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is still open");
}

#[tokio::test]
async fn shutdown_drops_what_does_not_end_in_time() {
    let entered = std::sync::Arc::new(Notify::new());
    let stuck = {
        let entered = entered.clone();
        move || async move {
            entered.notify_one();
            std::future::pending::<&str>().await
        }
    };
    let app = app().route("/stuck", get(stuck));
    let server = start(app, ServeLimits { drain_timeout: SHORT, ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    entered.notified().await;
    server.shutdown.cancel();
    server.task.await.unwrap().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
