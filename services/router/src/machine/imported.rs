//! Commands of an imported history: each says its place in the conversation and its time.
//!
//! The seq makes an import repeatable for ever: what stands at it already is either the same, which is the answer, or
//! something else, which is an error. No client id has to be remembered for that.

use stonechat_errors::{Code, Error};
use stonechat_model::TimeUs;
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{Attachment, Edited, Event, Message, ReactionAdded, ReactionRemoved, action, event},
};

use super::{Body, Command, Decision, Facts, Verdict, conversation::Context};

/// Where a command goes.
pub(super) enum Placed {
    /// It is no part of an imported history.
    Not,
    /// Behind the newest event, at this time.
    At(TimeUs),
    /// Nowhere: this is its answer.
    Settled(Verdict),
}

/// Says where a command of an imported history goes.
pub(super) fn place(command: &Command, head: Option<&HeadRow>, facts: &Facts, log_time_us: TimeUs) -> Placed {
    let Some(imported) = &command.imported else { return Placed::Not };
    let (last_seq, newest_us) = head.map_or((0, 0), |head| (head.last_seq, head.time_us));
    if matches!(command.body, Body::User(_)) {
        return Placed::At(imported.time_us.clamp(newest_us.min(log_time_us), log_time_us).max(newest_us));
    }
    if imported.seq != 0 && imported.seq <= last_seq {
        return Placed::Settled(there_already(command, imported.seq, imported.time_us, facts));
    }
    let refused = |error| Placed::Settled(Verdict::Refused(error));
    if imported.seq != last_seq + 1 {
        let reason = format!("seq {} leaves a gap: the next one is {}", imported.seq, last_seq + 1);
        return refused(Error::new(Code::FailedPrecondition, reason));
    }
    if imported.time_us <= 0 || imported.time_us > log_time_us {
        return refused(Error::invalid("time is before 1970 or of the future"));
    }
    if imported.time_us < newest_us {
        return refused(Error::new(Code::FailedPrecondition, "time is before that of the event before it"));
    }
    Placed::At(imported.time_us)
}

fn there_already(command: &Command, seq: u64, time_us: TimeUs, facts: &Facts) -> Verdict {
    let other = || {
        let reason = format!("another event stands at seq {seq}");
        Verdict::Refused(Error::new(Code::Conflict, reason))
    };
    let Some(event) = facts.event(seq) else { return other() };
    let event = &event.row;
    // What was erased meanwhile was this, as far as anybody can tell.
    let is_same = event.time_us == time_us
        && (event.erased || event.sender == *command.sender_text())
        && is_same_body(event, &command.body);
    if is_same { Verdict::Done { seq, time_us } } else { other() }
}

/// Whether an event is what a command leads to, as far as the event tells.
fn is_same_body(event: &Event, body: &Body) -> bool {
    let Some(stands) = &event.body else { return false };
    let action = match body {
        Body::Conversation(action) => action,
        Body::Expire(_) => return matches!(stands, event::Body::MessagesExpired(_)),
        Body::Erase(_) | Body::User(_) => return matches!(stands, event::Body::UserErased(_)),
    };
    match (stands, action) {
        (event::Body::Message(stands), action::Kind::Send(content)) => event.erased || is_same_message(stands, content),
        (event::Body::Edited(stands), action::Kind::Edit(edit)) => {
            let is_same = match (&stands.content, &edit.content) {
                (Some(stands), Some(content)) => is_same_message(stands, content),
                (stands, content) => stands == content,
            };
            stands.target == edit.target && (event.erased || is_same)
        }
        (event::Body::ReactionAdded(stands), action::Kind::React(it)) => event.erased || stands == it,
        (event::Body::ReactionRemoved(stands), action::Kind::Unreact(it)) => event.erased || stands == it,
        (event::Body::Recalled(stands), action::Kind::Recall(it)) => stands == it,
        (event::Body::Pinned(stands), action::Kind::Pin(it)) => stands == it,
        (event::Body::Unpinned(stands), action::Kind::Unpin(it)) => stands == it,
        (event::Body::Created(stands), action::Kind::Create(it)) => stands.kind == it.kind,
        (event::Body::MembersAdded(_), action::Kind::AddMembers(_))
        | (event::Body::MembersRemoved(_), action::Kind::RemoveMembers(_))
        | (event::Body::MemberLeft(_), action::Kind::Leave(_))
        | (event::Body::SettingsChanged(_), action::Kind::UpdateSettings(_))
        | (event::Body::Dismissed(_), action::Kind::Dismiss(_))
        | (event::Body::Upgraded(_), action::Kind::Upgrade(_)) => true,
        (event::Body::RoleChanged(stands), action::Kind::SetRole(it)) => stands == it,
        (event::Body::MemberMuted(stands), action::Kind::MuteMember(it)) => stands == it,
        (event::Body::OwnershipTransferred(stands), action::Kind::Transfer(it)) => stands == it,
        _ => false,
    }
}

/// Whether a message is the imported one; who was erased meanwhile is mentioned no more. Files are the same by their ids:
/// what is known of them is the server's to say.
fn is_same_message(stands: &Message, content: &Message) -> bool {
    let without = |message: &Message| {
        let attachment = |it: &Attachment| Attachment { id: it.id.clone(), ..Attachment::default() };
        let attachments = message.attachments.iter().map(attachment).collect();
        Message { mentions: Vec::new(), attachments, ..message.clone() }
    };
    without(stands) == without(content) && stands.mentions.iter().all(|user| content.mentions.contains(user))
}

/// The body of an event that was erased before it was exported.
pub(super) fn erased_body(head: Option<&HeadRow>, action: action::Kind) -> Decision {
    head.ok_or_else(|| Error::not_found("conversation"))?;
    Ok(match action {
        action::Kind::Send(_) => event::Body::Message(Message::default()),
        action::Kind::Edit(it) => event::Body::Edited(Edited { target: it.target, content: None }),
        action::Kind::React(it) => {
            event::Body::ReactionAdded(ReactionAdded { target: it.target, emoji: String::new() })
        }
        action::Kind::Unreact(it) => {
            event::Body::ReactionRemoved(ReactionRemoved { target: it.target, emoji: String::new() })
        }
        _ => return Err(Error::invalid("only what somebody said can be erased").into()),
    })
}

/// Demands that an imported message is of the tenant or of somebody who is or was a member: whoever is erased later is
/// looked for where they were members.
pub(super) fn demand_known_sender(context: &Context<'_>) -> Result<(), Error> {
    match &context.sender {
        Some(sender) if context.is_imported && context.facts.member_row(sender).is_none() => {
            Err(Error::new(Code::FailedPrecondition, "sender was never a member"))
        }
        _ => Ok(()),
    }
}

/// The answer where an event of an imported history would change nothing, so that there is none.
pub(super) fn changes_nothing(seq: u64) -> Error {
    Error::new(Code::FailedPrecondition, format!("the event of seq {seq} changes nothing at its place"))
}
