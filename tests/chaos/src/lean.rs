//! A client with nothing but what a storm needs: it reconnects at once, repeats what was not answered and fills
//! gaps by history.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use rand::Rng;
use stonechat_chaos_checker::ClientKey;
use stonechat_model::{ClientId, ConversationId};
use stonechat_proto::v1::{self, ClientFrame, ServerFrame, client_frame, server_frame};
use tokio::{net::TcpStream, sync::mpsc, time::Instant};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

use crate::link::{Incident, Link};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How often gaps and unanswered commands are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// A command that was not answered for so long is sent again on the same connection.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest wait before connecting again.
const BACK_OFF_MS: u64 = 400;
/// Events asked for at once.
const PAGE: u32 = 200;
/// Silence after which a ping goes out.
const PING: Duration = Duration::from_secs(15);

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Address {
    /// `ws://host:port/v1/ws`.
    pub url: String,
    /// The user token.
    pub token: String,
    /// The device.
    pub device: String,
}

/// The client.
pub struct LeanLink {
    commands: mpsc::UnboundedSender<v1::Command>,
    incidents: mpsc::Receiver<Incident>,
}

impl LeanLink {
    /// Connects in the background, again and again.
    pub fn open(address: Address) -> Self {
        let (commands, wanted) = mpsc::unbounded_channel();
        let (tell, incidents) = mpsc::channel(1024);
        let client = Client {
            address,
            tell,
            open: BTreeMap::new(),
            ids: 0,
            cursors: HashMap::new(),
            heads: HashMap::new(),
            user_log_seq: 0,
            asked: HashMap::new(),
            asked_for: HashSet::new(),
        };
        tokio::spawn(client.run(wanted));
        Self { commands, incidents }
    }
}

#[async_trait]
impl Link for LeanLink {
    fn send(&mut self, conversation: &ConversationId, action: v1::Action) -> ClientKey {
        let client_id = ClientId::generate().to_string();
        let key = uuid::Uuid::try_parse(&client_id).map_or(0, |id| id.as_u128());
        let (conversation, action) = (conversation.to_string(), Some(action));
        let command = v1::Command { client_id, conversation, action, ..Default::default() };
        // The task ends with this value only.
        let _ = self.commands.send(command);
        key
    }

    async fn next(&mut self) -> Incident {
        match self.incidents.recv().await {
            Some(incident) => incident,
            None => std::future::pending().await,
        }
    }
}

struct Unanswered {
    command: v1::Command,
    sent: Instant,
}

/// The device's user is not there any more.
struct Gone;

struct Client {
    address: Address,
    tell: mpsc::Sender<Incident>,
    /// By id, which rises, so that repeats keep their order.
    open: BTreeMap<u64, Unanswered>,
    ids: u64,
    cursors: HashMap<String, u64>,
    heads: HashMap<String, u64>,
    user_log_seq: u64,
    /// Conversations whose history was asked for, by the frame's id.
    asked: HashMap<u64, String>,
    asked_for: HashSet<String>,
}

