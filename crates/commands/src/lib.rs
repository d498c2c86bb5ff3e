//! From what a caller asks for to a command record: every size and form checked, and what lies in other logs
//! than the command's own looked up and stamped, since the state machine sees the rows of its own log only.

mod address;
mod attach;
mod check;
mod imported;
mod line;
mod text;

use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId, LogId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{CommandRecord, UserAction, command_record, user_action},
    v1,
};
use stonechat_views::Views;

pub use check::action as check_action;
pub use imported::imported_event;
pub use line::{ImportedSide, imported_item, imported_user};
pub use text::{check_body, check_depth, check_plain};

/// A caller's wish.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The user who wants it; `None`: the tenant.
    pub sender: Option<UserId>,
    /// Whether the tenant itself asks, in its own name or in a user's: it may use every file of its own.
    pub is_by_tenant: bool,
    /// The hash of the action as its sender asked for it, where a hook may have changed it since; 0: as it is.
    pub asked_hash: u64,
    /// The conversation's id as the caller gave it; may be empty for create and for update_profile.
    pub conversation: String,
    /// The client id.
    pub client_id: ClientId,
    /// What is wanted.
    pub action: v1::Action,
    /// The W3C trace context; may be empty.
    pub traceparent: String,
}

/// Checks a wish and makes its record, without origin. Reads rows only for actions on the user's own log and for messages
/// with attachments.
///
/// A direct conversation's id follows from its users; a conversation created without an id gets the client id's
/// digits as its own, so that the same wish sent again means the same conversation. A group that the tenant
/// creates belongs to the first of its members.
pub async fn command(views: &Views, request: CommandRequest) -> Result<CommandRecord, Error> {
    let kind = request.action.kind.as_ref().ok_or_else(|| Error::invalid("action is missing"))?;
    check::action(kind)?;
    match kind {
        v1::action::Kind::HideMessage(_)
        | v1::action::Kind::UpdateMembership(_)
        | v1::action::Kind::UpdateProfile(_) => address::to_user_log(views, request).await,
        _ => {
            let tenant = request.tenant.clone();
            let reader = request.sender.clone().filter(|_| !request.is_by_tenant);
            let mut record = address::to_conversation(request)?;
            attach::fill(views, &tenant, reader.as_ref(), &mut record).await?;
            Ok(record)
        }
    }
}

/// Makes the record that moves a user's marks, after checking that the user is a member and that the marks lie
/// within the conversation.
pub async fn mark(views: &Views, tenant: &TenantId, user: &UserId, mark: &v1::Mark) -> Result<CommandRecord, Error> {
    let id = conversation_id(&mark.conversation)?;
    let conversation = views.conversation(tenant, Some(user), &id).await?;
    if mark.read_seq.max(mark.delivered_seq) > conversation.last_seq {
        return Err(Error::invalid("mark is beyond the conversation's newest event"));
    }
    let marked = v1::Marked {
        conversation: id.to_string(),
        read_seq: mark.read_seq,
        delivered_seq: mark.delivered_seq.max(mark.read_seq),
    };
    Ok(user_record(tenant, user, user_action::Kind::Mark(marked)))
}

/// Makes a record for a user's log, without sender, client id and origin.
pub fn user_record(tenant: &TenantId, user: &UserId, kind: user_action::Kind) -> CommandRecord {
    CommandRecord {
        tenant: tenant.to_string(),
        log: LogId::User(user.clone()).to_text().to_string(),
        body: Some(command_record::Body::UserAction(UserAction { kind: Some(kind) })),
        ..CommandRecord::default()
    }
}

fn conversation_id(text: &str) -> Result<ConversationId, Error> {
    ConversationId::parse(text).map_err(|e| Error::invalid(format!("conversation: {e}")))
}
