//! The same for user logs.

use std::collections::BTreeMap;

use stonechat_proto::{
    internal::v1::{HeadRow, HiddenRow, MarkRow, MembershipRow, UserRow},
    v1::{ConversationKind, Event, event::Body},
};

/// A user log after its events.
#[derive(Debug, Default)]
pub struct UserLog {
    /// Its head; `None` before the first event.
    pub head: Option<HeadRow>,
    /// The user's side of conversations, and the version of the row.
    pub memberships: BTreeMap<String, (MembershipRow, u64)>,
    /// Marks by conversation.
    pub marks: BTreeMap<String, MarkRow>,
    /// Messages that the user deleted for themselves, and the version of the row.
    pub hidden: BTreeMap<(String, u64), (HiddenRow, u64)>,
    /// The user, and the version of the row.
    pub user: Option<(UserRow, u64)>,
    /// Joined (true) and left, by conversation, with the conversation's seq.
    pub changes: BTreeMap<String, Vec<(u64, bool)>>,
}

impl UserLog {
    /// Takes the next event, the one of a position. Says what is wrong with it.
    pub fn take(&mut self, event: &Event, position: u64) -> Result<(), String> {
        let Some(body) = &event.body else { return Err(format!("seq {}: event without a body", event.seq)) };
        let head = self.head.get_or_insert_with(|| HeadRow {
            kind: ConversationKind::UserLog.into(),
            created_us: event.time_us,
            machine_version: 2,
            ..HeadRow::default()
        });
        if event.seq != head.last_seq + 1 {
            return Err(format!("seq {} follows {}", event.seq, head.last_seq));
        }
        if head.position >= position || head.time_us > event.time_us {
            return Err(format!("seq {}: position or time goes back", event.seq));
        }
        (head.last_seq, head.position, head.time_us) = (event.seq, position, event.time_us);
        self.apply(event, body, position).map_err(|what| format!("seq {}: {what}", event.seq))
    }

    fn apply(&mut self, event: &Event, body: &Body, position: u64) -> Result<(), String> {
        match body {
            Body::Joined(it) => {
                let row = self.membership(&it.conversation, position);
                (row.member, row.kind, row.applied_seq) = (true, it.kind, it.at_seq);
                self.change(&it.conversation, it.at_seq, true)
            }
            Body::Left(it) => {
                let row = self.membership(&it.conversation, position);
                (row.member, row.applied_seq) = (false, it.at_seq);
                self.change(&it.conversation, it.at_seq, false)
            }
            Body::Marked(it) => {
                let row = self.membership(&it.conversation, position);
                if it.read_seq < row.read_seq || it.delivered_seq < row.delivered_seq {
                    return Err("marks go back".into());
                }
                (row.read_seq, row.delivered_seq) = (it.read_seq, it.delivered_seq);
                let mark = MarkRow { read_seq: it.read_seq, delivered_seq: it.delivered_seq };
                self.marks.insert(it.conversation.clone(), mark);
                Ok(())
            }
            Body::MembershipChanged(it) => {
                let preferences = self.membership(&it.conversation, position).preferences.get_or_insert_default();
                preferences.muted = it.muted.unwrap_or(preferences.muted);
                preferences.pinned = it.pinned.unwrap_or(preferences.pinned);
                preferences.hidden = it.hidden.unwrap_or(preferences.hidden);
                if let Some(draft) = &it.draft {
                    preferences.draft.clone_from(draft);
                }
                Ok(())
            }
            Body::MessageHidden(it) => {
                let key = (it.conversation.clone(), it.seq);
                match self.hidden.insert(key, (HiddenRow { at_seq: event.seq }, position)) {
                    None => Ok(()),
                    Some(_) => Err("message hidden twice".into()),
                }
            }
            Body::ProfileChanged(it) => {
                let (row, version) = self.user.get_or_insert_default();
                *version = position;
                if row.created_us == 0 {
                    row.created_us = event.time_us;
                }
                if let Some(name) = &it.name {
                    row.name.clone_from(name);
                }
                if let Some(avatar) = &it.avatar {
                    row.avatar.clone_from(avatar);
                }
                Ok(())
            }
            _ => Err("event that the workload did not ask for".into()),
        }
    }

    fn membership(&mut self, conversation: &str, position: u64) -> &mut MembershipRow {
        let (row, version) = self.memberships.entry(conversation.to_owned()).or_default();
        *version = position;
        row
    }

    fn change(&mut self, conversation: &str, at_seq: u64, joined: bool) -> Result<(), String> {
        let changes = self.changes.entry(conversation.to_owned()).or_default();
        let (last_seq, was_in) = changes.last().copied().unwrap_or_default();
        if at_seq <= last_seq || was_in == joined {
            return Err(format!("{conversation}: joined={joined} at {at_seq} after joined={was_in} at {last_seq}"));
        }
        changes.push((at_seq, joined));
        Ok(())
    }
}
