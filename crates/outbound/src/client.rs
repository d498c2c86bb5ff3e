//! The client: connections to addresses that were checked, answers that are bounded.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderMap, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use stonechat_model::limits;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::{
    Forbidden, Rules, Target,
    target::{literal, parts},
};

/// Idle connections to one host that are kept.
const IDLE_PER_HOST: usize = 8;
/// How long they are kept.
const IDLE: Duration = Duration::from_secs(30);
/// Resolving a name and connecting to one of its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(limits::WEBHOOK_CONNECT_TIMEOUT_MS);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// It may not be sent there.
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    /// The name has no address.
    #[error("name cannot be resolved")]
    Resolve,
    /// Nobody takes the connection.
    #[error("connection failed: {0}")]
    Connect(String),
    /// The connection or the answer broke.
    #[error("request failed: {0}")]
    Http(String),
    /// The answer did not come in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// A request: always a POST with a JSON body.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// Headers beside the content type.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// For all of it, from the resolving of the name to the end of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read; the rest is dropped with the connection.
    pub answer_bytes: usize,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What `Retry-After` says.
    pub retry_after: Option<String>,
    /// The beginning of its body.
    pub body: Bytes,
    /// Whether the body was longer.
    pub is_cut: bool,
}

/// Sends requests where the rules allow it.
#[derive(Clone)]
pub struct Outbound {
    client: Client<Connector, Full<Bytes>>,
    rules: Arc<Rules>,
}

impl Outbound {
    /// A client under these rules, which trusts the certificate authorities of this machine.
    pub fn new(rules: Rules) -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            tracing::warn!("this machine has no certificate authorities: requests to https fail");
        }
        Self::with_roots(rules, roots)
    }

    /// A client that trusts these certificate authorities.
    pub fn with_roots(rules: Rules, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("the provider has the default versions"))
            .with_root_certificates(roots)
            .with_no_client_auth();
        let rules = Arc::new(rules);
        let connector = Connector { rules: Arc::clone(&rules), tls: TlsConnector::from(Arc::new(tls)) };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Self { client, rules }
    }

    /// What may be connected to.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sends a request and reads the beginning of its answer. Redirects are answers like any other.
    pub async fn post(&self, request: Request) -> Result<Answer, OutboundError> {
        let Request { target, mut headers, body, timeout, answer_bytes } = request;
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static("Stonechat-Webhooks/1"));
        let mut posted = http::Request::new(Full::new(body));
        *posted.method_mut() = http::Method::POST;
        *posted.uri_mut() = target.uri;
        *posted.headers_mut() = headers;
        let work = async {
            let response = self.client.request(posted).await.map_err(|error| failed(&error))?;
            let (parts, body) = response.into_parts();
            let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let (status, retry_after) = (parts.status.as_u16(), retry_after.map(str::to_owned));
            let (body, is_cut) = read(body, answer_bytes).await?;
            Ok(Answer { status, retry_after, body, is_cut })
        };
        tokio::time::timeout(timeout, work).await.unwrap_or(Err(OutboundError::Timeout(timeout)))
    }
}

/// The first `most` bytes of a body, and whether there are more.
async fn read(mut body: hyper::body::Incoming, most: usize) -> Result<(Bytes, bool), OutboundError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| OutboundError::Http(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = most - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), true));
        }
    }
    Ok((read.freeze(), false))
}

/// The connector's own error stands behind the client's.
fn failed(error: &hyper_util::client::legacy::Error) -> OutboundError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<OutboundError>() {
            return ours.clone();
        }
        last = cause.to_string();
        source = cause.source();
    }
    if error.is_connect() { OutboundError::Connect(last) } else { OutboundError::Http(last) }
}

/// Makes connections to addresses that were checked after the name was resolved.
#[derive(Clone)]
struct Connector {
    rules: Arc<Rules>,
    tls: TlsConnector,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Wire, OutboundError> {
        let (is_tls, host, port) = parts(&uri).ok_or(OutboundError::Resolve)?;
        self.rules.check_port(is_tls, port)?;
        let tcp = self.connect_to(host, port).await?;
        // A webhook waits for its answer: nothing is gained by holding its last packet back.
        let _ = tcp.set_nodelay(true);
        if !is_tls {
            return Ok(Wire(TokioIo::new(Box::new(tcp))));
        }
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| OutboundError::Resolve)?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| OutboundError::Connect(error.to_string()))?;
        Ok(Wire(TokioIo::new(Box::new(tls))))
    }

    /// Connects to an address of the host that the rules allow; refused where there are only others.
    async fn connect_to(&self, host: &str, port: u16) -> Result<TcpStream, OutboundError> {
        let resolved: Vec<SocketAddr> = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => lookup_host((host, port)).await.map_err(|_| OutboundError::Resolve)?.collect(),
        };
        let mut last = OutboundError::Resolve;
        for address in resolved {
            if let Err(forbidden) = self.rules.check_address(address.ip()) {
                metrics::counter!("stonechat_outbound_refused_total").increment(1);
                last = forbidden.into();
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = OutboundError::Connect(error.to_string()),
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = OutboundError;
    type Future = BoxFuture<'static, Result<Wire, OutboundError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(uri)).await;
            connected.unwrap_or(Err(OutboundError::Timeout(CONNECT_TIMEOUT)))
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, with or without TLS.
struct Wire(TokioIo<Box<dyn Stream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
