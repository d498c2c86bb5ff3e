//! A small model of conversations, written from the contracts and not from the router: what the rows of a
//! conversation must be, given its events.

use std::collections::BTreeMap;

use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow},
    v1::{Audience, ConversationKind, Event, MemberEntry, Overlay, Reaction, Role, Settings, event::Body},
};

use super::files::Files;

/// A conversation after its events.
#[derive(Debug, Default)]
pub struct Conversation {
    /// Its head; `None` before the first event.
    pub head: Option<HeadRow>,
    /// Everybody who ever was a member, and the version of the row.
    pub members: BTreeMap<String, (MemberRow, u64)>,
    /// What became of messages, and the version of the row.
    pub overlays: BTreeMap<u64, (Overlay, u64)>,
    /// Who joined (true) or left by which seq, in order.
    pub changes: BTreeMap<String, Vec<(u64, bool)>>,
    /// Which files its messages refer to.
    pub files: Files,
    /// Messages by their seq, with their sender.
    messages: BTreeMap<u64, String>,
}

impl Conversation {
    /// Whether the user is a member.
    pub fn has_member(&self, user: &str) -> bool {
        self.members.get(user).is_some_and(|(row, _)| row.role() != Role::Unspecified)
    }

    /// Takes the next event, the one of a position. Says what is wrong with it.
    pub fn take(&mut self, event: &Event, position: u64) -> Result<(), String> {
        let Some(body) = &event.body else { return Err(format!("seq {}: event without a body", event.seq)) };
        let last = self.head.as_ref().map_or(0, |head| head.last_seq);
        if event.seq != last + 1 {
            return Err(format!("seq {} follows {last}", event.seq));
        }
        match (&self.head, body) {
            (None, Body::Created(_)) => {}
            (None, _) | (Some(_), Body::Created(_)) => {
                return Err(format!("seq {}: created must be first and only first", event.seq));
            }
            (Some(head), _) if head.position >= position || head.time_us > event.time_us => {
                return Err(format!("seq {}: position or time goes back", event.seq));
            }
            (Some(head), _) if head.dismissed => return Err(format!("seq {}: after dismissal", event.seq)),
            (Some(_), _) if !event.sender.is_empty() && !self.has_member(&event.sender) => {
                return Err(format!("seq {}: sender {} is no member", event.seq, event.sender));
            }
            (Some(_), _) => {}
        }
        let mut head = self.head.take().unwrap_or_default();
        head.last_seq = event.seq;
        head.position = position;
        head.time_us = event.time_us;
        let result = self.apply(&mut head, event, body, position).and_then(|()| self.files.take(event, position));
        self.head = Some(head);
        result.map_err(|what| format!("seq {}: {what}", event.seq))
    }

    fn apply(&mut self, head: &mut HeadRow, event: &Event, body: &Body, position: u64) -> Result<(), String> {
        match body {
            Body::Message(_) => drop(self.messages.insert(event.seq, event.sender.clone())),
            Body::Created(created) => {
                head.kind = created.kind;
                head.created_us = event.time_us;
                head.machine_version = 2;
                head.settings.clone_from(&created.settings);
                let users = created.members.iter().map(|entry| entry.user.clone());
                if created.kind() == ConversationKind::Direct {
                    head.peers = users.collect();
                }
                let owner = created.members.iter().find(|entry| entry.role() == Role::Owner);
                head.owner = owner.map(|entry| entry.user.clone()).unwrap_or_default();
                self.join(head, event.seq, &created.members, position)?;
            }
            Body::MembersAdded(added) => self.join(head, event.seq, &added.members, position)?,
            Body::MembersRemoved(removed) => {
                removed.users.iter().try_for_each(|user| self.part(head, event.seq, user, position))?;
            }
            Body::MemberLeft(_) => self.part(head, event.seq, &event.sender, position)?,
            Body::RoleChanged(change) => self.member(&change.user, position)?.role = change.role,
            Body::MemberMuted(mute) => self.member(&mute.user, position)?.muted_until_us = mute.until_us,
            Body::OwnershipTransferred(transfer) => {
                let before = std::mem::replace(&mut head.owner, transfer.to.clone());
                if !before.is_empty() && self.has_member(&before) {
                    self.member(&before, position)?.set_role(Role::Admin);
                }
                self.member(&transfer.to, position)?.set_role(Role::Owner);
            }
            Body::SettingsChanged(change) => merge(head, change.settings.as_ref()),
            Body::Dismissed(_) => head.dismissed = true,
            Body::Upgraded(_) => head.set_kind(ConversationKind::Channel),
            _ => return self.change_message(head, event, body, position),
        }
        Ok(())
    }

