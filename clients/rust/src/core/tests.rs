//! The core against a server that loses, repeats and mixes up whatever a connection may.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use stonechat_proto::v1::{Message, Synced};

use super::*;

fn event(seq: u64) -> Event {
    let text = format!("message {seq}");
    let body = Some(event::Body::Message(Message { text, ..Message::default() }));
    Event { seq, body, ..Event::default() }
}

fn frame(kind: server_frame::Kind) -> ServerFrame {
    ServerFrame { kind: Some(kind) }
}

fn options(bootstrap: Bootstrap) -> CoreOptions {
    CoreOptions { device: "d".to_owned(), agent: String::new(), bootstrap }
}

/// A server with one conversation and one client, whose connection breaks at random.
struct World {
    rng: StdRng,
    core: ClientCore,
    last_seq: u64,
    now_ms: u64,
    /// What is on its way to the client.
    wire: Vec<ServerFrame>,
    seen: Vec<u64>,
    /// Client ids of commands in the log, in order.
    decided: Vec<String>,
    answered: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let core = ClientCore::new(options(Bootstrap::Full));
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, core, last_seq: 0, now_ms: 0, wire: Vec::new(), seen: Vec::new(), decided: Vec::new(), answered: 0 }
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(frame) => self.serve(frame),
                Output::Emit(CoreEvent::Event(frame)) if frame.conversation == "c" => {
                    self.seen.push(frame.event.unwrap().seq);
                }
                Output::Emit(CoreEvent::Done(..)) => self.answered += 1,
                Output::Emit(_) | Output::Reconnect(_) => {}
            }
        }
    }

    fn conversation(&self) -> Conversation {
        Conversation { id: "c".to_owned(), last_seq: self.last_seq, ..Conversation::default() }
    }

    fn page(&self, id: u64, after: u64, limit: u64) -> ServerFrame {
        let until = self.last_seq.min(after + limit);
        let events = (after + 1..=until).map(event).collect();
        let (conversation, last_seq) = ("c".to_owned(), self.last_seq);
        let more = until < self.last_seq;
        frame(server_frame::Kind::Page(Page { id, conversation, events, last_seq, more, ..Page::default() }))
    }

    fn serve(&mut self, request: ClientFrame) {
        match request.kind.unwrap() {
            client_frame::Kind::Hello(hello) => {
                self.wire.push(frame(server_frame::Kind::Ready(Ready::default())));
                let conversations = vec![self.conversation()];
                self.wire.push(frame(server_frame::Kind::Page(Page { conversations, ..Page::default() })));
                if let Some(cursor) = hello.cursors.first() {
                    self.wire.push(self.page(0, cursor.seq, 3));
                }
                self.wire.push(frame(server_frame::Kind::Synced(Synced::default())));
            }
            client_frame::Kind::History(it) if it.conversation == "c" => {
                self.wire.push(self.page(it.id, it.after.unwrap(), 5));
            }
            client_frame::Kind::Command(it) => {
                if !self.decided.contains(&it.client_id) {
                    self.decided.push(it.client_id);
                    self.append();
                }
                self.wire.push(frame(server_frame::Kind::Ack(Ack { id: it.id, ..Ack::default() })));
            }
            _ => {}
        }
    }

    fn append(&mut self) {
        self.last_seq += 1;
        let event = EventFrame { conversation: "c".to_owned(), event: Some(event(self.last_seq)) };
        let copies = self.rng.random_range(0..=2);
        for _ in 0..copies {
            self.wire.push(frame(server_frame::Kind::Event(event.clone())));
        }
        if copies == 0 {
            // A gateway that lost a delivery tells the heads again.
            let conversations = vec![self.conversation()];
            self.wire.push(frame(server_frame::Kind::Page(Page { conversations, ..Page::default() })));
        }
    }

    fn reconnect(&mut self) {
        self.core.disconnected();
        self.wire.clear();
        let outputs = self.core.connected("token".to_owned());
        self.take(outputs);
    }

    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let frame = self.wire.remove(0);
        let outputs = self.core.frame(frame, self.now_ms);
        self.take(outputs);
    }

    fn step(&mut self) {
        self.now_ms += 1;
        match self.rng.random_range(0..20) {
            0 => self.reconnect(),
            1..=4 => self.append(),
            5 => {
                let client_id = format!("{}", self.now_ms);
                let make = |id| {
                    let command = stonechat_proto::v1::Command { id, client_id, ..Default::default() };
                    client_frame::Kind::Command(command)
                };
                let (_, outputs) = self.core.request(self.now_ms, make);
                self.take(outputs);
            }
            6 => {
                // Events may change places after a change of owner.
                let is_event = |frame: &ServerFrame| matches!(frame.kind, Some(server_frame::Kind::Event(_)));
                let end = self.wire.iter().rposition(|frame| !is_event(frame)).map_or(0, |index| index + 1);
                let (_, events) = self.wire.split_at_mut(end);
                events.shuffle(&mut self.rng);
            }
            _ => self.deliver(),
        }
    }
}

