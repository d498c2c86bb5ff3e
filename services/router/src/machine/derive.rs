//! What follows from an event: the next head and the derived rows.

use stonechat_model::{ConversationId, FileId, LogKey, Position, UserId, limits};
use stonechat_proto::{
    internal::v1::{
        ConversationRow, DeviceRevocation, FileRefRow, HeadRow, HiddenRow, MarkRow, MemberRow, MembershipRow, PinRow,
        UserRow,
    },
    v1::{ConversationKind, Created, Event, MemberEntry, Overlay, Reaction, Role, UserErased, event},
};
use stonechat_rows::{Key, tables};

use super::{Facts, MACHINE_VERSION, Need, conversation, erase, files, user_log};

/// A row that follows from an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Derived {
    /// A member, or somebody who was one.
    Member(UserId, MemberRow),
    /// The present state of a message.
    Overlay(Overlay),
    /// The user's side of a conversation.
    Membership(ConversationId, MembershipRow),
    /// A member's marks; its version is the sum of them.
    Mark(ConversationId, MarkRow),
    /// A message that the user deleted for themselves.
    Hidden(ConversationId, u64, HiddenRow),
    /// The user.
    User(UserRow),
    /// Whether a message is pinned.
    Pin(u64, PinRow),
    /// The conversation in its tenant's list.
    Listed(ConversationRow),
    /// An event that says nothing any more.
    Erased(Event),
    /// That the message of a seq refers to a file, or no longer does.
    FileRef(FileId, u64, FileRefRow),
}

impl Derived {
    /// Where the row stands; `None` where the log's kind has no such rows.
    pub fn key(&self, log: &LogKey) -> Option<Key> {
        let need = match self {
            Self::Member(user, _) => Need::Member(user.clone()),
            Self::Overlay(row) => Need::Overlay(row.target),
            Self::Membership(id, _) => Need::Membership(id.clone()),
            Self::Hidden(id, seq, _) => Need::Hidden(id.clone(), *seq),
            Self::User(_) => Need::User,
            Self::Erased(event) => Need::Event(event.seq),
            Self::Pin(seq, _) => {
                let id = log.log.conversation()?;
                return Some(tables::pin(&log.tenant, id, *seq));
            }
            Self::FileRef(file, seq, _) => {
                let id = log.log.conversation()?;
                return Some(tables::file_ref(&log.tenant, file, id, *seq));
            }
            Self::Listed(_) => {
                let id = log.log.conversation()?;
                return Some(tables::conversation(&log.tenant, id));
            }
            Self::Mark(id, _) => {
                let stonechat_model::LogId::User(user) = &log.log else { return None };
                return Some(tables::mark(&log.tenant, id, user));
            }
        };
        need.key(log)
    }

    /// The row's value and version, for an event at a position.
    pub fn encode(&self, position: Position) -> (Vec<u8>, u64) {
        use prost::Message as _;
        let value = match self {
            Self::Member(_, row) => row.encode_to_vec(),
            Self::Overlay(row) => row.encode_to_vec(),
            Self::Membership(_, row) => row.encode_to_vec(),
            Self::Mark(_, row) => return (row.encode_to_vec(), row.read_seq + row.delivered_seq),
            Self::Hidden(_, _, row) => row.encode_to_vec(),
            Self::User(row) => row.encode_to_vec(),
            Self::Pin(_, row) => row.encode_to_vec(),
            Self::Listed(row) => row.encode_to_vec(),
            Self::FileRef(_, _, row) => row.encode_to_vec(),
            Self::Erased(event) => event.encode_to_vec(),
        };
        (value, position.get())
    }
}

