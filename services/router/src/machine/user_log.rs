//! Commands of user logs. That the user is a member and that marks lie within their conversation was checked
//! before the command was appended: it is no fact of this log.

use stonechat_errors::{Code, Error};
use stonechat_model::ConversationId;
use stonechat_proto::{
    internal::v1::{ApplyMembership, MembershipRow, UserRow, user_action},
    v1::{Joined, Left, Marked, MembershipChanged, Preferences, ProfileChanged, event},
};

use super::{Decision, Facts, Refusal};
use crate::Rules;

fn parse(conversation: &str) -> Result<ConversationId, Error> {
    ConversationId::parse(conversation).map_err(|e| Error::invalid(format!("conversation: {e}")))
}

pub(super) fn decide(action: user_action::Kind, facts: &Facts, rules: Rules) -> Decision {
    use user_action::Kind;
    if facts.user().is_some_and(|at| at.row.erased) {
        return match action {
            // What still follows from events, and what was erased already.
            Kind::ApplyMembership(_) | Kind::Erase(_) => Err(Refusal::Unchanged),
            _ => Err(Error::new(Code::FailedPrecondition, "user was erased; the id is not used again").into()),
        };
    }
    match action {
        Kind::ApplyMembership(apply) => apply_membership(apply, facts, rules),
        Kind::Mark(mark) => self::mark(mark, facts),
        Kind::HideMessage(hide) => {
            let id = parse(&hide.conversation)?;
            changed(!facts.is_hidden(&id, hide.seq), event::Body::MessageHidden(hide))
        }
        Kind::UpdateMembership(change) => {
            let id = parse(&change.conversation)?;
            let present = facts.membership(&id).and_then(|at| at.row.preferences.clone()).unwrap_or_default();
            changed(merge(present.clone(), &change) != present, event::Body::MembershipChanged(change))
        }
        Kind::UpdateProfile(change) => {
            let present = facts.user().map(|at| at.row.clone());
            let next = with_profile(present.clone().unwrap_or_default(), &change);
            changed(present.as_ref() != Some(&next), event::Body::ProfileChanged(change))
        }
        Kind::Erase(erase) => Ok(event::Body::ErasedUser(erase)),
        Kind::RevokeTokens(revoke) => Ok(event::Body::TokensRevoked(revoke)),
        Kind::CloseSessions(close) => Ok(event::Body::SessionsClosed(close)),
        Kind::SetActive(change) => {
            let is_active = facts.user().is_none_or(|at| !at.row.deactivated);
            changed(is_active != change.active, event::Body::ActivationChanged(change))
        }
    }
}

fn changed(is_changed: bool, body: event::Body) -> Decision {
    if is_changed { Ok(body) } else { Err(Refusal::Unchanged) }
}

/// A repeat of what was applied changes nothing, so that a late "joined" never undoes a "left".
fn apply_membership(apply: ApplyMembership, facts: &Facts, rules: Rules) -> Decision {
    let id = parse(&apply.conversation)?;
    let nothing = MembershipRow::default();
    let present = facts.membership(&id).map_or(&nothing, |at| &at.row);
    let is_repeat = rules.user_log_idempotence && apply.at_seq <= present.applied_seq;
    if is_repeat || apply.member == present.member {
        return Err(Refusal::Unchanged);
    }
    let ApplyMembership { conversation, kind, at_seq, member } = apply;
    Ok(match member {
        true => event::Body::Joined(Joined { conversation, kind, at_seq }),
        false => event::Body::Left(Left { conversation, at_seq }),
    })
}

fn mark(mark: Marked, facts: &Facts) -> Decision {
    let id = parse(&mark.conversation)?;
    let (read, delivered) = facts.membership(&id).map_or((0, 0), |at| (at.row.read_seq, at.row.delivered_seq));
    // What was read was received.
    let read_seq = mark.read_seq.max(read);
    let delivered_seq = mark.delivered_seq.max(delivered).max(read_seq);
    let body = event::Body::Marked(Marked { conversation: mark.conversation, read_seq, delivered_seq });
    changed(read_seq > read || delivered_seq > delivered, body)
}

/// A user's own settings of a conversation after a change.
pub(super) fn merge(present: Preferences, change: &MembershipChanged) -> Preferences {
    Preferences {
        muted: change.muted.unwrap_or(present.muted),
        pinned: change.pinned.unwrap_or(present.pinned),
        hidden: change.hidden.unwrap_or(present.hidden),
        draft: change.draft.clone().unwrap_or(present.draft),
    }
}

/// A user after a change of the profile.
pub(super) fn with_profile(mut user: UserRow, change: &ProfileChanged) -> UserRow {
    if let Some(name) = &change.name {
        user.name.clone_from(name);
    }
    if let Some(avatar) = &change.avatar {
        user.avatar.clone_from(avatar);
    }
    user
}
