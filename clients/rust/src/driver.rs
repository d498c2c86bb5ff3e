//! Keeps a connection, and the core busy with it.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::Rng as _;
use stonechat_proto::v1::{self, ClientFrame, Ping, Refresh, Typing, client_frame, server_frame};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::{
    ClientError, Options,
    connection::{Reader, Received, Writer, connect, socket_url},
    core::{ClientCore, CoreEvent, CoreOptions, Output},
};

/// What the application hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// The session is open.
    Connected(Box<v1::Ready>),
    /// The connection is gone; the client connects again by itself.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The session ended for good.
    Ended(ClientError),
    /// The client has caught up.
    Synced,
    /// An event of a conversation, or of the user's own log where the conversation is empty.
    Event(Box<v1::EventFrame>),
    /// A conversation's present facts.
    Conversation(Box<v1::Conversation>),
    /// The present state of changed messages of a conversation.
    Overlays(String, Vec<v1::Overlay>),
    /// Something transient.
    Signal(Box<v1::Signal>),
}

/// What a request gave.
pub(crate) enum Reply {
    Ack(v1::Ack),
    Page(Box<v1::Page>),
}

/// Makes a frame with the id it is given.
pub(crate) type MakeFrame = Box<dyn FnOnce(u64) -> client_frame::Kind + Send>;

/// What the application asks of the driver.
pub(crate) enum Order {
    Request(MakeFrame, oneshot::Sender<Result<Reply, ClientError>>),
    Typing(Typing),
    Stop,
}

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(50);
/// A connection that was open for this long begins again with the shortest pause.
const STEADY: Duration = Duration::from_secs(5);
/// A token is renewed this long before it expires.
const REFRESH_BEFORE_US: i64 = 60_000_000;
/// Orders taken between two looks at the connection.
const ORDERS_AT_ONCE: usize = 256;

/// How a connection ended.
enum End {
    /// Connect again, after so long at least.
    Again(String, Duration),
    /// The token was refused: with another it may go on.
    BadToken(u16, String),
    Final(ClientError),
}

pub(crate) struct Driver {
    options: Options,
    core: ClientCore,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
    waiting: HashMap<u64, oneshot::Sender<Result<Reply, ClientError>>>,
    started: Instant,
    heartbeat: Duration,
    token_expires_us: i64,
    goaway: Option<Instant>,
}