#[test]
fn every_event_comes_once_and_in_order_whatever_the_connection_does() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        world.reconnect();
        (0..400).for_each(|_| world.step());
        world.reconnect();
        while !world.wire.is_empty() {
            world.deliver();
        }
        let all: Vec<u64> = (1..=world.last_seq).collect();
        assert_eq!(world.seen, all, "seed {seed}");
        assert!(world.core.is_settled(), "seed {seed}");
        assert_eq!(world.answered, world.decided.len(), "seed {seed}: every command was answered once");
    }
}

#[test]
fn a_new_conversation_begins_where_the_bootstrap_says() {
    for (bootstrap, expected) in [(Bootstrap::Full, 0), (Bootstrap::Tail(10), 90), (Bootstrap::Live, 100)] {
        let mut core = ClientCore::new(options(bootstrap));
        core.connected(String::new());
        core.frame(frame(server_frame::Kind::Ready(Ready::default())), 0);
        let conversations = vec![Conversation { id: "c".to_owned(), last_seq: 100, ..Conversation::default() }];
        core.frame(frame(server_frame::Kind::Page(Page { conversations, ..Page::default() })), 0);
        assert_eq!(core.conversations().next().unwrap().1.seq(), expected);
    }
}

#[test]
fn an_old_word_about_a_membership_changes_nothing() {
    let mut log = LogState::new(0);
    log.set_member(7, true);
    assert!(!log.set_member(5, false));
    assert!(log.is_member());
}

#[test]
fn a_refusal_that_may_be_tried_again_is_and_another_is_told() {
    let mut core = ClientCore::new(options(Bootstrap::Live));
    core.connected(String::new());
    core.frame(frame(server_frame::Kind::Ready(Ready::default())), 0);
    let (id, sent) =
        core.request(0, |id| client_frame::Kind::Command(stonechat_proto::v1::Command { id, ..Default::default() }));
    let refuse = |retryable| Error { id, retryable, retry_after_ms: 100, ..Error::default() };
    assert_eq!(core.frame(frame(server_frame::Kind::Error(refuse(true))), 0), []);
    assert_eq!(core.tick(99), []);
    assert_eq!(core.tick(100), sent);
    let told = core.frame(frame(server_frame::Kind::Error(refuse(false))), 0);
    assert_eq!(told, [Output::Emit(CoreEvent::Refused(id, refuse(false)))]);
    assert_eq!(core.tick(100_000), []);
}

#[test]
fn what_is_refused_again_and_again_is_sent_less_and_less_often() {
    let mut core = ClientCore::new(options(Bootstrap::Live));
    core.connected(String::new());
    core.frame(frame(server_frame::Kind::Ready(Ready::default())), 0);
    let (id, sent) =
        core.request(0, |id| client_frame::Kind::Command(stonechat_proto::v1::Command { id, ..Default::default() }));
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let refused = Error { id, retryable: true, retry_after_ms: 200, ..Error::default() };
        core.frame(frame(server_frame::Kind::Error(refused)), now_ms);
        let begun_ms = now_ms;
        while core.tick(now_ms) != sent {
            now_ms += 50;
        }
        pauses.push(now_ms - begun_ms);
    }
    assert_eq!(pauses, [200, 200, 200, 400, 800, 1_600, 3_200, 4_000, 4_000, 4_000]);
}
