//! The hook of a tenant that its messages pass before they are sent: it may allow, change or refuse them.
//!
//! Whoever makes commands asks here first: [`Hooks::of`] is a look into memory for tenants without a hook, and
//! [`Hooks::pass`] asks. Everything about it is bounded: time, answers, requests at once, and messages that wait. What
//! was sent already is not asked for again, so a command that is sent again gets its first answer whatever the hook
//! says by now.

mod answer;
mod circuit;
mod store;

pub use answer::Answer;
pub use store::NewSendHook;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use stonechat_commands::{CommandRequest, check_action};
use stonechat_errors::{Code, Error};
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, limits, now_us};
use stonechat_outbound::{Outbound, Request, Target};
use stonechat_proto::{
    content_hash,
    internal::v1::{ClientIdRow, SendHookRow},
    json as proto_json,
    v1::{Action, Event, action},
};
use stonechat_rows::{Rows, tables};
use tokio::sync::Semaphore;

use crate::{event, feed, headers, send::live_keys};
use circuit::Circuit;

/// The type of what a hook gets.
const TYPE: &str = "message.before_send";

/// The hooks of all tenants, as one process knows and asks them.
pub struct Hooks {
    rows: Arc<dyn Rows>,
    outbound: Outbound,
    known: Mutex<HashMap<TenantId, Arc<Known>>>,
    begun: Instant,
}

/// What is known of one tenant's hook.
struct Known {
    version: u64,
    row: Option<SendHookRow>,
    /// When it was read, in milliseconds since the process began.
    read_ms: AtomicU64,
    calls: Semaphore,
    waiting: AtomicUsize,
    circuit: Mutex<Circuit>,
}

/// A hook that a message passes.
pub struct Hook {
    known: Arc<Known>,
}

/// Why there is no answer.
enum Failed {
    /// Too many messages wait.
    Busy,
    /// The hook rests.
    Resting,
    /// This went wrong.
    Because(String),
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a hook is asked about an action.
pub fn is_asked(action: &Action) -> bool {
    action.kind.as_ref().is_some_and(|kind| answer::content_of(kind).is_some())
}

impl Hooks {
    /// The hooks in these rows, asked with this client.
    pub fn new(rows: Arc<dyn Rows>, outbound: Outbound) -> Self {
        Self { rows, outbound, known: Mutex::default(), begun: Instant::now() }
    }

    /// The hook that a tenant's messages pass; `None` where they pass none. `by_server`: messages that the tenant's
    /// own server sends.
    pub async fn of(&self, tenant: &TenantId, by_server: bool) -> Result<Option<Hook>, Error> {
        let known = self.look_up(tenant).await?;
        let passes = |row: &SendHookRow| !by_server || row.server_messages;
        Ok(known.row.as_ref().is_some_and(passes).then(|| Hook { known: Arc::clone(&known) }))
    }