impl Driver {
    pub fn new(options: Options, orders: mpsc::Receiver<Order>, events: mpsc::Sender<Event>) -> Self {
        let agent = concat!("stonechat-rust/", env!("CARGO_PKG_VERSION")).to_owned();
        let core = ClientCore::new(CoreOptions { device: options.device.clone(), agent, bootstrap: options.bootstrap });
        Self {
            options,
            core,
            orders,
            events,
            waiting: HashMap::new(),
            started: Instant::now(),
            heartbeat: Duration::from_secs(60),
            token_expires_us: i64::MAX,
            goaway: None,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Works until the client is stopped or the session ends for good.
    pub async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        let mut tokens_refused = 0;
        loop {
            let began = Instant::now();
            let end = self.connection().await;
            self.core.disconnected();
            if began.elapsed() > STEADY {
                (backoff, tokens_refused) = (FIRST_BACKOFF, 0);
            }
            let (reason, least) = match end {
                End::Again(reason, least) => (reason, least),
                End::BadToken(_, reason) if tokens_refused == 0 => {
                    tokens_refused += 1;
                    (reason, Duration::ZERO)
                }
                End::BadToken(code, reason) => return self.end(ClientError::Closed(code, reason)).await,
                End::Final(ClientError::Stopped) => return,
                End::Final(error) => return self.end(error).await,
            };
            if self.events.send(Event::Disconnected { reason }).await.is_err() {
                return;
            }
            // Full jitter, so that many clients do not come back at the same moment.
            let pause = least + backoff.mul_f64(rand::rng().random_range(0.0..=1.0));
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            if !self.wait(pause).await {
                return;
            }
        }
    }

    async fn end(mut self, error: ClientError) {
        for (_, waiting) in self.waiting.drain() {
            // The application may wait no more.
            let _ = waiting.send(Err(error.clone()));
        }
        let _ = self.events.send(Event::Ended(error.clone())).await;
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Request(_, reply) => {
                    let _ = reply.send(Err(error.clone()));
                }
                Order::Typing(_) => {}
                Order::Stop => return,
            }
        }
    }

    /// Takes orders for a while; `false` when the client was stopped.
    async fn wait(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return false,
                    Some(order) => drop(self.order(order)),
                },
            }
        }
    }

    fn order(&mut self, order: Order) -> Vec<Output> {
        match order {
            Order::Request(make, reply) => {
                let now_ms = self.now_ms();
                let (id, outputs) = self.core.request(now_ms, make);
                self.waiting.insert(id, reply);
                outputs
            }
            Order::Typing(typing) if self.core.is_live() => {
                vec![Output::Send(ClientFrame { kind: Some(client_frame::Kind::Typing(typing)) })]
            }
            Order::Typing(_) | Order::Stop => Vec::new(),
        }
    }

    async fn connection(&mut self) -> End {
        self.goaway = None;
        let url = match socket_url(&self.options.url) {
            Ok(url) => url,
            Err(error) => return End::Final(error),
        };
        let token = match (self.options.token)().await {
            Ok(token) => token,
            Err(error) if error.is_retryable() => return End::Again(error.to_string(), Duration::ZERO),
            Err(error) => return End::Final(error),
        };
        let connected = timeout(CONNECT_TIMEOUT, connect(&url, self.options.encoding)).await;
        let (mut writer, mut reader) = match connected {
            Ok(Ok(halves)) => halves,
            Ok(Err(error)) => return End::Again(error.to_string(), Duration::ZERO),
            Err(_) => return End::Again("server does not answer".to_owned(), Duration::ZERO),
        };
        let hello = self.core.connected(token);
        let end = match self.perform(hello, &mut writer).await {
            Ok(()) => self.converse(&mut writer, &mut reader).await,
            Err(end) => end,
        };
        // A server that hangs must not hold the client.
        let _ = timeout(Duration::from_secs(1), writer.close()).await;
        end
    }

    async fn converse(&mut self, writer: &mut Writer, reader: &mut Reader) -> End {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut pinged = Instant::now();
        loop {
            let outputs = tokio::select! {
                received = reader.next() => match received {
                    Received::Frame(frame) => {
                        heard = Instant::now();
                        self.note(&frame);
                        let now_ms = self.now_ms();
                        self.core.frame(*frame, now_ms)
                    }
                    Received::Closed(code, reason) => return ended(code, reason),
                },
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return End::Final(ClientError::Stopped),
                    Some(order) => self.gather(order),
                },
                _ = tick.tick() => {
                    let now = Instant::now();
                    if self.goaway.is_some_and(|at| at <= now) {
                        return End::Again("server goes away".to_owned(), Duration::ZERO);
                    }
                    if heard + self.heartbeat < now {
                        return End::Again("server is silent".to_owned(), Duration::ZERO);
                    }
                    let now_ms = self.now_ms();
                    let mut outputs = self.core.tick(now_ms);
                    if pinged + self.heartbeat / 3 < now {
                        pinged = now;
                        let ping = client_frame::Kind::Ping(Ping { id: 0 });
                        outputs.push(Output::Send(ClientFrame { kind: Some(ping) }));
                    }
                    outputs.extend(self.refresh().await);
                    outputs
                }
            };
            if let Err(end) = self.perform(outputs, writer).await {
                return end;
            }
        }
    }

    /// An order, and those that wait behind it.
    fn gather(&mut self, first: Order) -> Vec<Output> {
        let mut outputs = self.order(first);
        for _ in 0..ORDERS_AT_ONCE {
            match self.orders.try_recv() {
                Ok(Order::Stop) | Err(_) => break,
                Ok(order) => outputs.extend(self.order(order)),
            }
        }
        outputs
    }

    fn note(&mut self, frame: &v1::ServerFrame) {
        if let Some(server_frame::Kind::Ready(ready)) = &frame.kind {
            self.heartbeat = Duration::from_millis(u64::from(ready.heartbeat_ms.max(1_000)));
            self.token_expires_us = ready.token_expires_us;
        }
    }

    /// A new token before the one in use expires.
    async fn refresh(&mut self) -> Vec<Output> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now_us = i64::try_from(now).unwrap_or(i64::MAX);
        if self.token_expires_us.saturating_sub(REFRESH_BEFORE_US) > now_us {
            return Vec::new();
        }
        self.token_expires_us = i64::MAX;
        let Ok(Ok(token)) = timeout(CONNECT_TIMEOUT, (self.options.token)()).await else { return Vec::new() };
        let now_ms = self.now_ms();
        let (_, outputs) = self.core.request(now_ms, |id| client_frame::Kind::Refresh(Refresh { id, token }));
        outputs
    }

    /// Does what the core says: sends with one write, tells the application.
    async fn perform(&mut self, outputs: Vec<Output>, writer: &mut Writer) -> Result<(), End> {
        let again = |error: ClientError| End::Again(error.to_string(), Duration::ZERO);
        let mut has_written = false;
        for output in outputs {
            match output {
                Output::Send(frame) => {
                    writer.feed(&frame).await.map_err(again)?;
                    has_written = true;
                }
                Output::Reconnect(after_ms) => self.goaway = Some(Instant::now() + Duration::from_millis(after_ms)),
                Output::Emit(event) => self.emit(event).await?,
            }
        }
        if has_written {
            writer.flush().await.map_err(again)?;
        }
        Ok(())
    }

    async fn emit(&mut self, event: CoreEvent) -> Result<(), End> {
        let event = match event {
            CoreEvent::Ready(ready) => Event::Connected(Box::new(ready)),
            CoreEvent::Synced => Event::Synced,
            CoreEvent::Event(frame) => Event::Event(Box::new(frame)),
            CoreEvent::Conversation(conversation) => Event::Conversation(Box::new(conversation)),
            CoreEvent::Overlays(conversation, overlays) => Event::Overlays(conversation, overlays),
            CoreEvent::Signal(signal) => Event::Signal(Box::new(signal)),
            CoreEvent::Done(id, ack) => return self.reply(id, Ok(Reply::Ack(ack))),
            CoreEvent::Page(id, page) => return self.reply(id, Ok(Reply::Page(Box::new(page)))),
            CoreEvent::Refused(id, error) => return self.reply(id, Err(ClientError::Refused(error))),
        };
        self.events.send(event).await.map_err(|_| End::Final(ClientError::Stopped))
    }

    fn reply(&mut self, id: u64, reply: Result<Reply, ClientError>) -> Result<(), End> {
        if let Some(waiting) = self.waiting.remove(&id) {
            // The application may wait no more.
            let _ = waiting.send(reply);
        }
        Ok(())
    }
}

fn ended(code: Option<u16>, reason: String) -> End {
    match code {
        Some(4500) => End::BadToken(4500, reason),
        Some(code @ 4501..=4999) => End::Final(ClientError::Closed(code, reason)),
        Some(code) => End::Again(format!("closed ({code}) {reason}"), Duration::ZERO),
        None => End::Again(reason, Duration::ZERO),
    }
}