    fn member(&mut self, user: &str, position: u64) -> Result<&mut MemberRow, String> {
        if !self.has_member(user) {
            return Err(format!("{user} is no member"));
        }
        let (row, version) = self.members.entry(user.to_owned()).or_default();
        *version = position;
        Ok(row)
    }

    fn join(&mut self, head: &mut HeadRow, seq: u64, members: &[MemberEntry], position: u64) -> Result<(), String> {
        for entry in members {
            if self.has_member(&entry.user) {
                return Err(format!("{} is a member already", entry.user));
            }
            let row = MemberRow { role: entry.role, joined_seq: seq, ..MemberRow::default() };
            self.members.insert(entry.user.clone(), (row, position));
            self.changes.entry(entry.user.clone()).or_default().push((seq, true));
            head.member_count += 1;
        }
        Ok(())
    }

    fn part(&mut self, head: &mut HeadRow, seq: u64, user: &str, position: u64) -> Result<(), String> {
        let row = self.member(user, position)?;
        row.set_role(Role::Unspecified);
        row.left_seq = seq;
        head.member_count -= 1;
        self.changes.entry(user.to_owned()).or_default().push((seq, false));
        Ok(())
    }

    fn change_message(&mut self, head: &mut HeadRow, event: &Event, body: &Body, position: u64) -> Result<(), String> {
        let target = match body {
            Body::Edited(it) => it.target,
            Body::Recalled(it) => it.target,
            Body::ReactionAdded(it) => it.target,
            Body::ReactionRemoved(it) => it.target,
            Body::Pinned(it) => it.target,
            Body::Unpinned(it) => it.target,
            _ => return Err("event of a user log in a conversation".into()),
        };
        let Some(author) = self.messages.get(&target) else { return Err(format!("{target} is no message")) };
        let (overlay, version) = self.overlays.entry(target).or_default();
        (overlay.target, *version) = (target, position);
        match body {
            Body::Edited(it) => {
                if *author != event.sender && !event.sender.is_empty() {
                    return Err("edited by another than its author".into());
                }
                overlay.content.clone_from(&it.content);
                overlay.edited_us = event.time_us;
            }
            Body::Recalled(_) => {
                overlay.content = None;
                overlay.recalled = true;
                overlay.reactions.clear();
            }
            Body::ReactionAdded(it) => react(&mut overlay.reactions, &it.emoji, &event.sender)?,
            Body::ReactionRemoved(it) => unreact(&mut overlay.reactions, &it.emoji, &event.sender)?,
            Body::Pinned(_) => {
                overlay.pinned = true;
                head.pinned_count += 1;
            }
            _ => {
                overlay.pinned = false;
                head.pinned_count -= 1;
            }
        }
        Ok(())
    }
}

fn merge(head: &mut HeadRow, change: Option<&Settings>) {
    let (Some(change), Some(settings)) = (change, &mut head.settings) else { return };
    let texts = [
        (&mut settings.name, &change.name),
        (&mut settings.avatar, &change.avatar),
        (&mut settings.announcement, &change.announcement),
    ];
    for (present, change) in texts {
        if let Some(change) = change {
            *present = Some(change.clone());
        }
    }
    if change.who_may_post() != Audience::Unspecified {
        settings.who_may_post = change.who_may_post;
    }
    if change.who_may_add() != Audience::Unspecified {
        settings.who_may_add = change.who_may_add;
    }
    if let Some(receipts) = change.read_receipts {
        settings.read_receipts = Some(receipts);
    }
}

fn react(reactions: &mut Vec<Reaction>, emoji: &str, user: &str) -> Result<(), String> {
    if !reactions.iter().any(|reaction| reaction.emoji == emoji) {
        reactions.push(Reaction { emoji: emoji.to_owned(), users: Vec::new() });
    }
    for reaction in reactions.iter_mut().filter(|reaction| reaction.emoji == emoji) {
        if reaction.users.iter().any(|other| other == user) {
            return Err(format!("{user} reacted twice"));
        }
        reaction.users.push(user.to_owned());
    }
    Ok(())
}

fn unreact(reactions: &mut Vec<Reaction>, emoji: &str, user: &str) -> Result<(), String> {
    let before: usize = reactions.iter().map(|reaction| reaction.users.len()).sum();
    for reaction in reactions.iter_mut().filter(|reaction| reaction.emoji == emoji) {
        reaction.users.retain(|other| other != user);
    }
    reactions.retain(|reaction| !reaction.users.is_empty());
    let after: usize = reactions.iter().map(|reaction| reaction.users.len()).sum();
    if after + 1 == before { Ok(()) } else { Err(format!("{user} took back no reaction")) }
}
