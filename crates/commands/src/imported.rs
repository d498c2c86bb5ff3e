//! From an event of an imported history to the command that leads to it.

use stonechat_errors::Error;
use stonechat_model::{ClientId, LogId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{CommandRecord, EraseUser, ExpireMessages, Imported, command_record},
    v1::{
        Action, AddMembers, Create, Created, Dismiss, Event, Leave, MembersAdded, MessagesExpired, RemoveMembers, Role,
        Upgrade, action, event,
    },
};

use stonechat_views::Views;

use crate::{attach, check, conversation_id};

/// Makes the record that brings an event of a conversation in. What stands in the event is checked like what a caller
/// wants; only a message may say nothing, since what was taken back is exported so.
///
/// The files of attachments must be there: what is shown of them is taken from the rows.
pub async fn imported_event(
    views: &Views,
    tenant: &TenantId,
    conversation: &str,
    event: Event,
) -> Result<CommandRecord, Error> {
    let mut record = command_of(tenant, conversation, event)?;
    attach::fill(views, tenant, None, &mut record).await?;
    Ok(record)
}

fn command_of(tenant: &TenantId, conversation: &str, event: Event) -> Result<CommandRecord, Error> {
    let log = LogId::Conversation(conversation_id(conversation)?);
    let Event { seq, sender, time_us, client_id, erased, body, .. } = event;
    if !sender.is_empty() {
        UserId::parse(&sender).map_err(|e| Error::invalid(format!("sender: {e}")))?;
    }
    if !client_id.is_empty() {
        ClientId::parse(&client_id).map_err(|e| Error::invalid(e.to_string()))?;
    }
    let body = match body.ok_or_else(|| Error::invalid("event has no type"))? {
        event::Body::UserErased(it) => {
            UserId::parse(&it.user).map_err(|e| Error::invalid(format!("user: {e}")))?;
            let (user, targets, touched) = (it.user, it.targets, it.touched);
            command_record::Body::EraseUser(EraseUser { user, targets, touched })
        }
        event::Body::MessagesExpired(it) => {
            let MessagesExpired { until_seq, targets, .. } = it;
            command_record::Body::ExpireMessages(ExpireMessages { until_seq, targets })
        }
        body => {
            let kind = action_of(body)?;
            check_form(&kind, erased)?;
            command_record::Body::Action(Action { kind: Some(kind) })
        }
    };
    Ok(CommandRecord {
        tenant: tenant.to_string(),
        log: log.to_text().to_string(),
        sender,
        client_id,
        imported: Some(Imported { seq, time_us, erased }),
        body: Some(body),
        ..CommandRecord::default()
    })
}

fn check_form(kind: &action::Kind, erased: bool) -> Result<(), Error> {
    match kind {
        action::Kind::Send(content) => check::message(content),
        action::Kind::Edit(edit) => match &edit.content {
            Some(content) => check::message(content),
            // What was taken back or erased is exported without content.
            None => Ok(()),
        },
        action::Kind::React(_) | action::Kind::Unreact(_) if erased => Ok(()),
        kind => check::action(kind),
    }
}

/// The command that leads to an event.
fn action_of(body: event::Body) -> Result<action::Kind, Error> {
    use action::Kind;
    Ok(match body {
        event::Body::Message(it) => Kind::Send(it),
        event::Body::Edited(it) => Kind::Edit(it),
        event::Body::Recalled(it) => Kind::Recall(it),
        event::Body::ReactionAdded(it) => Kind::React(it),
        event::Body::ReactionRemoved(it) => Kind::Unreact(it),
        event::Body::Pinned(it) => Kind::Pin(it),
        event::Body::Unpinned(it) => Kind::Unpin(it),
        event::Body::Created(it) => Kind::Create(create_of(it)),
        event::Body::MembersAdded(it) => Kind::AddMembers(add_of(it)?),
        event::Body::MembersRemoved(it) => Kind::RemoveMembers(RemoveMembers { users: it.users }),
        event::Body::MemberLeft(_) => Kind::Leave(Leave {}),
        event::Body::RoleChanged(it) => Kind::SetRole(it),
        event::Body::MemberMuted(it) => Kind::MuteMember(it),
        event::Body::SettingsChanged(it) => Kind::UpdateSettings(it),
        event::Body::OwnershipTransferred(it) => Kind::Transfer(it),
        event::Body::Dismissed(_) => Kind::Dismiss(Dismiss {}),
        event::Body::Upgraded(_) => Kind::Upgrade(Upgrade {}),
        event::Body::UserErased(_)
        | event::Body::MessagesExpired(_)
        | event::Body::Joined(_)
        | event::Body::Left(_)
        | event::Body::Marked(_)
        | event::Body::MessageHidden(_)
        | event::Body::MembershipChanged(_)
        | event::Body::ProfileChanged(_)
        | event::Body::TokensRevoked(_)
        | event::Body::SessionsClosed(_)
        | event::Body::ActivationChanged(_)
        | event::Body::ErasedUser(_) => return Err(Error::invalid("event is none of a conversation")),
    })
}