/// The facts that [`apply`] takes for an event.
pub fn needs_of_event(head: Option<&HeadRow>, event: &Event) -> Vec<Need> {
    let member = |user: &str| UserId::parse(user).ok().map(Need::Member);
    let membership = |id: &str| ConversationId::parse(id).ok().map(Need::Membership);
    let Some(body) = &event.body else { return Vec::new() };
    match body {
        event::Body::Edited(it) => vec![Need::Overlay(it.target)],
        event::Body::Recalled(it) => vec![Need::Overlay(it.target)],
        event::Body::ReactionAdded(it) => vec![Need::Overlay(it.target)],
        event::Body::ReactionRemoved(it) => vec![Need::Overlay(it.target)],
        event::Body::Pinned(it) => vec![Need::Overlay(it.target)],
        event::Body::Unpinned(it) => vec![Need::Overlay(it.target)],
        event::Body::RoleChanged(it) => member(&it.user).into_iter().collect(),
        event::Body::MemberMuted(it) => member(&it.user).into_iter().collect(),
        event::Body::MembersRemoved(it) => it.users.iter().filter_map(|user| member(user)).collect(),
        event::Body::MemberLeft(_) => member(&event.sender).into_iter().collect(),
        event::Body::OwnershipTransferred(it) => {
            let before = head.and_then(|head| member(&head.owner));
            member(&it.to).into_iter().chain(before).collect()
        }
        event::Body::Joined(it) => membership(&it.conversation).into_iter().collect(),
        event::Body::Left(it) => membership(&it.conversation).into_iter().collect(),
        event::Body::Marked(it) => membership(&it.conversation).into_iter().collect(),
        event::Body::MembershipChanged(it) => membership(&it.conversation).into_iter().collect(),
        event::Body::ProfileChanged(_)
        | event::Body::TokensRevoked(_)
        | event::Body::SessionsClosed(_)
        | event::Body::ActivationChanged(_)
        | event::Body::ErasedUser(_) => vec![Need::User],
        event::Body::UserErased(it) => erase::needs(&it.user, &it.targets, &it.touched),
        event::Body::MessagesExpired(it) => erase::needs_of_seqs(&it.targets),
        event::Body::Message(_)
        | event::Body::Created(_)
        | event::Body::MembersAdded(_)
        | event::Body::SettingsChanged(_)
        | event::Body::Dismissed(_)
        | event::Body::Upgraded(_)
        | event::Body::MessageHidden(_) => Vec::new(),
    }
}

/// The head after an event, and the rows that derive from the event.
///
/// A row that is as new as the event already is left out: it was written by an attempt that got further.
pub fn apply(head: Option<&HeadRow>, event: &Event, position: Position, facts: &Facts) -> (HeadRow, Vec<Derived>) {
    let mut next = match head {
        Some(head) => head.clone(),
        None => HeadRow {
            kind: ConversationKind::UserLog.into(),
            created_us: event.time_us,
            machine_version: MACHINE_VERSION,
            ..HeadRow::default()
        },
    };
    next.last_seq = event.seq;
    next.position = position.get();
    next.time_us = event.time_us;
    let mut derived = Vec::new();
    if let Some(body) = &event.body {
        Derivation { event, facts, derived: &mut derived }.body(&mut next, body);
        files::derive(event, &mut derived);
    }
    derived.retain(|row| !is_written(row, position, facts));
    (next, derived)
}

fn is_written(row: &Derived, position: Position, facts: &Facts) -> bool {
    let need = match row {
        Derived::Member(user, _) => Need::Member(user.clone()),
        Derived::Overlay(row) => Need::Overlay(row.target),
        Derived::Membership(id, _) => Need::Membership(id.clone()),
        Derived::User(_) => Need::User,
        Derived::Erased(event) => Need::Event(event.seq),
        Derived::Mark(..) | Derived::Hidden(..) | Derived::Listed(_) | Derived::Pin(..) | Derived::FileRef(..) => {
            return false;
        }
    };
    facts.version(&need).is_some_and(|version| version >= position.get())
}

struct Derivation<'a> {
    event: &'a Event,
    facts: &'a Facts,
    derived: &'a mut Vec<Derived>,
}

