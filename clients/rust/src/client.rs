//! What an application holds.

use stonechat_proto::v1::{
    Action, Availability, Command, ConversationKind, Create, History, Mark, Message, Page, SetStatus, Subscribe,
    Typing, action, client_frame,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    ClientError, Event, Options,
    connection::socket_url,
    driver::{Driver, MakeFrame, Order, Reply},
};

/// Orders that wait for the driver; further callers wait.
const ORDERS: usize = 1_024;

/// A command was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The conversation; empty for the user's own log.
    pub conversation: String,
    /// The event's seq; 0 where nothing had to change.
    pub seq: u64,
    /// The event's time in microseconds since 1970.
    pub time_us: i64,
}

/// A client that connects and stays connected. Requests wait for a connection, and are sent again after one broke
/// until they are answered: with the same client id, so that nothing is done twice.
#[derive(Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
}

impl Client {
    /// Begins to connect. Must be called within a tokio runtime. Events come out of the receiver, which has to be
    /// read: a client whose events nobody takes stops reading from the server.
    pub fn connect(options: Options) -> Result<(Self, mpsc::Receiver<Event>), ClientError> {
        socket_url(&options.url)?;
        let (orders, taken) = mpsc::channel(ORDERS);
        let (events, heard) = mpsc::channel(options.events.max(1));
        tokio::spawn(Driver::new(options, taken, events).run());
        Ok((Self { orders }, heard))
    }

    async fn request(&self, make: MakeFrame) -> Result<Reply, ClientError> {
        let (reply, replied) = oneshot::channel();
        self.orders.send(Order::Request(make, reply)).await.map_err(|_| ClientError::Stopped)?;
        replied.await.map_err(|_| ClientError::Stopped)?
    }

    async fn acked(&self, make: MakeFrame) -> Result<Sent, ClientError> {
        match self.request(make).await? {
            Reply::Ack(ack) => Ok(Sent { conversation: ack.conversation, seq: ack.seq, time_us: ack.time_us }),
            Reply::Page(_) => Err(ClientError::Protocol("expected an ack".to_owned())),
        }
    }

    /// Has a command done under a new client id.
    pub async fn command(&self, conversation: &str, action: action::Kind) -> Result<Sent, ClientError> {
        self.command_as(&Uuid::now_v7().to_string(), conversation, action).await
    }

    /// Has a command done under this client id, a UUID: the same id with the same action is done once.
    pub async fn command_as(
        &self,
        client_id: &str,
        conversation: &str,
        action: action::Kind,
    ) -> Result<Sent, ClientError> {
        let (conversation, client_id) = (conversation.to_owned(), client_id.to_owned());
        let action = Some(Action { kind: Some(action) });
        self.acked(Box::new(move |id| {
            client_frame::Kind::Command(Command { id, conversation, client_id, action, traceparent: String::new() })
        }))
        .await
    }

    /// Sends a text.
    pub async fn send_text(&self, conversation: &str, text: &str) -> Result<Sent, ClientError> {
        let message = Message { text: text.to_owned(), ..Message::default() };
        self.command(conversation, action::Kind::Send(message)).await
    }

    /// Creates the direct conversation with a user, if it is not there, and gives its id.
    pub async fn create_direct(&self, user: &str) -> Result<String, ClientError> {
        self.create("", ConversationKind::Direct, vec![user.to_owned()]).await
    }

    /// Creates a conversation and gives its id; an empty `id` has the server make one.
    pub async fn create(&self, id: &str, kind: ConversationKind, members: Vec<String>) -> Result<String, ClientError> {
        let create = Create { kind: kind.into(), members, settings: None };
        Ok(self.command(id, action::Kind::Create(create)).await?.conversation)
    }

    /// A page of a conversation's events. Of `window` only the fields `after`, `before`, `around` and `limit` count.
    pub async fn history(&self, conversation: &str, window: History) -> Result<Page, ClientError> {
        let conversation = conversation.to_owned();
        let make = move |id| client_frame::Kind::History(History { id, conversation, ..window });
        match self.request(Box::new(make)).await? {
            Reply::Page(page) => Ok(*page),
            Reply::Ack(_) => Err(ClientError::Protocol("expected a page".to_owned())),
        }
    }

    /// Says that everything up to a seq was read.
    pub async fn mark_read(&self, conversation: &str, read_seq: u64) -> Result<(), ClientError> {
        let conversation = conversation.to_owned();
        let make = move |id| client_frame::Kind::Read(Mark { id, conversation, read_seq, delivered_seq: read_seq });
        self.acked(Box::new(make)).await.map(drop)
    }

    /// Says that the user types, or stopped. Nothing is waited for.
    pub async fn typing(&self, conversation: &str, stopped: bool) -> Result<(), ClientError> {
        let typing = Typing { conversation: conversation.to_owned(), stopped };
        self.orders.send(Order::Typing(typing)).await.map_err(|_| ClientError::Stopped)
    }

    /// Follows users' status from now on.
    pub async fn subscribe(&self, users: Vec<String>) -> Result<(), ClientError> {
        let make = move |id| client_frame::Kind::Subscribe(Subscribe { id, users, unsubscribe: Vec::new() });
        self.acked(Box::new(make)).await.map(drop)
    }

    /// Sets the user's own status. What is `None` stays.
    pub async fn set_status(
        &self,
        availability: Availability,
        text: Option<String>,
        emoji: Option<String>,
    ) -> Result<(), ClientError> {
        let availability = availability.into();
        let make = move |id| client_frame::Kind::SetStatus(SetStatus { id, availability, text, emoji });
        self.acked(Box::new(make)).await.map(drop)
    }

    /// Ends the session.
    pub async fn close(&self) {
        // One that has ended needs no end.
        let _ = self.orders.send(Order::Stop).await;
    }
}
