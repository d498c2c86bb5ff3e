//! One device: it sends at its pace, shows what comes, and writes both down.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prost::Message as _;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use stonechat_chaos_checker::{ClientKey, Device, Entry, FileKey, NO_CONTENT, Observed};
use stonechat_proto::v1::{self, action, event};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    Latencies, Plan,
    link::{Incident, Link},
};

/// How often a device looks whether it has everything.
const LOOK: Duration = Duration::from_millis(50);
/// Longest padding of a text.
const PADDING_BYTES: usize = 160;
/// The largest file, of random bytes.
const FILE_BYTES: usize = 65_536;

/// What all devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Make the conversations.
    Create,
    /// Send.
    Storm,
    /// Send nothing more; catch up.
    Settle,
    /// Hand in the record.
    End,
}

/// What all devices share.
pub struct Shared {
    /// Who talks with whom.
    pub plan: Plan,
    /// Numbers of conversations by id.
    pub numbers: HashMap<String, u32>,
    /// Numbers of users by id.
    pub users: HashMap<String, u32>,
    /// The greatest seq of each conversation that anybody knows of.
    pub heads: Vec<AtomicU64>,
    /// What to do.
    pub phase: watch::Receiver<Phase>,
    /// Sends handed over and answered, creations included.
    pub sent: AtomicU64,
    /// See `sent`.
    pub acked: AtomicU64,
    /// Events shown.
    pub observed: AtomicU64,
    /// How many sends were refused, by code.
    pub refusals: Mutex<BTreeMap<String, u64>>,
    /// How long answers took, from the first attempt.
    pub latencies: Latencies,
}

impl Shared {
    /// Shares a plan.
    pub fn new(plan: Plan, phase: watch::Receiver<Phase>) -> Self {
        let numbers = (0..).zip(&plan.chats).map(|(n, chat)| (chat.id.to_string(), n)).collect();
        let users = (0..).zip(&plan.users).map(|(n, user)| (user.to_string(), n)).collect();
        let heads = plan.chats.iter().map(|_| AtomicU64::new(0)).collect();
        let (sent, acked, observed, refusals, latencies) = Default::default();
        Self { plan, numbers, users, heads, phase, sent, acked, observed, refusals, latencies }
    }

    fn raise(&self, conversation: u32, seq: u64) {
        self.heads[conversation as usize].fetch_max(seq, Ordering::Relaxed);
    }

    fn head(&self, conversation: u32) -> u64 {
        self.heads[conversation as usize].load(Ordering::Relaxed)
    }
}

/// What a device is to do.
#[derive(Debug, Clone)]
pub struct Role {
    /// The user's number.
    pub user: u32,
    /// The device's name.
    pub name: String,
    /// Whether it makes the conversations whose first member its user is.
    pub creates: bool,
    /// Time between two sends in a storm; `None`: it only reads.
    pub pace: Option<Duration>,
    /// How likely it is that a send has a file, where there are files.
    pub with_file: f64,
    /// Where its choices begin.
    pub seed: u64,
}

/// A send that is not answered.
struct Open {
    conversation: u32,
    since: Instant,
}

/// A device at work.
pub struct DeviceTask {
    role: Role,
    shared: Arc<Shared>,
    link: Box<dyn Link>,
    settled: Arc<AtomicBool>,
    random: StdRng,
    chats: [Vec<u32>; 3],
    open: HashMap<ClientKey, Open>,
    last: HashMap<u32, u64>,
    entries: Vec<Entry>,
    texts: u64,
    /// Files that are being uploaded.
    uploading: usize,
    /// Files of messages that were shown.
    files: BTreeMap<FileKey, String>,
}

impl DeviceTask {
    /// Prepares a device; `settled` says whether it has everything and every answer.
    pub fn new(role: Role, shared: Arc<Shared>, link: Box<dyn Link>, settled: Arc<AtomicBool>) -> Self {
        let chats = shared.plan.chats_of(role.user);
        let random = StdRng::seed_from_u64(role.seed);
        let (open, last, entries, files) = Default::default();
        Self { role, shared, link, settled, random, chats, open, last, entries, texts: 0, uploading: 0, files }
    }

