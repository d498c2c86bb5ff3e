//! What was told to those who asked: the promises that the oracle holds the rows to.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use stonechat_proto::v1::{Action, Attachment, Event, Message, action, event::Body};

use crate::oracle::truth::Truth;

/// A command that was answered with success.
#[derive(Debug, Clone)]
pub struct Acked {
    /// The log: a conversation's id.
    pub conversation: String,
    /// Who sent it; empty for the tenant.
    pub sender: String,
    /// Its client id.
    pub client_id: String,
    /// The answer's seq.
    pub seq: u64,
    /// The answer's time.
    pub time_us: i64,
    /// What was wanted.
    pub action: Action,
}

/// Everything that was answered. Clones are the same one.
#[derive(Clone, Default)]
pub struct History {
    acked: Arc<Mutex<Vec<Acked>>>,
    /// How far users were told to have read, by user and conversation.
    marked: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    unanswered: Arc<Mutex<BTreeMap<String, String>>>,
}

impl History {
    /// A command was handed over and is not answered yet.
    pub fn asked(&self, client_id: &str, what: String) {
        self.unanswered.lock().insert(client_id.to_owned(), what);
    }

    /// A command was answered with success.
    pub fn acked(&self, acked: Acked) {
        self.unanswered.lock().remove(&acked.client_id);
        self.acked.lock().push(acked);
    }

    /// A command was refused, or nobody waits for its answer any more.
    pub fn refused(&self, client_id: &str) {
        self.unanswered.lock().remove(client_id);
    }

    /// A mark was answered with success.
    pub fn marked(&self, user: &str, conversation: &str, read_seq: u64) {
        let mut marked = self.marked.lock();
        let newest = marked.entry((user.to_owned(), conversation.to_owned())).or_default();
        *newest = read_seq.max(*newest);
    }

    /// How many were answered with success.
    pub fn len(&self) -> usize {
        self.acked.lock().len()
    }

    /// Whether none was answered with success.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait for an answer.
    pub fn waiting(&self) -> usize {
        self.unanswered.lock().len()
    }

    /// Says which answers the rows do not keep.
    pub fn check(&self, truth: &Truth) -> Vec<String> {
        let mut faults: Vec<String> = self
            .unanswered
            .lock()
            .iter()
            .map(|(id, what)| format!("command {id} was never answered: {what}"))
            .collect();
        for acked in self.acked.lock().iter().filter(|acked| acked.seq > 0) {
            if let Err(what) = check_one(acked, truth) {
                faults.push(format!("answer {} of {} to {}: {what}", acked.seq, acked.conversation, acked.client_id));
            }
        }
        for ((user, conversation), read_seq) in self.marked.lock().iter() {
            let row = truth.users.get(user).and_then(|log| log.state.memberships.get(conversation));
            let found = row.map_or(0, |(row, _)| row.read_seq);
            if found < *read_seq {
                faults.push(format!("{user} had read {conversation} to {read_seq}, the rows say {found}"));
            }
        }
        faults
    }
}

fn check_one(acked: &Acked, truth: &Truth) -> Result<(), String> {
    let events = match acked.action.kind {
        Some(action::Kind::HideMessage(_) | action::Kind::UpdateMembership(_) | action::Kind::UpdateProfile(_)) => {
            truth.users.get(&acked.sender).map(|log| &log.events)
        }
        _ => truth.conversations.get(&acked.conversation).map(|log| &log.events),
    };
    let index = usize::try_from(acked.seq - 1).map_err(|_| "no such seq")?;
    let event = events.and_then(|events| events.get(index)).ok_or("no such event")?;
    if (&event.client_id, &event.sender, event.time_us) != (&acked.client_id, &acked.sender, acked.time_us) {
        return Err(format!("the event is another one: {event:?}"));
    }
    if !is_wanted(event, &acked.action) {
        return Err(format!("the event is not what was wanted: {event:?}"));
    }
    Ok(())
}

/// A message without what the server filled in.
fn asked_of(content: &Message) -> Message {
    let named = |it: &Attachment| Attachment { id: it.id.clone(), ..Attachment::default() };
    Message { attachments: content.attachments.iter().map(named).collect(), ..content.clone() }
}

/// Whether the event is one that the action may lead to.
fn is_wanted(event: &Event, action: &Action) -> bool {
    let (Some(body), Some(kind)) = (&event.body, &action.kind) else { return false };
    match (body, kind) {
        (Body::Message(is), action::Kind::Send(wanted)) => asked_of(is) == *wanted,
        (Body::Edited(is), action::Kind::Edit(wanted)) => {
            is.target == wanted.target && is.content.as_ref().map(asked_of) == wanted.content
        }
        (Body::Recalled(is), action::Kind::Recall(wanted)) => is == wanted,
        (Body::ReactionAdded(is), action::Kind::React(wanted)) => is == wanted,
        (Body::ReactionRemoved(is), action::Kind::Unreact(wanted)) => is == wanted,
        (Body::Pinned(is), action::Kind::Pin(wanted)) => is == wanted,
        (Body::Unpinned(is), action::Kind::Unpin(wanted)) => is == wanted,
        (Body::Created(is), action::Kind::Create(wanted)) => is.kind == wanted.kind,
        (Body::MembersAdded(is), action::Kind::AddMembers(wanted)) => {
            is.members.iter().all(|entry| wanted.users.contains(&entry.user))
        }
        (Body::MembersRemoved(is), action::Kind::RemoveMembers(wanted)) => {
            is.users.iter().all(|user| wanted.users.contains(user))
        }
        (Body::MemberLeft(_), action::Kind::Leave(_))
        | (Body::Dismissed(_), action::Kind::Dismiss(_))
        | (Body::Upgraded(_), action::Kind::Upgrade(_)) => true,
        (Body::RoleChanged(is), action::Kind::SetRole(wanted)) => is == wanted,
        (Body::MemberMuted(is), action::Kind::MuteMember(wanted)) => is == wanted,
        (Body::SettingsChanged(is), action::Kind::UpdateSettings(wanted)) => is == wanted,
        (Body::OwnershipTransferred(is), action::Kind::Transfer(wanted)) => is == wanted,
        (Body::MessageHidden(is), action::Kind::HideMessage(wanted)) => is.seq == wanted.seq,
        (Body::MembershipChanged(is), action::Kind::UpdateMembership(wanted)) => is.draft == wanted.draft,
        (Body::ProfileChanged(is), action::Kind::UpdateProfile(wanted)) => is == wanted,
        _ => false,
    }
}
