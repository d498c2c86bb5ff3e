//! The client's state machine: what it has, what it misses, what it waits for. No I/O, no clock, no randomness.
//!
//! Whoever drives it calls [`ClientCore::connected`] when a connection opens, [`ClientCore::frame`] with each frame,
//! [`ClientCore::disconnected`] when it ends and [`ClientCore::tick`] every so often, and does what the
//! [`Output`]s say. Each event is emitted once and in the order of its seq, whatever the connection did.

mod log;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use stonechat_proto::v1::{
    Ack, ClientFrame, Conversation, Cursor, Error, Event, EventFrame, Hello, Overlay, Page, Ready, ServerFrame, Signal,
    Subscribe, client_frame, event, server_frame,
};

pub use log::LogState;
use requests::Requests;

/// How much of a conversation that is new to the client is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bootstrap {
    /// All of it.
    Full,
    /// This many of its newest events.
    Tail(u64),
    /// Nothing: only what happens from now on.
    Live,
}

/// What a client is.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// The device's id.
    pub device: String,
    /// The client's name and version.
    pub agent: String,
    /// What is fetched of conversations that are new here.
    pub bootstrap: Bootstrap,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame.
    Send(ClientFrame),
    /// Tell the application.
    Emit(CoreEvent),
    /// Connect anew after this many milliseconds.
    Reconnect(u64),
}

/// What the application hears.
#[derive(Debug, Clone, PartialEq)]
pub enum CoreEvent {
    /// The session is open.
    Ready(Ready),
    /// The client has caught up with what there was when it connected, but for what is still being fetched.
    Synced,
    /// An event of a conversation, or of the user's own log where the conversation is empty.
    Event(EventFrame),
    /// A conversation's present facts.
    Conversation(Conversation),
    /// The present state of changed messages of a conversation.
    Overlays(String, Vec<Overlay>),
    /// Something transient.
    Signal(Signal),
    /// A request was done.
    Done(u64, Ack),
    /// A request was refused for good.
    Refused(u64, Error),
    /// The page that a request asked for.
    Page(u64, Page),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    Greeting,
    Syncing,
    Live,
}

/// The state machine.
pub struct ClientCore {
    options: CoreOptions,
    phase: Phase,
    user: String,
    logs: BTreeMap<String, LogState>,
    requests: Requests,
    followed: BTreeSet<String>,
}

/// The user's own log among the conversations' logs.
const USER_LOG: &str = "";

impl ClientCore {
    /// A client that has nothing yet.
    pub fn new(options: CoreOptions) -> Self {
        // Of the user's own log everything is read: it says what the user is a member of.
        let logs = BTreeMap::from([(USER_LOG.to_owned(), LogState::new(0))]);
        let requests = Requests::default();
        Self { options, phase: Phase::Offline, user: String::new(), logs, requests, followed: BTreeSet::new() }
    }

    /// Whether the session is open and has caught up.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether every log is complete as far as is known, and nothing waits for an answer.
    pub fn is_settled(&self) -> bool {
        self.is_live() && self.requests.is_empty() && self.logs.values().all(|log| !log.is_behind())
    }

    /// What is had of each conversation.
    pub fn conversations(&self) -> impl Iterator<Item = (&str, &LogState)> {
        self.logs.iter().filter(|(id, _)| !id.is_empty()).map(|(id, log)| (id.as_str(), log))
    }

    /// How far the user's own log is had.
    pub fn user_log_seq(&self) -> u64 {
        self.logs.get(USER_LOG).map_or(0, LogState::seq)
    }

    /// A connection opened.
    pub fn connected(&mut self, token: String) -> Vec<Output> {
        self.phase = Phase::Greeting;
        let cursor = |(id, log): (&str, &LogState)| {
            log.is_member().then(|| Cursor { conversation: id.to_owned(), seq: log.seq() })
        };
        let cursors = self.conversations().filter_map(cursor).collect();
        let hello = Hello {
            token,
            device: self.options.device.clone(),
            cursors,
            user_log_seq: self.user_log_seq(),
            agent: self.options.agent.clone(),
        };
        vec![send(client_frame::Kind::Hello(hello))]
    }