impl Client {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<v1::Command>) {
        loop {
            if let Ok(socket) = self.connect().await
                && self.session(socket, &mut wanted).await.is_err()
            {
                return;
            }
            let back_off = rand::rng().random_range(20..BACK_OFF_MS);
            tokio::time::sleep(Duration::from_millis(back_off)).await;
            if self.tell.is_closed() {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
        let mut request = self.address.url.as_str().into_client_request()?;
        let protocol = HeaderValue::from_static("stonechat.v1.proto");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let small = WebSocketConfig::default().read_buffer_size(16 << 10).write_buffer_size(4 << 10);
        let (mut socket, _) = connect_async_with_config(request, Some(small), true).await?;
        let cursors =
            self.cursors.iter().map(|(conversation, seq)| v1::Cursor { conversation: conversation.clone(), seq: *seq });
        let hello = v1::Hello {
            token: self.address.token.clone(),
            device: self.address.device.clone(),
            cursors: cursors.collect(),
            user_log_seq: self.user_log_seq,
            agent: "chaos".to_owned(),
        };
        say(&mut socket, client_frame::Kind::Hello(hello)).await?;
        Ok(socket)
    }

    /// Talks until the connection breaks.
    async fn session(
        &mut self,
        mut socket: Socket,
        wanted: &mut mpsc::UnboundedReceiver<v1::Command>,
    ) -> Result<(), Gone> {
        let (mut look, mut ready) = (tokio::time::interval(LOOK), false);
        let mut spoken = Instant::now();
        loop {
            let frames = tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => self.hear(&bytes, &mut ready).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => Vec::new(),
                },
                command = wanted.recv() => {
                    let Some(command) = command else { return Err(Gone) };
                    let frame = self.take(command);
                    if ready { vec![frame] } else { Vec::new() }
                }
                _ = look.tick(), if ready => self.look(spoken),
            };
            if frames.is_empty() {
                continue;
            }
            spoken = Instant::now();
            for frame in frames {
                if feed(&mut socket, frame).await.is_err() {
                    break;
                }
            }
            if socket.flush().await.is_err() {
                break;
            }
        }
        self.asked.clear();
        self.asked_for.clear();
        if ready { self.tell(Incident::Disconnected).await } else { Ok(()) }
    }

    async fn tell(&self, incident: Incident) -> Result<(), Gone> {
        self.tell.send(incident).await.map_err(|_| Gone)
    }

    fn take(&mut self, mut command: v1::Command) -> client_frame::Kind {
        self.ids += 1;
        command.id = self.ids;
        self.open.insert(self.ids, Unanswered { command: command.clone(), sent: Instant::now() });
        client_frame::Kind::Command(command)
    }

    /// What must be asked or said again.
    fn look(&mut self, spoken: Instant) -> Vec<client_frame::Kind> {
        let now = Instant::now();
        let mut frames = Vec::new();
        for unanswered in self.open.values_mut().filter(|open| now - open.sent > ANSWER) {
            unanswered.sent = now;
            frames.push(client_frame::Kind::Command(unanswered.command.clone()));
        }
        frames.extend(self.fill());
        if now - spoken > PING {
            frames.push(client_frame::Kind::Ping(v1::Ping { id: 0 }));
        }
        frames
    }

    /// Asks for what is known to be missing.
    fn fill(&mut self) -> Vec<client_frame::Kind> {
        let mut frames = Vec::new();
        for (conversation, head) in &self.heads {
            let cursor = self.cursors.get(conversation).copied().unwrap_or(0);
            if cursor >= *head || self.asked_for.contains(conversation) {
                continue;
            }
            self.ids += 1;
            self.asked.insert(self.ids, conversation.clone());
            self.asked_for.insert(conversation.clone());
            frames.push(client_frame::Kind::History(v1::History {
                id: self.ids,
                conversation: conversation.clone(),
                after: Some(cursor),
                limit: PAGE,
                ..Default::default()
            }));
        }
        frames
    }

    async fn hear(&mut self, bytes: &[u8], ready: &mut bool) -> Result<Vec<client_frame::Kind>, Gone> {
        let Ok(ServerFrame { kind: Some(kind) }) = ServerFrame::decode(bytes) else { return Ok(Vec::new()) };
        match kind {
            server_frame::Kind::Ready(_) => {
                *ready = true;
                self.tell(Incident::Connected).await?;
                let now = Instant::now();
                let again = self.open.values_mut().map(|open| {
                    open.sent = now;
                    client_frame::Kind::Command(open.command.clone())
                });
                return Ok(again.collect());
            }
            server_frame::Kind::Event(frame) => {
                if let Some(event) = frame.event {
                    self.show(&frame.conversation, event).await?;
                }
                return Ok(self.fill());
            }
            server_frame::Kind::Page(page) => return self.page(page).await,
            server_frame::Kind::Ack(ack) => {
                if let Some(open) = self.open.remove(&ack.id) {
                    let client = key_of(&open.command);
                    self.tell(Incident::Acked { client, seq: ack.seq }).await?;
                }
            }
            server_frame::Kind::Error(error) => self.refused(&error).await?,
            server_frame::Kind::Synced(_) => return Ok(self.fill()),
            _ => {}
        }
        Ok(Vec::new())
    }

    async fn refused(&mut self, error: &v1::Error) -> Result<(), Gone> {
        if let Some(conversation) = self.asked.remove(&error.id) {
            self.asked_for.remove(&conversation);
        } else if let Some(open) = self.open.get_mut(&error.id) {
            if error.retryable {
                // Sent again by the next look after what the server asks for.
                let wait = Duration::from_millis(error.retry_after_ms.max(200).into());
                open.sent = (Instant::now() + wait).checked_sub(ANSWER).unwrap_or(open.sent);
            } else if let Some(open) = self.open.remove(&error.id) {
                self.tell(Incident::Refused { client: key_of(&open.command) }).await?;
            }
        }
        Ok(())
    }

    async fn page(&mut self, page: v1::Page) -> Result<Vec<client_frame::Kind>, Gone> {
        for conversation in page.conversations {
            self.raise(&conversation.id, conversation.last_seq);
        }
        if let Some(conversation) = self.asked.remove(&page.id) {
            self.asked_for.remove(&conversation);
        }
        for event in page.events {
            self.show(&page.conversation, event).await?;
        }
        if !page.conversation.is_empty() {
            self.raise(&page.conversation, page.last_seq);
        }
        Ok(if page.id == 0 { Vec::new() } else { self.fill() })
    }

    fn raise(&mut self, conversation: &str, seq: u64) {
        let head = self.heads.entry(conversation.to_owned()).or_default();
        *head = seq.max(*head);
    }

    async fn show(&mut self, conversation: &str, event: v1::Event) -> Result<(), Gone> {
        if conversation.is_empty() {
            if event.seq == self.user_log_seq + 1 {
                self.user_log_seq = event.seq;
            }
            return Ok(());
        }
        self.raise(conversation, event.seq);
        let cursor = self.cursors.entry(conversation.to_owned()).or_default();
        if event.seq != *cursor + 1 {
            return Ok(());
        }
        *cursor = event.seq;
        self.tell(Incident::Event { conversation: conversation.to_owned(), event: Box::new(event) }).await
    }
}

fn key_of(command: &v1::Command) -> ClientKey {
    uuid::Uuid::try_parse(&command.client_id).map_or(0, |id| id.as_u128())
}

async fn feed(socket: &mut Socket, kind: client_frame::Kind) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let frame = ClientFrame { kind: Some(kind) };
    socket.feed(Message::Binary(frame.encode_to_vec().into())).await
}

async fn say(socket: &mut Socket, kind: client_frame::Kind) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    feed(socket, kind).await?;
    socket.flush().await
}
