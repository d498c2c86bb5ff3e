//! A lean connection: protobuf frames, and no more bookkeeping than the measurement takes.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _, stream::iter};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use prost::Message as _;
use stonechat_proto::v1::{
    Action, ClientFrame, Command, ConversationKind, Create, Cursor, Hello, Message as Content, Ping, ServerFrame,
    action, client_frame, server_frame,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, protocol::WebSocketConfig},
};
use uuid::Uuid;

use super::server::Server;
use crate::cli::CliError;

/// Connections that are opened at once.
pub(super) const OPEN_AT_ONCE: usize = 32;
/// Sessions say something at least so often: well within the server's heartbeat, also when their turn comes late.
const PING_EVERY: Duration = Duration::from_secs(15);
/// The shortest pause before a command is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Ids of commands that are waited for are above it, those of others below.
const FIRST_CALL: u64 = 1 << 32;
const BUFFER_BYTES: usize = 4_096;

/// A user's connection.
pub(super) struct Connection {
    stream: WebSocketStream<TcpStream>,
    pub user: String,
    ping_at: Instant,
    /// Commands that were waited for.
    calls: u64,
}

fn failed(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what}: {error}"))
}

/// Opens a connection for each user.
pub(super) async fn open_all(server: &Server, users: usize) -> Result<Vec<Connection>, CliError> {
    let opens = iter((0..users).map(|index| Connection::open(server, format!("u{index}"))));
    let opened: Vec<_> = opens.buffered(OPEN_AT_ONCE).collect().await;
    opened.into_iter().collect()
}

/// A command with a client id of its own.
fn command(id: u64, conversation: &str, kind: action::Kind) -> Command {
    Command {
        id,
        conversation: conversation.to_owned(),
        client_id: Uuid::now_v7().to_string(),
        action: Some(Action { kind: Some(kind) }),
        traceparent: String::new(),
    }
}

/// An action that sends a text.
pub(super) fn text(text: String) -> action::Kind {
    action::Kind::Send(Content { text, ..Content::default() })
}

impl Connection {
    /// Connects to the next gateway in turn and waits until it has caught up.
    pub async fn open(server: &Server, user: String) -> Result<Self, CliError> {
        let mut connection = Self::dial(server.next_host(), user).await?;
        connection.hello(server, Vec::new(), 0).await?;
        while !matches!(connection.next().await?, server_frame::Kind::Synced(_)) {}
        Ok(connection)
    }

    /// Connects to a gateway.
    pub async fn dial(host: &str, user: String) -> Result<Self, CliError> {
        let refused = |e: &dyn std::fmt::Display| failed("connect", e);
        let url = format!("ws://{host}/v1/ws");
        let mut request = url.into_client_request().map_err(|e| refused(&e))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("stonechat.v1.proto"));
        let tcp = TcpStream::connect(host).await.map_err(|e| refused(&e))?;
        tcp.set_nodelay(true).map_err(|e| refused(&e))?;
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
        let connected = client_async_with_config(request, tcp, Some(config)).await;
        let (stream, _) = connected.map_err(|e| refused(&e))?;
        Ok(Self { stream, user, ping_at: Instant::now() + PING_EVERY, calls: 0 })
    }

    /// Opens the session of a client that is so far.
    pub async fn hello(&mut self, server: &Server, cursors: Vec<Cursor>, user_log_seq: u64) -> Result<(), CliError> {
        let token = server.token(&self.user)?;
        let hello = Hello { token, device: "bench".to_owned(), cursors, user_log_seq, ..Hello::default() };
        self.send(client_frame::Kind::Hello(hello)).await
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: client_frame::Kind) -> Result<(), CliError> {
        let frame = ClientFrame { kind: Some(kind) }.encode_to_vec();
        self.stream.send(Message::Binary(frame.into())).await.map_err(|e| failed("send", e))
    }

    /// Sends a command and waits for nothing.
    pub async fn command(&mut self, id: u64, conversation: &str, kind: action::Kind) -> Result<(), CliError> {
        self.send(client_frame::Kind::Command(command(id, conversation, kind))).await
    }

    /// Has a command done, and sends it again as long as the server asks for that; gives the conversation.
    pub async fn call(&mut self, conversation: &str, kind: action::Kind) -> Result<String, CliError> {
        // An answer that comes after its command was given up is no answer to the next one.
        self.calls += 1;
        let id = FIRST_CALL + self.calls;
        let command = client_frame::Kind::Command(command(id, conversation, kind));
        self.send(command.clone()).await?;
        loop {
            match self.next_alive().await? {
                server_frame::Kind::Ack(ack) if ack.id == id => return Ok(ack.conversation),
                server_frame::Kind::Error(error) if error.id == id => {
                    if !error.retryable {
                        return Err(failed(&error.code, error.reason));
                    }
                    sleep(Duration::from_millis(error.retry_after_ms.into()).max(RETRY_PAUSE)).await;
                    self.send(command.clone()).await?;
                }
                _ => {}
            }
        }
    }

    /// Creates a conversation; gives its id.
    pub async fn create(&mut self, kind: ConversationKind, members: Vec<String>) -> Result<String, CliError> {
        let create = Create { kind: kind.into(), members, settings: None };
        self.call("", action::Kind::Create(create)).await
    }

    /// Keeps the session open.
    pub async fn ping(&mut self) -> Result<(), CliError> {
        self.send(client_frame::Kind::Ping(Ping { id: 0 })).await
    }

    /// Waits for a frame, and pings whenever it is time, however much comes meanwhile.
    pub async fn next_alive(&mut self) -> Result<server_frame::Kind, CliError> {
        loop {
            let now = Instant::now();
            if self.ping_at <= now {
                self.ping_at = now + PING_EVERY;
                self.ping().await?;
            }
            let due = self.ping_at.into();
            if let Ok(frame) = timeout_at(due, self.next()).await {
                return frame;
            }
        }
    }

    /// Waits for a frame.
    pub async fn next(&mut self) -> Result<server_frame::Kind, CliError> {
        loop {
            let bytes = match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|it| format!("{} {}", it.code, it.reason)).unwrap_or_default();
                    return Err(failed("closed", reason));
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(failed("read", error)),
                None => return Err(failed("read", "connection ended")),
            };
            let frame = ServerFrame::decode(bytes).map_err(|e| failed("read", e))?;
            if let Some(kind) = frame.kind {
                return Ok(kind);
            }
        }
    }
}