    /// Works until the end; gives the record.
    pub async fn run(mut self) -> Device {
        let mut phases = self.shared.phase.clone();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace = tokio::time::interval(self.role.pace.unwrap_or(Duration::from_secs(3600)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut phase = *phases.borrow_and_update();
        self.enter(phase, &mut pace);
        while phase != Phase::End {
            tokio::select! {
                incident = self.link.next() => self.take(incident),
                _ = pace.tick(), if phase == Phase::Storm && self.role.pace.is_some() => self.send(),
                _ = look.tick(), if phase != Phase::Storm => self.look(),
                changed = phases.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    phase = *phases.borrow_and_update();
                    self.settled.store(false, Ordering::Relaxed);
                    self.enter(phase, &mut pace);
                }
            }
        }
        self.fetch().await;
        self.hand_in()
    }

    fn enter(&mut self, phase: Phase, pace: &mut tokio::time::Interval) {
        match phase {
            Phase::Create if self.role.creates => self.create(),
            Phase::Storm => {
                // Devices do not send in step.
                let first = pace.period().mul_f64(self.random.random_range(0.0..1.0));
                pace.reset_after(first);
            }
            _ => {}
        }
    }

    fn create(&mut self) {
        let shared = Arc::clone(&self.shared);
        for (number, chat) in (0..).zip(&shared.plan.chats) {
            if chat.members.first() != Some(&self.role.user) {
                continue;
            }
            let others = chat.members[1..].iter().map(|user| shared.plan.users[*user as usize].to_string());
            let create = v1::Create { kind: chat.kind.into(), members: others.collect(), settings: Default::default() };
            self.attempt(number, action::Kind::Create(create), NO_CONTENT);
        }
    }

    fn send(&mut self) {
        if self.role.with_file > 0.0 && self.random.random_bool(self.role.with_file) {
            let mut bytes = vec![0; self.random.random_range(1..=FILE_BYTES)];
            self.random.fill(bytes.as_mut_slice());
            // The message goes out when the file is there.
            if self.link.upload(bytes) {
                self.uploading += 1;
                return;
            }
        }
        self.send_with(None);
    }

    fn send_with(&mut self, file: Option<String>) {
        let kind = Plan::kind_of_roll(self.random.random_range(0..100));
        let chats = if self.chats[kind].is_empty() { &self.chats[0] } else { &self.chats[kind] };
        let Some(conversation) = chats.choose(&mut self.random).copied() else { return };
        self.texts += 1;
        let padding = "·".repeat(self.random.random_range(0..PADDING_BYTES / 2));
        let text = format!("{} says {} 👋 {padding}", self.role.name, self.texts);
        let attachments = file.into_iter().map(|id| v1::Attachment { id, ..Default::default() }).collect();
        let message = v1::Message { text, attachments, ..Default::default() };
        let content = content_of(&message.encode_to_vec());
        self.attempt(conversation, action::Kind::Send(message), content);
    }

    fn attempt(&mut self, conversation: u32, kind: action::Kind, content: u64) {
        let id = &self.shared.plan.chats[conversation as usize].id;
        let client = self.link.send(id, v1::Action { kind: Some(kind) });
        self.entries.push(Entry::Attempted { client, conversation, content });
        self.open.insert(client, Open { conversation, since: Instant::now() });
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&mut self, incident: Incident) {
        match incident {
            Incident::Connected => self.entries.push(Entry::Connected),
            Incident::Disconnected => self.entries.push(Entry::Disconnected),
            Incident::Acked { client, seq } => {
                self.entries.push(Entry::Acked { client, seq });
                if let Some(open) = self.open.remove(&client) {
                    self.shared.raise(open.conversation, seq);
                    self.shared.latencies.record(open.since);
                    self.shared.acked.fetch_add(1, Ordering::Relaxed);
                }
            }
            Incident::Refused { client, code } => {
                self.entries.push(Entry::Refused { client });
                *self.shared.refusals.lock().entry(code).or_default() += 1;
                self.open.remove(&client);
            }
            Incident::Uploaded { file, content } => {
                self.uploading = self.uploading.saturating_sub(1);
                self.entries.push(Entry::Uploaded { file: key_of(&file), content });
                self.send_with(Some(file));
            }
            Incident::Event { conversation, event } => self.show(&conversation, &event),
        }
    }

    fn show(&mut self, conversation: &str, event: &v1::Event) {
        // The user log is not judged here.
        let Some(conversation) = self.shared.numbers.get(conversation).copied() else { return };
        let content = match &event.body {
            Some(event::Body::Message(message)) => content_of(&as_sent(message).encode_to_vec()),
            // Whatever else an event holds is compared between devices as a whole.
            _ => content_of(&event.encode_to_vec()),
        };
        let client = uuid::Uuid::try_parse(&event.client_id).map_or(0, |id| id.as_u128());
        let sender = self.shared.users.get(&event.sender).copied().unwrap_or(u32::MAX);
        self.entries.push(Entry::Observed(Observed { client, seq: event.seq, content, conversation, sender }));
        if let Some(event::Body::Message(message)) = &event.body {
            for attachment in &message.attachments {
                let file = key_of(&attachment.id);
                self.entries.push(Entry::Attached { conversation, seq: event.seq, file });
                self.files.insert(file, attachment.id.clone());
            }
        }
        let last = self.last.entry(conversation).or_default();
        *last = event.seq.max(*last);
        self.shared.raise(conversation, event.seq);
        self.shared.observed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether every answer is there, and everything that anybody knows of in this user's conversations.
    fn look(&mut self) {
        let complete = self.open.is_empty()
            && self.uploading == 0
            && self.chats.iter().flatten().all(|chat| {
                let last = self.last.get(chat).copied().unwrap_or(0);
                last > 0 && last >= self.shared.head(*chat)
            });
        self.settled.store(complete, Ordering::Relaxed);
    }

    /// Asks for the bytes of everything that messages referred to.
    async fn fetch(&mut self) {
        for (file, id) in std::mem::take(&mut self.files) {
            let content = self.link.fetch(&id).await.map_or(NO_CONTENT, |bytes| content_of(&bytes));
            self.entries.push(Entry::Fetched { file, content });
        }
    }

    fn hand_in(mut self) -> Device {
        let mut ends: Vec<_> = self.last.into_iter().collect();
        ends.sort_unstable();
        self.entries.extend(ends.into_iter().map(|(conversation, seq)| Entry::Ended { conversation, seq }));
        Device { name: self.role.name, user: self.role.user, entries: self.entries }
    }
}

/// A file's id as a number.
fn key_of(id: &str) -> FileKey {
    let digits = id.trim_start_matches("fl_");
    FileKey::from_str_radix(digits, 16).unwrap_or_else(|_| content_of(id.as_bytes()).into())
}

/// A message without what the server fills in.
fn as_sent(message: &v1::Message) -> v1::Message {
    let mut message = message.clone();
    for attachment in &mut message.attachments {
        *attachment = v1::Attachment { id: std::mem::take(&mut attachment.id), ..Default::default() };
    }
    message
}

/// A hash, FNV-1a; never [`NO_CONTENT`].
pub fn content_of(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash | 1
}
