//! What the machine knows of a log beside its head.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use prost::Message;
use stonechat_model::{ClientId, ConversationId, LogId, LogKey, UserId};
use stonechat_proto::{
    internal::v1::{ClientIdRow, HiddenRow, MemberRow, MembershipRow, UserRow},
    v1::{Event, Overlay, Role},
};
use stonechat_rows::{Key, Row, RowsError, tables};

/// A row's value and version.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub row: T,
    /// The version, which is a position.
    pub version: u64,
}

/// A fact that may have to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// A member of the conversation.
    Member(UserId),
    /// What a sender's client id led to.
    Seen(String, ClientId),
    /// The event of a seq.
    Event(u64),
    /// The overlay of the message of a seq.
    Overlay(u64),
    /// The log's user's side of a conversation.
    Membership(ConversationId),
    /// Whether the log's user deleted a message for themselves.
    Hidden(ConversationId, u64),
    /// The log's user.
    User,
}

impl Need {
    /// The row that holds it; `None` where the log's kind has no such rows.
    pub fn key(&self, log: &LogKey) -> Option<Key> {
        let tenant = &log.tenant;
        Some(match (self, &log.log) {
            (Self::Seen(sender, id), _) => tables::client_id(log, sender, *id),
            (Self::Event(seq), _) => tables::event(log, *seq),
            (Self::Overlay(seq), _) => tables::overlay(log, *seq),
            (Self::Member(user), LogId::Conversation(id)) => tables::member(tenant, id, user),
            (Self::Membership(id), LogId::User(user)) => tables::membership(tenant, user, id),
            (Self::Hidden(id, seq), LogId::User(user)) => tables::hidden(tenant, user, id, *seq),
            (Self::User, LogId::User(user)) => tables::user(tenant, user),
            _ => return None,
        })
    }
}

/// Facts of one log, as of the newest event that was applied. An entry of `None` is known not to exist.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    members: BTreeMap<UserId, Option<At<MemberRow>>>,
    /// Whether `members` holds every member there is.
    members_complete: bool,
    seen: HashMap<(String, ClientId), Option<At<ClientIdRow>>>,
    events: BTreeMap<u64, Option<At<Arc<Event>>>>,
    overlays: BTreeMap<u64, Option<At<Overlay>>>,
    memberships: BTreeMap<ConversationId, Option<At<MembershipRow>>>,
    hidden: BTreeMap<(ConversationId, u64), Option<At<HiddenRow>>>,
    user: Option<Option<At<UserRow>>>,
}

fn decode<T: Message + Default>(row: Option<Row>) -> Result<Option<At<T>>, RowsError> {
    let Some(row) = row else { return Ok(None) };
    let value = T::decode(row.value).map_err(|e| RowsError::Corrupt(format!("{}: {e}", row.key.table.name)))?;
    Ok(Some(At { row: value, version: row.version }))
}

impl Facts {
    /// Whether the fact is known.
    pub fn has(&self, need: &Need) -> bool {
        match need {
            Need::Member(user) => self.members_complete || self.members.contains_key(user),
            Need::Seen(sender, id) => self.seen.contains_key(&(sender.clone(), *id)),
            Need::Event(seq) => self.events.contains_key(seq),
            Need::Overlay(seq) => self.overlays.contains_key(seq),
            Need::Membership(id) => self.memberships.contains_key(id),
            Need::Hidden(id, seq) => self.hidden.contains_key(&(id.clone(), *seq)),
            Need::User => self.user.is_some(),
        }
    }

    /// Takes what was read for a need.
    pub fn insert(&mut self, need: Need, row: Option<Row>) -> Result<(), RowsError> {
        match need {
            Need::Member(user) => drop(self.members.insert(user, decode(row)?)),
            Need::Seen(sender, id) => drop(self.seen.insert((sender, id), decode(row)?)),
            Need::Event(seq) => {
                let event = decode(row)?.map(|At { row, version }| At { row: Arc::new(row), version });
                self.events.insert(seq, event);
            }
            Need::Overlay(seq) => drop(self.overlays.insert(seq, decode(row)?)),
            Need::Membership(id) => drop(self.memberships.insert(id, decode(row)?)),
            Need::Hidden(id, seq) => drop(self.hidden.insert((id, seq), decode(row)?)),
            Need::User => self.user = Some(decode(row)?),
        }
        Ok(())
    }

    /// Takes every member of the conversation; no other will be asked for.
    pub fn insert_all_members(&mut self, rows: Vec<Row>) -> Result<(), RowsError> {
        for row in rows {
            let user = UserId::parse(row.key.text(2)).map_err(|e| RowsError::Corrupt(format!("members: {e}")))?;
            self.insert(Need::Member(user), Some(row))?;
        }
        self.members_complete = true;
        Ok(())
    }

    /// Says that `members` holds every member, as in a conversation that has no row yet.
    pub fn complete_members(&mut self) {
        self.members_complete = true;
    }

