//! The state machine of logs: pure, the same for every owner that ever decides a command.
//!
//! [`decide`] takes a log's head, a command and the facts it needs, and gives at most one event.
//! [`apply`] takes a head and an event and gives the next head and the rows that derive from the event;
//! it is the same for an event just decided and for one that an interrupted attempt left behind.
//! No clock, no randomness, no I/O: equal input gives equal output on every machine.

mod command;
mod conversation;
mod derive;
mod erase;
mod facts;
mod files;
mod imported;
mod members;
mod message;
mod user_log;

pub use command::{Body, Command, Parsed};
pub use derive::{Derived, apply, needs_of_event};
pub use facts::{At, Facts, Need};

use crate::Rules;
use stonechat_errors::{Code, Error};
use stonechat_model::{LogKey, Position, TimeUs, limits};
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{self, event},
};

/// Which behaviour new logs are decided by; kept in their heads. Count it up with every change of what
/// [`decide`] or [`apply`] gives, and keep the old behaviour for heads of the old number.
///
/// 2: creating a conversation writes its row in the tenant's list.
///
/// Files are referred to whatever the number: only records that say what was asked lead to attachments that the server
/// filled in, and no record from before says it ([ADR 0020](../../../../../docs/adr/0020-messages-refer-to-files.md)).
pub const MACHINE_VERSION: u32 = 2;

/// What a command leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It leads to this event.
    Event(Box<v1::Event>),
    /// Nothing had to change, or it was done before: the answer is this event's (0: no event).
    Done {
        /// The event's seq.
        seq: u64,
        /// The event's time.
        time_us: TimeUs,
    },
    /// It is refused.
    Refused(Error),
    /// A fact is newer than the command: whoever decides is not the owner any more.
    FromFuture,
}

/// Where and when a command stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The log.
    pub log: &'a LogKey,
    /// The command's position.
    pub position: Position,
    /// When the command log took it.
    pub log_time_us: TimeUs,
}

/// What a part of the machine gives: the event's body, or why there is none.
type Decision = Result<event::Body, Refusal>;

/// Why there is no event.
#[derive(Debug)]
enum Refusal {
    /// Nothing has to change.
    Unchanged,
    /// The command is refused.
    Because(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

/// Decides a command. `head` is `None` while the log has no event; `facts` holds what [`Command::needs`] names.
pub fn decide(place: Place<'_>, head: Option<&HeadRow>, command: Command, facts: &Facts, rules: Rules) -> Verdict {
    if rules.future_facts && facts.are_from_future(head, &command, place.position) {
        return Verdict::FromFuture;
    }
    if let Some(verdict) = command.imported.is_none().then(|| answered_before(&command, head, facts)).flatten() {
        return verdict;
    }
    let newest_us = head.map_or(0, |head| head.time_us);
    let time_us = match imported::place(&command, head, facts, place.log_time_us) {
        imported::Placed::Not => place.log_time_us.max(newest_us),
        imported::Placed::At(time_us) => time_us,
        imported::Placed::Settled(verdict) => return verdict,
    };
    if let Err(error) = check_age(&command, time_us) {
        return Verdict::Refused(error);
    }
    if command.lacks_file {
        return Verdict::Refused(Error::not_found("file"));
    }
    let seq = head.map_or(0, |head| head.last_seq) + 1;
    let sender = command.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    let client_id = command.client_id.map(|id| id.to_string()).unwrap_or_default();
    let is_imported = command.imported.is_some();
    let erased = command.imported.is_some_and(|imported| imported.erased);
    let is_user_log = matches!(command.body, Body::User(_));
    let decision = match command.body {
        Body::Conversation(action) if erased => imported::erased_body(head, action),
        Body::Conversation(action) => {
            let context =
                conversation::Context { log: place.log, sender: command.sender, facts, now_us: time_us, is_imported };
            conversation::decide(&context, head, action)
        }
        Body::User(action) => user_log::decide(action, facts, rules),
        Body::Erase(erase) => erase::decide(head, erase, facts, is_imported),
        Body::Expire(expire) => erase::expire(head, expire, facts, is_imported),
    };
    match decision {
        Ok(body) => {
            let dropped_files = files::dropped(&body, facts);
            let (imported, body) = (is_imported, Some(body));
            let event = v1::Event { seq, sender, time_us, client_id, imported, erased, dropped_files, body };
            Verdict::Event(Box::new(event))
        }
        Err(Refusal::Unchanged) if is_imported && !is_user_log => Verdict::Refused(imported::changes_nothing(seq)),
        Err(Refusal::Unchanged) => Verdict::Done { seq: 0, time_us },
        Err(Refusal::Because(error)) => Verdict::Refused(error),
    }
}

/// The answer to a client id that was seen before.
///
/// A row that points above the head, or at an event of another client id, is what an attempt left that never
/// finished: the command was not answered and is decided now.
fn answered_before(command: &Command, head: Option<&HeadRow>, facts: &Facts) -> Option<Verdict> {
    let id = command.client_id?;
    let seen = facts.seen(&command.sender_text(), id)?;
    if seen.row.seq > head.map_or(0, |head| head.last_seq) {
        return None;
    }
    let event = facts.event(seen.row.seq)?;
    if event.row.client_id != id.to_string() || event.row.sender != *command.sender_text() {
        return None;
    }
    if seen.row.content_hash != command.content_hash {
        let error = Error::new(Code::Conflict, "client id was used for another command");
        return Some(Verdict::Refused(error));
    }
    Some(Verdict::Done { seq: seen.row.seq, time_us: seen.row.time_us })
}

/// A client id that tells its time must be young enough to be remembered still, and not of the future.
fn check_age(command: &Command, now_us: TimeUs) -> Result<(), Error> {
    const SECOND_US: u64 = 1_000_000;
    let client_id = if command.imported.is_some() { None } else { command.client_id };
    let Some(made_us) = client_id.and_then(|id| id.made_us()) else { return Ok(()) };
    let span = |seconds: u64| i64::try_from(seconds * SECOND_US).unwrap_or(i64::MAX);
    if made_us.saturating_add(span(limits::CLIENT_ID_AGE_S)) < now_us {
        return Err(Error::new(Code::FailedPrecondition, "client id is too old to be sent again"));
    }
    if made_us > now_us.saturating_add(span(limits::CLIENT_ID_AHEAD_S)) {
        return Err(Error::invalid("client id is of the future"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
