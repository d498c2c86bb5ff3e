//! One listener for REST, WebSocket (HTTP/1 upgrades) and gRPC (HTTP/2 by prior knowledge).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{BoxError, Router, body::Body, extract::ConnectInfo};
use hyper::{
    Request,
    body::Incoming,
    rt::{Read, Write},
    server::conn,
    service::HttpService,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use stonechat_model::limits;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::Connection;

/// HTTP/1 reads and writes through buffers of at most this; a request's header must fit.
const HTTP1_BUFFER_BYTES: usize = 16 * 1024;
/// The header of an HTTP/2 request.
const HTTP2_HEADER_BYTES: u32 = 16 * 1024;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 1_024;
/// Unread bytes of one HTTP/2 stream; large enough that a busy link between roles never waits for the window.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unread bytes of one HTTP/2 connection.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A silent HTTP/2 peer is asked whether it lives after this.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The pause between two looks at a preface of which only a part has come; seen in practice only in attacks.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// The pause after a failed accept (mostly: no more file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Open connections, upgraded ones included; more wait in the kernel.
    pub connections: usize,
    /// From the connection, or the end of the last request, to the end of a request's header.
    pub header_timeout: Duration,
    /// How long requests that run, and upgraded connections, may take to end after a shutdown began.
    pub drain_timeout: Duration,
    /// After which silence an HTTP/2 peer is asked whether it lives, and how long it has to answer.
    pub keep_alive: (Duration, Duration),
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS,
            header_timeout: Duration::from_secs(limits::HTTP_HEADER_TIMEOUT_S),
            drain_timeout: Duration::from_secs(limits::HTTP_HEADER_TIMEOUT_S),
            keep_alive: (HTTP2_KEEP_ALIVE, HTTP2_KEEP_ALIVE),
        }
    }
}

/// Serves `app` on `listener` until `shutdown`, then lets what runs end for `limits.drain_timeout`.
///
/// Requests carry their peer's address as `ConnectInfo<SocketAddr>`. Returns when every connection has ended;
/// those that have not at the deadline are dropped, except upgraded ones, which belong to whoever upgraded them.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: ServeLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    accept_until(listener, app, limits, None, shutdown).await
}

/// Serves `app` as [`serve`] does, by HTTP/2 over TLS alone. A connection gets the configuration of its moment.
pub async fn serve_tls(
    listener: TcpListener,
    app: Router,
    limits: ServeLimits,
    tls: watch::Receiver<Arc<ServerConfig>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    accept_until(listener, app, limits, Some(tls), shutdown).await
}

async fn accept_until(
    listener: TcpListener,
    app: Router,
    limits: ServeLimits,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let permits = Arc::new(Semaphore::new(connections as usize));
    let tracker = TaskTracker::new();
    // Set when the drain time is over.
    let end = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((connection, peer)) = accepted else { continue };
        let (app, shutdown, end) = (app.clone(), shutdown.clone(), end.clone());
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
        tracker.spawn(async move {
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                () = handle(connection, peer, app, limits, tls, shutdown) => {}
            }
        });
    }
    drop(listener);
    tracker.close();
    // Every permit back: every connection, upgraded ones too, is gone.
    if tokio::time::timeout(limits.drain_timeout, permits.acquire_many(connections)).await.is_err() {
        let open = (connections as usize).saturating_sub(permits.available_permits());
        tracing::warn!(connections.open = open, "drain time is over, dropping connections");
    }
    end.cancel();
    tracker.wait().await;
    Ok(())
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(Connection, SocketAddr)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Frames are gathered before they are written; waiting for more would only add latency.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "set nodelay failed");
            }
            Some((Connection::new(stream, permit), peer))
        }
        Err(error) => {
            tracing::warn!(%error, "accept connection failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn handle(
    connection: Connection,
    peer: SocketAddr,
    app: Router,
    limits: ServeLimits,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
) {
    let app = app.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let service = TowerToHyperService::new(app);
    // Until something was asked nothing is lost by a shutdown.
    let result = match tls {
        Some(tls) => {
            let handshake = tokio::time::timeout(limits.header_timeout, tls.accept(connection));
            match shutdown.run_until_cancelled(handshake).await {
                Some(Ok(Ok(stream))) => http2(TokioIo::new(stream), service, limits, &shutdown).await,
                Some(Ok(Err(error))) => {
                    metrics::counter!("stonechat_tls_refused_total").increment(1);
                    tracing::warn!(peer.address = %peer, %error, "a caller's handshake failed");
                    return;
                }
                Some(Err(_)) | None => return,
            }
        }
        None => {
            match shutdown.run_until_cancelled(detect(connection.stream(), limits.header_timeout)).await.flatten() {
                None => return,
                Some(Protocol::Http1) => http1(TokioIo::new(connection), service, limits, &shutdown).await,
                Some(Protocol::Http2) => http2(TokioIo::new(connection), service, limits, &shutdown).await,
            }
        }
    };
    if let Err(error) = result {
        // A peer that goes away or talks nonsense is no event for the operator.
        tracing::debug!(%error, "connection ended");
    }
}

async fn http1<S>(
    io: TokioIo<Connection>,
    service: S,
    limits: ServeLimits,
    shutdown: &CancellationToken,
) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = Body> + Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    let mut builder = conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HTTP1_BUFFER_BYTES);
    let mut serving = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
    tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}

async fn http2<I, S>(io: I, service: S, limits: ServeLimits, shutdown: &CancellationToken) -> hyper::Result<()>
where
    I: Read + Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let (keep_alive, timeout) = limits.keep_alive;
    let mut builder = conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HTTP2_HEADER_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(timeout);
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}

enum Protocol {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them. `None`: the peer said nothing in time or is gone.
async fn detect(stream: &TcpStream, timeout: Duration) -> Option<Protocol> {
    let deadline = Instant::now() + timeout;
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let seen = tokio::time::timeout_at(deadline, stream.peek(&mut first)).await.ok()?.ok()?;
        match first.get(..seen)? {
            [] => return None,
            bytes if bytes == HTTP2_PREFACE => return Some(Protocol::Http2),
            bytes if HTTP2_PREFACE.starts_with(bytes) => {
                // More is needed, and peek does not wait for more than it has shown.
                tokio::time::timeout_at(deadline, tokio::time::sleep(PREFACE_PAUSE)).await.ok()?;
            }
            _ => return Some(Protocol::Http1),
        }
    }
}
