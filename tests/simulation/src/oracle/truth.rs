//! What the rows say at the end, checked against themselves by the models.

use std::{collections::BTreeMap, fmt::Debug};

use prost::Message;
use stonechat_model::LogId;
use stonechat_proto::{
    internal::v1::{ClientIdRow, FileRefRow, HeadRow, HiddenRow, MarkRow, MemberRow, MembershipRow, UserRow},
    v1::{Event, Overlay},
};
use stonechat_rows::{Row, Table, tables};

use super::{conversation::Conversation, user_log::UserLog};
use crate::rows::SimRows;

/// A log's events, and what follows from them.
#[derive(Debug, Default)]
pub struct Log<M> {
    /// The events; that of seq 1 stands at 0.
    pub events: Vec<Event>,
    /// The model after them.
    pub state: M,
}

/// What is durable.
#[derive(Debug, Default)]
pub struct Truth {
    /// Conversations by their ids.
    pub conversations: BTreeMap<String, Log<Conversation>>,
    /// User logs by their users.
    pub users: BTreeMap<String, Log<UserLog>>,
    /// What is wrong.
    pub faults: Vec<String>,
}

fn decoded<M: Message + Default>(row: &Row, faults: &mut Vec<String>) -> M {
    M::decode(row.value.clone()).unwrap_or_else(|error| {
        faults.push(format!("{:?}: {error}", row.key));
        M::default()
    })
}

impl Truth {
    /// Reads the rows of the simulation's one tenant and checks them.
    pub fn read(rows: &SimRows) -> Self {
        let mut truth = Self::default();
        for row in rows.dump(&tables::EVENTS) {
            truth.take_event(&row);
        }
        truth.check_derived(rows);
        truth.check_memberships();
        truth
    }

