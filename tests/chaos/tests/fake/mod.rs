//! A server in memory that can be made to fail its promises.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use stonechat_chaos::{Incident, Link, World, WorldError, content_of};
use stonechat_model::{ConversationId, UserId};
use stonechat_proto::v1::{Action, Event, action, event};
use tokio::sync::watch;

/// How the server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A kill takes the newest event of every conversation with it.
    ForgetsTail,
    /// A command that is sent again becomes another event.
    DoublesRepeats,
    /// One device is never given one event.
    SkipsDelivery,
    /// One device is given two events in the wrong order.
    SwapsDelivery,
    /// One device is given other content.
    AltersDelivery,
    /// A kill takes the bytes of the newest file with it.
    ForgetsFiles,
}

#[derive(Default)]
struct State {
    up: bool,
    kills: u64,
    logs: HashMap<String, Vec<Event>>,
    members: HashMap<String, HashSet<String>>,
    seqs: HashMap<(String, String), u64>,
    submitted: u64,
    files: Vec<Option<Vec<u8>>>,
}

pub struct FakeWorld {
    fault: Fault,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl FakeWorld {
    pub fn new(fault: Fault) -> Self {
        Self { fault, state: Arc::default(), changed: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

#[async_trait]
impl World for FakeWorld {
    fn link(&self, user: &UserId, device: &str) -> Result<Box<dyn Link>, WorldError> {
        let mut news = self.changed.subscribe();
        news.mark_changed();
        Ok(Box::new(FakeLink {
            user: user.to_string(),
            broken: device == "user-1.1",
            fault: self.fault,
            state: Arc::clone(&self.state),
            changed: self.changed.clone(),
            news,
            connected: None,
            open: VecDeque::new(),
            cursors: HashMap::new(),
            ready: VecDeque::new(),
            ids: 0,
            device: device.to_owned(),
        }))
    }

    fn start(&mut self) -> Result<(), WorldError> {
        Ok(())
    }

    async fn ready(&mut self) -> Result<Duration, WorldError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.state().up = true;
        self.changed.send_modify(|n| *n += 1);
        Ok(Duration::from_millis(300))
    }

    async fn kill(&mut self) -> Result<(), WorldError> {
        let mut state = self.state();
        state.up = false;
        state.kills += 1;
        if self.fault == Fault::ForgetsTail {
            for log in state.logs.values_mut().filter(|log| log.len() > 1) {
                log.pop();
            }
        }
        if self.fault == Fault::ForgetsFiles
            && let Some(newest) = state.files.last_mut()
        {
            *newest = None;
        }
        drop(state);
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        false
    }
}

struct FakeLink {
    user: String,
    device: String,
    /// Whether this is the device that delivery faults hit.
    broken: bool,
    fault: Fault,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    news: watch::Receiver<u64>,
    /// The number of kills when it connected.
    connected: Option<u64>,
    open: VecDeque<(u128, String, Action)>,
    cursors: HashMap<String, usize>,
    ready: VecDeque<Incident>,
    ids: u128,
}

#[async_trait]
impl Link for FakeLink {
    fn send(&mut self, conversation: &ConversationId, action: Action) -> u128 {
        self.ids += 1;
        let name = format!("{} {}", self.device, self.ids);
        let client = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).as_u128();
        self.open.push_back((client, conversation.to_string(), action));
        self.news.mark_changed();
        client
    }

    fn upload(&mut self, bytes: Vec<u8>) -> bool {
        let content = content_of(&bytes);
        let mut state = self.state.lock().expect("no panic under the lock");
        let file = format!("fl_{:032x}", state.files.len());
        state.files.push(Some(bytes));
        self.ready.push_back(Incident::Uploaded { file, content });
        true
    }

    async fn fetch(&mut self, file: &str) -> Option<Vec<u8>> {
        let at = usize::from_str_radix(file.trim_start_matches("fl_"), 16).expect("a number");
        self.state.lock().expect("no panic under the lock").files[at].clone()
    }

    async fn next(&mut self) -> Incident {
        loop {
            if let Some(incident) = self.ready.pop_front() {
                return incident;
            }
            self.news.changed().await.expect("the world stands");
            self.turn();
        }
    }
}

impl FakeLink {
    fn turn(&mut self) {
        let state = Arc::clone(&self.state);
        let mut state = state.lock().expect("no panic under the lock");
        if self.connected.is_some_and(|kills| kills != state.kills) {
            self.connected = None;
            self.ready.push_back(Incident::Disconnected);
        }
        if !state.up {
            return;
        }
        if self.connected.is_none() {
            self.connected = Some(state.kills);
            self.ready.push_back(Incident::Connected);
        }
        let mut unanswered = VecDeque::new();
        while let Some((client, conversation, action)) = self.open.pop_front() {
            match self.submit(&mut state, client, &conversation, &action) {
                Some(seq) => self.ready.push_back(Incident::Acked { client, seq }),
                None => unanswered.push_back((client, conversation, action)),
            }
        }
        self.open = unanswered;
        self.deliver(&state);
    }

    /// Appends a command's event; every thirteenth answer is lost on its way.
    fn submit(&self, state: &mut State, client: u128, conversation: &str, action: &Action) -> Option<u64> {
        let id = uuid::Uuid::from_u128(client).to_string();
        let key = (conversation.to_owned(), id.clone());
        state.submitted += 1;
        let lost = state.submitted.is_multiple_of(13);
        if let Some(seq) = state.seqs.get(&key).filter(|_| self.fault != Fault::DoublesRepeats) {
            return (!lost).then_some(*seq);
        }
        let body = match action.kind.clone()? {
            action::Kind::Create(create) => {
                let members = create.members.into_iter().chain([self.user.clone()]).collect();
                state.members.insert(conversation.to_owned(), members);
                event::Body::Created(Default::default())
            }
            action::Kind::Send(message) => event::Body::Message(message),
            other => panic!("the storm does not {other:?}"),
        };
        let log = state.logs.entry(conversation.to_owned()).or_default();
        let seq = log.len() as u64 + 1;
        log.push(Event {
            seq,
            sender: self.user.clone(),
            time_us: 1,
            client_id: id,
            body: Some(body),
            ..Event::default()
        });
        state.seqs.insert(key, seq);
        self.changed.send_modify(|n| *n += 1);
        (!lost).then_some(seq)
    }

    fn deliver(&mut self, state: &State) {
        for (conversation, log) in &state.logs {
            if !state.members.get(conversation).is_some_and(|members| members.contains(&self.user)) {
                continue;
            }
            let cursor = self.cursors.entry(conversation.clone()).or_default();
            let mut events: Vec<Event> = log.get(*cursor..).unwrap_or_default().to_vec();
            *cursor = log.len().max(*cursor);
            if self.broken {
                match self.fault {
                    Fault::SkipsDelivery => events.retain(|event| event.seq != 3),
                    Fault::SwapsDelivery => events.reverse(),
                    Fault::AltersDelivery => events.iter_mut().for_each(|event| event.time_us += 1),
                    _ => {}
                }
                if let (Fault::AltersDelivery, Some(Some(event::Body::Message(message)))) =
                    (self.fault, events.first_mut().map(|event| event.body.as_mut()))
                {
                    message.text.push('!');
                }
            }
            self.ready.extend(
                events
                    .into_iter()
                    .map(|event| Incident::Event { conversation: conversation.clone(), event: event.into() }),
            );
        }
    }
}