    /// Reads a tenant's hook anew when it is next needed.
    fn forget(&self, tenant: &TenantId) {
        self.known.lock().remove(tenant);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn look_up(&self, tenant: &TenantId) -> Result<Arc<Known>, Error> {
        let before = self.known.lock().get(tenant).cloned();
        let now = self.now_ms();
        if let Some(known) = &before {
            let read = known.read_ms.load(Ordering::Relaxed);
            let is_fresh = now.saturating_sub(read) < limits::HOOK_FRESH_MS;
            // One reads it anew; whoever comes meanwhile goes by what is known.
            let order = Ordering::Relaxed;
            if is_fresh || known.read_ms.compare_exchange(read, now, order, order).is_err() {
                return Ok(Arc::clone(known));
            }
        }
        let found = match (self.read(tenant).await, before) {
            (Ok(found), before) => (found, before),
            (Err(_), Some(known)) => return Ok(known),
            (Err(error), None) => return Err(error),
        };
        let (row, before) = found;
        let (row, version) = row.map_or((None, 0), |(row, version)| ((!row.deleted).then_some(row), version));
        if let Some(known) = before.filter(|known| known.version == version) {
            return Ok(known);
        }
        let known = Arc::new(Known {
            version,
            row,
            read_ms: AtomicU64::new(now),
            calls: Semaphore::new(limits::HOOK_CALLS),
            waiting: AtomicUsize::new(0),
            circuit: Mutex::default(),
        });
        let mut all = self.known.lock();
        if all.len() >= limits::HOOK_TENANTS {
            let oldest = now.saturating_sub(limits::HOOK_FRESH_MS);
            all.retain(|_, known| known.read_ms.load(Ordering::Relaxed) >= oldest);
            if all.len() >= limits::HOOK_TENANTS {
                all.clear();
            }
        }
        all.insert(tenant.clone(), Arc::clone(&known));
        Ok(known)
    }

    /// Has a message pass a hook; gives what is to be sent, with the hash of what was asked for, or why nothing is.
    pub async fn pass(&self, hook: &Hook, mut request: CommandRequest) -> Result<CommandRequest, Error> {
        request.asked_hash = content_hash(&request.action);
        let kind = request.action.kind.as_ref().ok_or_else(|| Error::invalid("action is missing"))?;
        check_action(kind)?;
        let conversation = ConversationId::parse(&request.conversation)
            .map_err(|error| Error::invalid(format!("conversation: {error}")))?;
        let Some(row) = &hook.known.row else { return Ok(request) };
        if self.is_sent(&request, conversation).await? {
            return Ok(request);
        }
        let (answer, outcome) = match self.ask(&hook.known, row, &request, kind).await {
            Ok(answer) => (Ok(answer), "answered"),
            Err(Failed::Busy) => (Err(Error::new(Code::RateLimited, "too many messages wait for a hook")), "busy"),
            Err(Failed::Resting) => (or_open(row), "resting"),
            Err(Failed::Because(why)) => {
                tracing::debug!(tenant.id = %request.tenant, %why, "hook gave no answer");
                (or_open(row), "failed")
            }
        };
        metrics::counter!("stonechat_hook_messages_total", "outcome" => outcome).increment(1);
        match answer? {
            Answer::Allow => Ok(request),
            Answer::Refuse(reason) => Err(Error::denied(reason)),
            Answer::Change(kind) => Ok(CommandRequest { action: Action { kind: Some(*kind) }, ..request }),
        }
    }

    /// Whether the event of this client id is there already. Then the machine answers, by what was asked for.
    async fn is_sent(&self, request: &CommandRequest, conversation: ConversationId) -> Result<bool, Error> {
        let log = LogKey { tenant: request.tenant.clone(), log: LogId::Conversation(conversation) };
        let sender = request.sender.as_ref().map(stonechat_model::UserId::as_str).unwrap_or_default();
        let key = tables::client_id(&log, sender, request.client_id);
        let seen = self.rows.get(&[key]).await.map_err(feed::unavailable)?.into_iter().flatten().next();
        let Some(seen) = seen else { return Ok(false) };
        let seen = ClientIdRow::decode(seen.value).map_err(feed::corrupt)?;
        let found = self.rows.get(&[tables::event(&log, seen.seq)]).await.map_err(feed::unavailable)?;
        let Some(found) = found.into_iter().flatten().next() else { return Ok(false) };
        let event = Event::decode(found.value).map_err(feed::corrupt)?;
        Ok(event.client_id == request.client_id.to_string() && event.sender == sender)
    }

    async fn ask(
        &self,
        known: &Known,
        row: &SendHookRow,
        request: &CommandRequest,
        kind: &action::Kind,
    ) -> Result<Answer, Failed> {
        if known.waiting.fetch_add(1, Ordering::Relaxed) >= limits::HOOK_WAITING {
            drop(Waiting(&known.waiting));
            return Err(Failed::Busy);
        }
        let waiting = Waiting(&known.waiting);
        let timeout = Duration::from_millis(u64::from(row.timeout_ms).clamp(1, limits::HOOK_TIMEOUT_MS));
        let place = tokio::time::timeout(timeout, known.calls.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(Failed::Because("too many requests are on their way".into())) };
        drop(waiting);
        if !known.circuit.lock().may_call(Instant::now()) {
            return Err(Failed::Resting);
        }
        let answered = self.call(row, request, kind, timeout).await;
        known.circuit.lock().note(answered.is_ok(), Instant::now());
        answered.map_err(Failed::Because)
    }

    async fn call(
        &self,
        row: &SendHookRow,
        request: &CommandRequest,
        kind: &action::Kind,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let now = now_us();
        let body = body_of(request, kind, now).ok_or("message cannot be written")?;
        let target = Target::parse(&row.url, self.outbound.rules()).map_err(|error| error.to_string())?;
        let headers = headers(&live_keys(&row.secrets, now), &message_id(request), now / 1_000_000, &body);
        let answer_bytes = limits::HOOK_ANSWER_BYTES;
        let posted = Request { target, headers, body, timeout, answer_bytes };
        let answer = self.outbound.post(posted).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        if answer.is_cut {
            return Err(format!("answer is longer than {answer_bytes} bytes"));
        }
        Answer::parse(&answer.body, kind)
    }
}

/// What becomes of a message where there is no answer.
fn or_open(row: &SendHookRow) -> Result<Answer, Error> {
    if row.fail_open { Ok(Answer::Allow) } else { Err(Error::unavailable("the tenant's hook gives no answer")) }
}

/// The same for every time that one message is asked for.
fn message_id(request: &CommandRequest) -> String {
    let mut hash = Sha256::new();
    let sender = request.sender.as_ref().map(stonechat_model::UserId::as_str).unwrap_or_default();
    for part in [request.tenant.as_str(), &request.conversation, sender, &request.client_id.to_string()] {
        hash.update(part);
        hash.update([0]);
    }
    event::id_of("hook_", hash)
}

fn body_of(request: &CommandRequest, kind: &action::Kind, now_us: i64) -> Option<Bytes> {
    let (message, edited) = answer::content_of(kind)?;
    let mut data = json!({
        "conversation": request.conversation,
        "client_id": request.client_id.to_string(),
        "message": message,
    });
    let fields = data.as_object_mut()?;
    if let Some(sender) = &request.sender {
        fields.insert("sender".to_owned(), sender.as_str().into());
    }
    if let Some(seq) = edited {
        fields.insert("edit_of".to_owned(), seq.into());
    }
    let timestamp = proto_json::time::to_text(now_us).unwrap_or_default();
    Some(json!({ "type": TYPE, "timestamp": timestamp, "data": data }).to_string().into())
}