    /// Says that members must be asked for one by one, as in a channel.
    pub fn forget_completeness(&mut self) {
        self.members_complete = false;
    }

    /// Whether every member is known.
    pub fn knows_all_members(&self) -> bool {
        self.members_complete
    }

    /// The version of a fact's row.
    pub fn version(&self, need: &Need) -> Option<u64> {
        fn of<T>(fact: Option<&Option<At<T>>>) -> Option<u64> {
            fact?.as_ref().map(|at| at.version)
        }
        match need {
            Need::Member(user) => of(self.members.get(user)),
            Need::Seen(sender, id) => of(self.seen.get(&(sender.clone(), *id))),
            Need::Event(seq) => of(self.events.get(seq)),
            Need::Overlay(seq) => of(self.overlays.get(seq)),
            Need::Membership(id) => of(self.memberships.get(id)),
            Need::Hidden(id, seq) => of(self.hidden.get(&(id.clone(), *seq))),
            Need::User => of(self.user.as_ref()),
        }
    }

    /// The row of somebody who is or was a member.
    pub fn member_row(&self, user: &UserId) -> Option<&At<MemberRow>> {
        self.members.get(user)?.as_ref()
    }

    /// The row of somebody who is a member.
    pub fn member(&self, user: &UserId) -> Option<&MemberRow> {
        self.member_row(user).map(|at| &at.row).filter(|row| row.role() != Role::Unspecified)
    }

    /// Those known to be members, in the order of their ids.
    pub fn present_members(&self) -> impl Iterator<Item = &UserId> {
        let present = |at: &Option<At<MemberRow>>| at.as_ref().is_some_and(|at| at.row.role() != Role::Unspecified);
        self.members.iter().filter(move |(_, at)| present(at)).map(|(user, _)| user)
    }

    /// What a sender's client id led to.
    pub fn seen(&self, sender: &str, id: ClientId) -> Option<&At<ClientIdRow>> {
        self.seen.get(&(sender.to_owned(), id))?.as_ref()
    }

    /// The event of a seq.
    pub fn event(&self, seq: u64) -> Option<&At<Arc<Event>>> {
        self.events.get(&seq)?.as_ref()
    }

    /// The overlay of the message of a seq.
    pub fn overlay(&self, seq: u64) -> Option<&At<Overlay>> {
        self.overlays.get(&seq)?.as_ref()
    }

    /// The user's side of a conversation.
    pub fn membership(&self, id: &ConversationId) -> Option<&At<MembershipRow>> {
        self.memberships.get(id)?.as_ref()
    }

    /// Whether the user deleted a message for themselves.
    pub fn is_hidden(&self, id: &ConversationId, seq: u64) -> bool {
        self.hidden.get(&(id.clone(), seq)).is_some_and(Option::is_some)
    }

    /// The log's user.
    pub fn user(&self) -> Option<&At<UserRow>> {
        self.user.as_ref()?.as_ref()
    }

    /// Keeps what further batches will need again; at most `max_members` members unless all are known.
    pub fn end_batch(&mut self, max_members: usize) {
        self.seen.clear();
        self.events.clear();
        self.overlays.clear();
        self.hidden.clear();
        if !self.members_complete && self.members.len() > max_members {
            self.members.clear();
        }
        if self.memberships.len() > max_members {
            self.memberships.clear();
        }
    }

    /// Takes a row just derived from an event.
    pub fn learn(&mut self, derived: &super::Derived, version: u64) {
        use super::Derived;
        match derived {
            Derived::Member(user, row) => {
                self.members.insert(user.clone(), Some(At { row: *row, version }));
            }
            Derived::Overlay(row) => {
                self.overlays.insert(row.target, Some(At { row: row.clone(), version }));
            }
            Derived::Membership(id, row) => {
                self.memberships.insert(id.clone(), Some(At { row: row.clone(), version }));
            }
            Derived::Hidden(id, seq, row) => {
                self.hidden.insert((id.clone(), *seq), Some(At { row: *row, version }));
            }
            Derived::User(row) => self.user = Some(Some(At { row: row.clone(), version })),
            Derived::Erased(event) => {
                self.events.insert(event.seq, Some(At { row: Arc::new(event.clone()), version }));
            }
            Derived::Mark(..) | Derived::Listed(_) | Derived::Pin(..) | Derived::FileRef(..) => {}
        }
    }

    /// Takes an event just decided and the row of its client id.
    pub fn learn_event(&mut self, event: &Arc<Event>, seen: Option<ClientIdRow>, version: u64) {
        self.events.insert(event.seq, Some(At { row: Arc::clone(event), version }));
        if let (Some(row), Ok(id)) = (seen, ClientId::parse(&event.client_id)) {
            self.seen.insert((event.sender.clone(), id), Some(At { row, version }));
        }
    }
}