/// The first member becomes the owner, as in a conversation that is created.
fn create_of(created: Created) -> Create {
    let mut members = created.members;
    // The sort is stable: the others keep their order.
    members.sort_by_key(|entry| entry.role() != Role::Owner);
    let members = members.into_iter().map(|entry| entry.user).collect();
    Create { kind: created.kind, members, settings: created.settings }
}

fn add_of(added: MembersAdded) -> Result<AddMembers, Error> {
    let role = added.members.first().map_or(Role::Member, |entry| entry.role());
    if added.members.iter().any(|entry| entry.role() != role) {
        return Err(Error::invalid("members added at once have one role"));
    }
    let users = added.members.into_iter().map(|entry| entry.user).collect();
    Ok(AddMembers { users, role: role.into() })
}

#[cfg(test)]
mod tests {
    use stonechat_proto::v1::{Edited, Joined, MemberEntry, Message, ReactionAdded};

    use super::*;

    fn code(event: Event) -> &'static str {
        let tenant = TenantId::parse("acme").unwrap();
        command_of(&tenant, "team", event).err().map_or("ok", |error| error.code.as_str())
    }

    fn event(body: event::Body) -> Event {
        Event { seq: 2, sender: "alice".to_owned(), time_us: 1, body: Some(body), ..Event::default() }
    }

    #[test]
    fn an_event_of_a_conversation_becomes_the_command_that_leads_to_it() {
        assert_eq!(code(event(event::Body::Message(Message { text: "hi".to_owned(), ..Message::default() }))), "ok");
        assert_eq!(code(event(event::Body::Message(Message::default()))), "ok");
        assert_eq!(code(event(event::Body::Edited(Edited { target: 1, content: None }))), "ok");
        let created = Created {
            kind: stonechat_proto::v1::ConversationKind::Group.into(),
            members: vec![
                MemberEntry { user: "bob".to_owned(), role: Role::Member.into() },
                MemberEntry { user: "alice".to_owned(), role: Role::Owner.into() },
            ],
            settings: None,
        };
        assert_eq!(create_of(created.clone()).members, ["alice", "bob"]);
        assert_eq!(code(event(event::Body::Created(created))), "ok");
    }

    #[test]
    fn what_cannot_be_an_event_of_a_conversation_is_refused() {
        assert_eq!(code(Event { body: None, ..event(event::Body::Message(Message::default())) }), "invalid_argument");
        assert_eq!(code(event(event::Body::Joined(Joined::default()))), "invalid_argument");
        let sender = "not an id".to_owned();
        assert_eq!(code(Event { sender, ..event(event::Body::Message(Message::default())) }), "invalid_argument");
        let text = "a".repeat(stonechat_model::limits::TEXT_BYTES + 1);
        assert_eq!(code(event(event::Body::Message(Message { text, ..Message::default() }))), "too_large");
        let react = ReactionAdded { target: 1, emoji: String::new() };
        assert_eq!(code(event(event::Body::ReactionAdded(react.clone()))), "invalid_argument");
        assert_eq!(code(Event { erased: true, ..event(event::Body::ReactionAdded(react)) }), "ok");
    }
}
