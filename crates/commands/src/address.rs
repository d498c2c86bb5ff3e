//! Which log a wish is for.

use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId, LogId, UserId};
use stonechat_proto::{
    internal::v1::{CommandRecord, command_record, user_action},
    v1::{ConversationKind, Create, action},
};
use stonechat_views::Views;

use crate::{CommandRequest, conversation_id, user_record};

/// A wish for a conversation's log.
pub(crate) fn to_conversation(request: CommandRequest) -> Result<CommandRecord, Error> {
    let CommandRequest { tenant, sender, conversation, client_id, action, traceparent, asked_hash, .. } = request;
    let id = match &action.kind {
        Some(action::Kind::Create(create)) => created_id(&conversation, sender.as_ref(), create, client_id)?,
        _ => conversation_id(&conversation)?,
    };
    Ok(CommandRecord {
        tenant: tenant.to_string(),
        log: LogId::Conversation(id).to_text().to_string(),
        sender: sender.map(|sender| sender.to_string()).unwrap_or_default(),
        client_id: client_id.to_string(),
        origin: None,
        traceparent,
        asked_hash,
        body: Some(command_record::Body::Action(action)),
        ..CommandRecord::default()
    })
}

fn created_id(
    given: &str,
    sender: Option<&UserId>,
    create: &Create,
    client_id: ClientId,
) -> Result<ConversationId, Error> {
    if create.kind() == ConversationKind::Direct {
        let mut users: Vec<UserId> = sender.cloned().into_iter().collect();
        for text in &create.members {
            let user = UserId::parse(text).map_err(|e| Error::invalid(format!("members: {e}")))?;
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let [a, b] = &users[..] else { return Err(Error::invalid("a direct conversation has two users")) };
        let id = ConversationId::direct(a, b);
        if !given.is_empty() && given != id.as_str() {
            return Err(Error::invalid("a direct conversation's id follows from its users; leave it out"));
        }
        return Ok(id);
    }
    let made = client_id.to_string().replace('-', "");
    let text = if given.is_empty() { made.as_str() } else { given };
    ConversationId::parse_chosen(text).map_err(|e| Error::invalid(format!("conversation: {e}")))
}

/// A wish for the sender's own log. The state machine sees that log only, so whether the sender may know of the
/// conversation is looked up here.
pub(crate) async fn to_user_log(views: &Views, request: CommandRequest) -> Result<CommandRecord, Error> {
    let CommandRequest { tenant, sender, conversation, client_id, action, traceparent, .. } = request;
    let user = sender.ok_or_else(|| Error::invalid("only a user has settings of its own"))?;
    let kind = match action.kind {
        Some(action::Kind::UpdateProfile(change)) => user_action::Kind::UpdateProfile(change),
        Some(action::Kind::HideMessage(hide)) => {
            let id = conversation_id(&conversation)?;
            let known = views.conversation(&tenant, Some(&user), &id).await?;
            if hide.seq == 0 || hide.seq > known.last_seq {
                return Err(Error::not_found("message"));
            }
            user_action::Kind::HideMessage(stonechat_proto::v1::MessageHidden {
                conversation: id.to_string(),
                seq: hide.seq,
            })
        }
        Some(action::Kind::UpdateMembership(mut change)) => {
            let id = conversation_id(&conversation)?;
            if !views.is_member(&tenant, &user, &id).await? {
                return Err(Error::not_found("conversation"));
            }
            change.conversation = id.to_string();
            user_action::Kind::UpdateMembership(change)
        }
        _ => return Err(Error::invalid("action is not one of the user's own log")),
    };
    let record = user_record(&tenant, &user, kind);
    Ok(CommandRecord { sender: user.to_string(), client_id: client_id.to_string(), traceparent, ..record })
}