    fn take_event(&mut self, row: &Row) {
        let event: Event = decoded(row, &mut self.faults);
        let log = row.key.text(1).to_owned();
        let taken = match LogId::parse(&log) {
            Ok(LogId::Conversation(id)) => {
                let log = self.conversations.entry(id.to_string()).or_default();
                log.events.push(event.clone());
                log.state.take(&event, row.version)
            }
            Ok(LogId::User(user)) => {
                let log = self.users.entry(user.to_string()).or_default();
                log.events.push(event.clone());
                log.state.take(&event, row.version)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(what) = taken {
            self.faults.push(format!("log {log}: {what}"));
        }
    }

    fn check_derived(&mut self, rows: &SimRows) {
        let mut heads = BTreeMap::new();
        let mut members = BTreeMap::new();
        let mut overlays = BTreeMap::new();
        let mut refs = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (id, log) in &self.conversations {
            let head = log.state.head.clone().unwrap_or_default();
            heads.insert(id.clone(), (head.clone(), head.position));
            let of_log = log.state.members.iter().map(|(user, row)| (format!("{id}/{user}"), *row));
            members.extend(of_log);
            overlays.extend(log.state.overlays.iter().map(|(seq, row)| (format!("{id}/{seq}"), row.clone())));
            let of_log = log.state.files.refs.iter();
            refs.extend(of_log.map(|((seq, file), row)| (format!("{file}/{id}/{seq}"), row.clone())));
            ids_of(id, &log.events, &mut seen, &mut self.faults);
        }
        let mut memberships = BTreeMap::new();
        let mut marks = BTreeMap::new();
        let mut hidden = BTreeMap::new();
        let mut users = BTreeMap::new();
        for (user, log) in &self.users {
            let head = log.state.head.clone().unwrap_or_default();
            heads.insert(format!("~{user}"), (head.clone(), head.position));
            let of_log = log.state.memberships.iter().map(|(id, row)| (format!("{user}/{id}"), row.clone()));
            memberships.extend(of_log);
            let of_log = log.state.marks.iter();
            marks.extend(of_log.map(|(id, row)| (format!("{id}/{user}"), (*row, row.read_seq + row.delivered_seq))));
            let of_log = log.state.hidden.iter();
            hidden.extend(of_log.map(|((id, seq), row)| (format!("{user}/{id}/{seq}"), *row)));
            users.extend(log.state.user.iter().map(|row| (user.clone(), row.clone())));
            ids_of(&format!("~{user}"), &log.events, &mut seen, &mut self.faults);
        }
        let faults = &mut self.faults;
        compare::<HeadRow>(rows, &tables::HEADS, &[1], heads, faults);
        compare::<MemberRow>(rows, &tables::MEMBERS, &[1, 2], members, faults);
        compare::<Overlay>(rows, &tables::OVERLAYS, &[1, 3], overlays, faults);
        compare::<FileRefRow>(rows, &tables::FILE_REFS, &[1, 2, 3], refs, faults);
        compare::<MembershipRow>(rows, &tables::MEMBERSHIPS, &[1, 2], memberships, faults);
        compare::<MarkRow>(rows, &tables::MARKS, &[1, 2], marks, faults);
        compare::<HiddenRow>(rows, &tables::HIDDEN, &[1, 2, 3], hidden, faults);
        compare::<UserRow>(rows, &tables::USERS, &[2], users, faults);
        for row in rows.dump(&tables::CLIENT_IDS) {
            let key = format!("{}/{}/{}", row.key.text(1), row.key.text(2), row.key.text(3));
            let value: ClientIdRow = decoded(&row, faults);
            match seen.remove(&key) {
                Some((seq, time_us)) if (seq, time_us) == (value.seq, value.time_us) => {}
                event => faults.push(format!("client id {key} points at {}, its event is {event:?}", value.seq)),
            }
        }
        faults.extend(seen.into_iter().map(|(key, (seq, _))| format!("client id {key} of event {seq} has no row")));
    }

    /// Every joining and leaving of a conversation is in the user's log once, in order, and nothing else is.
    fn check_memberships(&mut self) {
        let mut wanted: BTreeMap<(&str, &str), &[(u64, bool)]> = BTreeMap::new();
        for (id, log) in &self.conversations {
            wanted.extend(log.state.changes.iter().map(|(user, changes)| ((user.as_str(), id.as_str()), &changes[..])));
        }
        let mut found: BTreeMap<(&str, &str), &[(u64, bool)]> = BTreeMap::new();
        for (user, log) in &self.users {
            found.extend(log.state.changes.iter().map(|(id, changes)| ((user.as_str(), id.as_str()), &changes[..])));
        }
        for (key, wanted) in &wanted {
            let found = found.get(key).copied().unwrap_or_default();
            if found != *wanted {
                self.faults.push(format!("user log and conversation {key:?}: {found:?}, wanted {wanted:?}"));
            }
        }
        for key in found.keys().filter(|key| !wanted.contains_key(*key)) {
            self.faults.push(format!("user log knows of {key:?}, the conversation does not"));
        }
    }
}

type SeenIds = BTreeMap<String, (u64, i64)>;

fn ids_of(log: &str, events: &[Event], seen: &mut SeenIds, faults: &mut Vec<String>) {
    for event in events.iter().filter(|event| !event.client_id.is_empty()) {
        let key = format!("{log}/{}/{}", event.sender, event.client_id);
        if let Some((seq, _)) = seen.insert(key.clone(), (event.seq, event.time_us)) {
            faults.push(format!("client id {key} led to events {seq} and {}", event.seq));
        }
    }
}

/// Compares a table with what it must hold; a row's name is made of these parts of its key.
fn compare<M: Message + Default + PartialEq + Debug>(
    rows: &SimRows,
    table: &'static Table,
    parts: &[usize],
    mut wanted: BTreeMap<String, (M, u64)>,
    faults: &mut Vec<String>,
) {
    for row in rows.dump(table) {
        let part = |index: &usize| match row.key.text(*index) {
            "" => row.key.number(*index).to_string(),
            text => text.to_owned(),
        };
        let name = parts.iter().map(part).collect::<Vec<_>>().join("/");
        let value: M = decoded(&row, faults);
        match wanted.remove(&name) {
            Some((model, version)) if (&model, version) == (&value, row.version) => {}
            Some((model, version)) => faults.push(format!(
                "{} {name}: {value:?} of version {}, the events say {model:?} of version {version}",
                table.name, row.version
            )),
            None => faults.push(format!("{} {name}: {value:?}, the events know of none", table.name)),
        }
    }
    for (name, (model, _)) in wanted {
        faults.push(format!("{} {name}: missing, the events say {model:?}", table.name));
    }
}