    /// The connection ended.
    pub fn disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.logs.values_mut().for_each(LogState::forget_fetch);
        self.requests.forget_fetches();
    }

    /// A frame came.
    pub fn frame(&mut self, frame: ServerFrame, now_ms: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        match frame.kind {
            Some(server_frame::Kind::Ready(ready)) => self.ready(ready, now_ms, &mut outputs),
            Some(server_frame::Kind::Event(frame)) => {
                if let Some(event) = frame.event {
                    self.event(&frame.conversation, event, &mut outputs);
                }
            }
            Some(server_frame::Kind::Page(page)) => self.page(page, &mut outputs),
            Some(server_frame::Kind::Synced(synced)) => {
                self.log(USER_LOG).expect(synced.user_log_seq);
                if self.phase == Phase::Syncing {
                    self.phase = Phase::Live;
                    outputs.push(Output::Emit(CoreEvent::Synced));
                }
                self.fetch_all(&mut outputs);
            }
            Some(server_frame::Kind::Signal(signal)) => outputs.push(Output::Emit(CoreEvent::Signal(signal))),
            Some(server_frame::Kind::Ack(ack)) => {
                if self.requests.done(ack.id) {
                    outputs.push(Output::Emit(CoreEvent::Done(ack.id, ack)));
                }
            }
            Some(server_frame::Kind::Error(error)) => self.error(error, now_ms, &mut outputs),
            Some(server_frame::Kind::Goaway(goaway)) => {
                outputs.push(Output::Reconnect(u64::from(goaway.reconnect_after_ms)));
            }
            Some(server_frame::Kind::Pong(_)) | None => {}
        }
        outputs
    }

    fn ready(&mut self, ready: Ready, now_ms: u64, outputs: &mut Vec<Output>) {
        self.phase = Phase::Syncing;
        self.user.clone_from(&ready.user);
        outputs.push(Output::Emit(CoreEvent::Ready(ready)));
        if !self.followed.is_empty() {
            let users = self.followed.iter().cloned().collect();
            let id = self.requests.next_id();
            outputs.push(send(client_frame::Kind::Subscribe(Subscribe { id, users, unsubscribe: Vec::new() })));
        }
        outputs.extend(self.requests.again(now_ms).into_iter().map(Output::Send));
    }

    fn log(&mut self, id: &str) -> &mut LogState {
        if !self.logs.contains_key(id) {
            self.logs.insert(id.to_owned(), LogState::new(0));
        }
        self.logs.entry(id.to_owned()).or_insert_with(|| LogState::new(0))
    }

    /// What of a log whose newest event is `last_seq` counts as had when it is new here.
    fn first_seq(&self, last_seq: u64) -> u64 {
        match self.options.bootstrap {
            Bootstrap::Full => 0,
            Bootstrap::Tail(count) => last_seq.saturating_sub(count),
            Bootstrap::Live => last_seq,
        }
    }

    /// An event came, live or in a page.
    fn event(&mut self, id: &str, event: Event, outputs: &mut Vec<Output>) {
        if !self.logs.contains_key(id) {
            let first = self.first_seq(event.seq - event.seq.min(1));
            self.logs.insert(id.to_owned(), LogState::new(first));
        }
        for event in self.log(id).offer(event) {
            self.learn(id, &event);
            outputs
                .push(Output::Emit(CoreEvent::Event(EventFrame { conversation: id.to_owned(), event: Some(event) })));
        }
        self.fetch(id, outputs);
    }

    /// What an event says about memberships.
    fn learn(&mut self, id: &str, event: &Event) {
        let user = self.user.clone();
        let is_me = |other: &String| *other == user;
        let seq = event.seq;
        match &event.body {
            Some(event::Body::Joined(it)) => {
                if !self.logs.contains_key(&it.conversation) {
                    let first = self.first_seq(it.at_seq);
                    self.logs.insert(it.conversation.clone(), LogState::new(first));
                }
                let log = self.log(&it.conversation);
                if log.set_member(it.at_seq, true) {
                    log.expect(it.at_seq);
                }
            }
            Some(event::Body::Left(it)) => {
                self.log(&it.conversation).set_member(it.at_seq, false);
            }
            Some(event::Body::MembersRemoved(it)) if it.users.iter().any(is_me) => {
                self.log(id).set_member(seq, false);
            }
            Some(event::Body::MemberLeft(_)) if is_me(&event.sender) => {
                self.log(id).set_member(seq, false);
            }
            Some(event::Body::MembersAdded(it)) if it.members.iter().any(|entry| is_me(&entry.user)) => {
                self.log(id).set_member(seq, true);
            }
            _ => {}
        }
    }

    fn page(&mut self, page: Page, outputs: &mut Vec<Output>) {
        let fetched = self.requests.fetched(page.id);
        if fetched.is_none() && self.requests.done(page.id) {
            outputs.push(Output::Emit(CoreEvent::Page(page.id, page)));
            return;
        }
        for conversation in page.conversations {
            self.conversation(conversation, outputs);
        }
        let id = page.conversation;
        if let Some(fetched) = &fetched {
            self.log(fetched).forget_fetch();
        }
        if fetched.is_none() && page.events.is_empty() {
            return self.fetch_all(outputs);
        }
        let log = self.log(&id);
        if page.events.is_empty() {
            // What was expected beyond is not there: a head is never older than what was delivered.
            log.expect_only(page.last_seq);
        }
        log.expect(page.last_seq);
        for event in page.events {
            self.event(&id, event, outputs);
        }
        if !page.overlays.is_empty() {
            outputs.push(Output::Emit(CoreEvent::Overlays(id.clone(), page.overlays)));
        }
        self.fetch(&id, outputs);
    }

    fn conversation(&mut self, conversation: Conversation, outputs: &mut Vec<Output>) {
        let (id, last_seq) = (conversation.id.clone(), conversation.last_seq);
        if !self.logs.contains_key(&id) {
            let first = self.first_seq(last_seq);
            self.logs.insert(id.clone(), LogState::new(first));
        }
        let log = self.log(&id);
        if log.set_member(last_seq, true) {
            log.expect(last_seq);
        }
        outputs.push(Output::Emit(CoreEvent::Conversation(conversation)));
    }

    /// Asks for what is missed of a log, unless that was asked already.
    fn fetch(&mut self, id: &str, outputs: &mut Vec<Output>) {
        if self.phase != Phase::Live {
            return;
        }
        let requests = &mut self.requests;
        if let Some(log) = self.logs.get_mut(id)
            && let Some(after) = log.begin_fetch()
        {
            outputs.push(Output::Send(requests.fetch(id, after)));
        }
    }

    fn fetch_all(&mut self, outputs: &mut Vec<Output>) {
        let behind: Vec<String> =
            self.logs.iter().filter(|(_, log)| log.is_behind()).map(|(id, _)| id.clone()).collect();
        behind.iter().for_each(|id| self.fetch(id, outputs));
    }

    fn error(&mut self, error: Error, now_ms: u64, outputs: &mut Vec<Output>) {
        if let Some(id) = self.requests.fetched(error.id) {
            let log = self.log(&id);
            log.forget_fetch();
            if !error.retryable {
                // The user is no member any more, or never was.
                log.stop();
            }
            return;
        }
        if self.requests.refused(&error, now_ms) {
            outputs.push(Output::Emit(CoreEvent::Refused(error.id, error)));
        }
    }

    /// Time passed: what waits for too long is sent again.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Output> {
        if !matches!(self.phase, Phase::Live | Phase::Syncing) {
            return Vec::new();
        }
        let mut outputs: Vec<Output> = self.requests.due(now_ms).into_iter().map(Output::Send).collect();
        self.fetch_all(&mut outputs);
        outputs
    }

    /// Asks for something that is answered by an ack, an error or a page; it is asked again after every reconnect
    /// until it is answered. `make` gets the id to put into the frame. Gives the id.
    pub fn request(&mut self, now_ms: u64, make: impl FnOnce(u64) -> client_frame::Kind) -> (u64, Vec<Output>) {
        let id = self.requests.next_id();
        let kind = make(id);
        if let client_frame::Kind::Subscribe(subscribe) = &kind {
            self.followed.retain(|user| !subscribe.unsubscribe.contains(user));
            self.followed.extend(subscribe.users.iter().cloned());
        }
        let frame = ClientFrame { kind: Some(kind) };
        let is_open = matches!(self.phase, Phase::Live | Phase::Syncing);
        self.requests.add(id, frame.clone(), is_open.then_some(now_ms));
        (id, if is_open { vec![Output::Send(frame)] } else { Vec::new() })
    }
}

fn send(kind: client_frame::Kind) -> Output {
    Output::Send(ClientFrame { kind: Some(kind) })
}