impl Derivation<'_> {
    fn body(&mut self, head: &mut HeadRow, body: &event::Body) {
        if self.event.erased {
            // Nobody knows any more what it did.
            return;
        }
        match body {
            event::Body::Message(_) => {}
            event::Body::Created(it) => self.created(head, it),
            event::Body::SettingsChanged(it) => {
                let present = head.settings.take().unwrap_or_default();
                head.settings = Some(match &it.settings {
                    Some(change) => conversation::merge(present, change),
                    None => present,
                });
            }
            event::Body::Dismissed(_) => head.dismissed = true,
            event::Body::Upgraded(_) => head.set_kind(ConversationKind::Channel),
            event::Body::Edited(_)
            | event::Body::Recalled(_)
            | event::Body::ReactionAdded(_)
            | event::Body::ReactionRemoved(_)
            | event::Body::Pinned(_)
            | event::Body::Unpinned(_) => self.overlay(head, body),
            event::Body::MembersAdded(_)
            | event::Body::MembersRemoved(_)
            | event::Body::MemberLeft(_)
            | event::Body::RoleChanged(_)
            | event::Body::MemberMuted(_)
            | event::Body::OwnershipTransferred(_) => self.members(head, body),
            event::Body::Joined(_)
            | event::Body::Left(_)
            | event::Body::Marked(_)
            | event::Body::MessageHidden(_)
            | event::Body::MembershipChanged(_) => self.membership(body),
            event::Body::ProfileChanged(_)
            | event::Body::TokensRevoked(_)
            | event::Body::SessionsClosed(_)
            | event::Body::ActivationChanged(_)
            | event::Body::ErasedUser(_) => self.user(body),
            event::Body::UserErased(it) => self.user_erased(head, it),
            event::Body::MessagesExpired(it) => {
                self.unpinned(head, &it.unpinned);
                head.expired_seq = head.expired_seq.max(it.until_seq);
                erase::derive_without_words(&it.targets, self.facts, self.derived);
            }
        }
    }

    fn unpinned(&mut self, head: &mut HeadRow, seqs: &[u64]) {
        head.pinned_count = head.pinned_count.saturating_sub(count(seqs.len()));
        self.derived.extend(seqs.iter().map(|seq| Derived::Pin(*seq, PinRow { pinned: false })));
    }

    fn user_erased(&mut self, head: &mut HeadRow, erased: &UserErased) {
        self.unpinned(head, &erased.unpinned);
        if head.owner == erased.user {
            head.owner.clear();
        }
        if erased.left {
            self.part(head, std::slice::from_ref(&erased.user));
        }
        erase::derive(erased, self.facts, self.derived);
    }

    fn created(&mut self, head: &mut HeadRow, created: &Created) {
        head.kind = created.kind;
        head.settings.clone_from(&created.settings);
        if created.kind() == ConversationKind::Direct {
            head.peers = created.members.iter().map(|entry| entry.user.clone()).collect();
        }
        if let Some(owner) = created.members.iter().find(|entry| entry.role() == Role::Owner) {
            head.owner.clone_from(&owner.user);
        }
        self.join(head, &created.members);
        self.derived.push(Derived::Listed(ConversationRow { kind: created.kind, created_us: self.event.time_us }));
    }

    fn join(&mut self, head: &mut HeadRow, members: &[MemberEntry]) {
        for entry in members {
            let row = MemberRow { role: entry.role, joined_seq: self.event.seq, ..MemberRow::default() };
            self.push_member(&entry.user, row);
        }
        head.member_count = head.member_count.saturating_add(count(members.len()));
    }

    fn part(&mut self, head: &mut HeadRow, users: &[String]) {
        for user in users {
            let present = self.member(user);
            let role = Role::Unspecified.into();
            self.push_member(user, MemberRow { role, left_seq: self.event.seq, ..present });
        }
        head.member_count = head.member_count.saturating_sub(count(users.len()));
    }

    fn members(&mut self, head: &mut HeadRow, body: &event::Body) {
        match body {
            event::Body::MembersAdded(it) => self.join(head, &it.members),
            event::Body::MembersRemoved(it) => self.part(head, &it.users),
            event::Body::MemberLeft(_) => {
                let user = self.event.sender.clone();
                self.part(head, std::slice::from_ref(&user));
            }
            event::Body::RoleChanged(it) => {
                let present = self.member(&it.user);
                self.push_member(&it.user, MemberRow { role: it.role, ..present });
            }
            event::Body::MemberMuted(it) => {
                let present = self.member(&it.user);
                self.push_member(&it.user, MemberRow { muted_until_us: it.until_us, ..present });
            }
            event::Body::OwnershipTransferred(it) => {
                let before = std::mem::replace(&mut head.owner, it.to.clone());
                if !before.is_empty() {
                    let present = self.member(&before);
                    if present.role() != Role::Unspecified {
                        self.push_member(&before, MemberRow { role: Role::Admin.into(), ..present });
                    }
                }
                let present = self.member(&it.to);
                self.push_member(&it.to, MemberRow { role: Role::Owner.into(), ..present });
            }
            _ => {}
        }
    }

    fn member(&self, user: &str) -> MemberRow {
        let known = UserId::parse(user).ok().and_then(|user| self.facts.member_row(&user));
        known.map(|at| at.row).unwrap_or_default()
    }

    fn push_member(&mut self, user: &str, row: MemberRow) {
        if let Ok(user) = UserId::parse(user) {
            self.derived.push(Derived::Member(user, row));
        }
    }

    fn overlay(&mut self, head: &mut HeadRow, body: &event::Body) {
        let target = match body {
            event::Body::Edited(it) => it.target,
            event::Body::Recalled(it) => it.target,
            event::Body::ReactionAdded(it) => it.target,
            event::Body::ReactionRemoved(it) => it.target,
            event::Body::Pinned(it) => it.target,
            event::Body::Unpinned(it) => it.target,
            _ => return,
        };
        let mut row = self.facts.overlay(target).map(|at| at.row.clone()).unwrap_or_default();
        row.target = target;
        match body {
            event::Body::Edited(it) => {
                row.content.clone_from(&it.content);
                row.edited_us = self.event.time_us;
            }
            event::Body::Recalled(_) => {
                row.content = None;
                row.recalled = true;
                row.reactions.clear();
            }
            event::Body::ReactionAdded(it) => add_reaction(&mut row.reactions, &it.emoji, &self.event.sender),
            event::Body::ReactionRemoved(it) => remove_reaction(&mut row.reactions, &it.emoji, &self.event.sender),
            event::Body::Pinned(_) => {
                row.pinned = true;
                self.derived.push(Derived::Pin(target, PinRow { pinned: true }));
                head.pinned_count = head.pinned_count.saturating_add(1);
            }
            event::Body::Unpinned(_) => {
                row.pinned = false;
                self.derived.push(Derived::Pin(target, PinRow { pinned: false }));
                head.pinned_count = head.pinned_count.saturating_sub(1);
            }
            _ => {}
        }
        self.derived.push(Derived::Overlay(row));
    }

    fn membership(&mut self, body: &event::Body) {
        let conversation = match body {
            event::Body::Joined(it) => &it.conversation,
            event::Body::Left(it) => &it.conversation,
            event::Body::Marked(it) => &it.conversation,
            event::Body::MembershipChanged(it) => &it.conversation,
            event::Body::MessageHidden(it) => &it.conversation,
            _ => return,
        };
        let Ok(id) = ConversationId::parse(conversation) else { return };
        let mut row = self.facts.membership(&id).map(|at| at.row.clone()).unwrap_or_default();
        match body {
            event::Body::MessageHidden(it) => {
                let hidden = HiddenRow { at_seq: self.event.seq };
                self.derived.push(Derived::Hidden(id, it.seq, hidden));
                return;
            }
            event::Body::Joined(it) => {
                row.member = true;
                row.kind = it.kind;
                row.applied_seq = it.at_seq;
            }
            event::Body::Left(it) => {
                row.member = false;
                row.applied_seq = it.at_seq;
            }
            event::Body::Marked(it) => {
                row.read_seq = it.read_seq;
                row.delivered_seq = it.delivered_seq;
                let mark = MarkRow { read_seq: it.read_seq, delivered_seq: it.delivered_seq };
                self.derived.push(Derived::Mark(id.clone(), mark));
            }
            event::Body::MembershipChanged(it) => {
                row.preferences = Some(user_log::merge(row.preferences.unwrap_or_default(), it));
            }
            _ => {}
        }
        self.derived.push(Derived::Membership(id, row));
    }

    fn user(&mut self, body: &event::Body) {
        let mut row = self.facts.user().map(|at| at.row.clone()).unwrap_or_default();
        if row.created_us == 0 {
            row.created_us = self.event.time_us;
        }
        match body {
            event::Body::ProfileChanged(it) => row = user_log::with_profile(row, it),
            event::Body::ActivationChanged(it) => row.deactivated = !it.active,
            event::Body::TokensRevoked(it) => {
                cut_off(&mut row.revoked_before_us, &mut row.revoked_devices, it.before_us, &it.device);
            }
            event::Body::SessionsClosed(it) => {
                cut_off(&mut row.closed_before_us, &mut row.closed_devices, it.before_us, &it.device);
            }
            event::Body::ErasedUser(_) => row = UserRow { deactivated: true, erased: true, ..UserRow::default() },
            _ => {}
        }
        self.derived.push(Derived::User(row));
    }
}

