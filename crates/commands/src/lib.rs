//! From what a caller asks for to a command record: every size and form checked, and what lies in other logs
//! than the command's own looked up and stamped, since the state machine sees the rows of its own log only.

use stonechat_errors::Error;
use stonechat_model::{ClientId, TenantId, UserId};
use stonechat_proto::{internal::v1::CommandRecord, v1};
use stonechat_views::Views;

/// A caller's wish.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The user who wants it; `None`: the tenant.
    pub sender: Option<UserId>,
    /// The conversation's id as the caller gave it; may be empty for create and for update_profile.
    pub conversation: String,
    /// The client id.
    pub client_id: ClientId,
    /// What is wanted.
    pub action: v1::Action,
    /// The W3C trace context; may be empty.
    pub traceparent: String,
}

/// Checks a wish and makes its record, without origin. Reads rows only for actions on the user's own log.
///
/// A direct conversation's id follows from its users; a conversation created without an id gets the client id's
/// digits as its own, so that the same wish sent again means the same conversation.
#[expect(unused_variables, clippy::unused_async, reason = "placeholder")]
pub async fn command(views: &Views, request: CommandRequest) -> Result<CommandRecord, Error> {
    Err(Error::internal())
}

/// Makes the record that moves a user's marks, after checking that the user is a member and that the marks lie
/// within the conversation.
#[expect(unused_variables, clippy::unused_async, reason = "placeholder")]
pub async fn mark(views: &Views, tenant: &TenantId, user: &UserId, mark: &v1::Mark) -> Result<CommandRecord, Error> {
    Err(Error::internal())
}