/// What a device had before a time, or every device where none is named, is good no more.
fn cut_off(all_before_us: &mut i64, devices: &mut Vec<DeviceRevocation>, before_us: i64, device: &str) {
    let mut all = |before_us: i64, devices: &mut Vec<DeviceRevocation>| {
        *all_before_us = before_us.max(*all_before_us);
        devices.retain(|device| device.before_us > *all_before_us);
    };
    if device.is_empty() {
        return all(before_us, devices);
    }
    match devices.iter_mut().find(|known| known.device == device) {
        Some(known) => known.before_us = known.before_us.max(before_us),
        None => devices.push(DeviceRevocation { device: device.to_owned(), before_us }),
    }
    // Nothing that was void is good again.
    if devices.len() > limits::DEVICE_CUTOFFS
        && let Some(oldest_us) = devices.iter().map(|device| device.before_us).min()
    {
        all(oldest_us, devices);
    }
}

fn count(members: usize) -> u32 {
    u32::try_from(members).unwrap_or(u32::MAX)
}

fn add_reaction(reactions: &mut Vec<Reaction>, emoji: &str, user: &str) {
    let index = reactions.iter().position(|reaction| reaction.emoji == emoji).unwrap_or_else(|| {
        reactions.push(Reaction { emoji: emoji.to_owned(), users: Vec::new() });
        reactions.len() - 1
    });
    let users = &mut reactions[index].users;
    if !users.iter().any(|known| known == user) {
        users.push(user.to_owned());
    }
}

fn remove_reaction(reactions: &mut Vec<Reaction>, emoji: &str, user: &str) {
    for reaction in reactions.iter_mut().filter(|reaction| reaction.emoji == emoji) {
        reaction.users.retain(|known| known != user);
    }
    reactions.retain(|reaction| !reaction.users.is_empty());
}
