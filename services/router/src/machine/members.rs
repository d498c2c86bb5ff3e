//! Commands about members.

use std::collections::BTreeSet;

use stonechat_errors::{Code, Error};
use stonechat_model::{UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow},
    v1::{
        AddMembers, ConversationKind, MemberEntry, MemberLeft, MemberMuted, MembersAdded, MembersRemoved,
        OwnershipTransferred, RemoveMembers, Role, RoleChanged, event,
    },
};

use super::{
    Decision, Refusal,
    conversation::{Context, demand_group},
};

fn parse(user: &str) -> Result<UserId, Error> {
    UserId::parse(user).map_err(|e| Error::invalid(format!("user: {e}")))
}

/// The users, each once, in the order of their ids.
fn parse_all(users: &[String]) -> Result<BTreeSet<UserId>, Error> {
    if users.len() > limits::MEMBERS_PER_COMMAND {
        let reason = format!("at most {} users at once", limits::MEMBERS_PER_COMMAND);
        return Err(Error::new(Code::LimitExceeded, reason));
    }
    users.iter().map(|user| parse(user)).collect()
}

fn member(context: &Context<'_>, user: &str) -> Result<MemberRow, Error> {
    let user = parse(user)?;
    context.facts.member(&user).copied().ok_or_else(|| Error::not_found("member"))
}

pub(super) fn add(context: &Context<'_>, head: &HeadRow, add: AddMembers) -> Decision {
    demand_group(head)?;
    let audience = head.settings.as_ref().map(|settings| settings.who_may_add()).unwrap_or_default();
    context.demand_audience(audience, "only admins add members")?;
    let role = match add.role() {
        Role::Unspecified | Role::Member => Role::Member,
        Role::Admin => {
            context.demand(Role::Owner, "only the owner names admins")?;
            Role::Admin
        }
        Role::Owner => return Err(Error::invalid("an owner is made by transfer").into()),
    };
    let users = parse_all(&add.users)?;
    let new: Vec<_> = users.into_iter().filter(|user| context.facts.member(user).is_none()).collect();
    if new.is_empty() {
        return Err(Refusal::Unchanged);
    }
    let count = head.member_count.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
    let (most, reason) = match head.kind() {
        ConversationKind::Channel => (limits::CHANNEL_MEMBERS, "channel is full"),
        _ => (limits::GROUP_MEMBERS, "group is full; upgrade it to a channel"),
    };
    if count > most {
        return Err(Error::new(Code::LimitExceeded, reason).into());
    }
    let entry = |user: UserId| MemberEntry { user: user.to_string(), role: role.into() };
    Ok(event::Body::MembersAdded(MembersAdded { members: new.into_iter().map(entry).collect() }))
}

pub(super) fn remove(context: &Context<'_>, head: &HeadRow, remove: RemoveMembers) -> Decision {
    demand_group(head)?;
    context.demand(Role::Admin, "only admins remove members")?;
    let role = context.role()?;
    let mut gone = Vec::new();
    for user in parse_all(&remove.users)? {
        let Some(member) = context.facts.member(&user) else { continue };
        if context.is_sender(user.as_str()) {
            return Err(Error::invalid("use leave to go oneself").into());
        }
        if member.role() == Role::Owner || member.role() >= role {
            return Err(Error::denied("only somebody of a lower role can be removed").into());
        }
        gone.push(user.to_string());
    }
    if gone.is_empty() {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::MembersRemoved(MembersRemoved { users: gone }))
}

pub(super) fn leave(context: &Context<'_>, head: &HeadRow) -> Decision {
    demand_group(head)?;
    if context.sender.is_none() {
        return Err(Error::invalid("the tenant is no member").into());
    }
    if context.own_role()? == Role::Owner && head.member_count > 1 {
        return Err(Error::new(Code::FailedPrecondition, "the owner must transfer the conversation first").into());
    }
    Ok(event::Body::MemberLeft(MemberLeft {}))
}

pub(super) fn set_role(context: &Context<'_>, head: &HeadRow, change: RoleChanged) -> Decision {
    demand_group(head)?;
    context.demand(Role::Owner, "only the owner changes roles")?;
    if !matches!(change.role(), Role::Member | Role::Admin) {
        return Err(Error::invalid("role must be member or admin").into());
    }
    let member = member(context, &change.user)?;
    if member.role() == Role::Owner {
        return Err(Error::new(Code::FailedPrecondition, "the owner's role changes by transfer").into());
    }
    if member.role() == change.role() {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::RoleChanged(change))
}

pub(super) fn mute(context: &Context<'_>, head: &HeadRow, mute: MemberMuted) -> Decision {
    demand_group(head)?;
    context.demand(Role::Admin, "only admins mute members")?;
    if mute.until_us < 0 {
        return Err(Error::invalid("until must not be negative").into());
    }
    let member = member(context, &mute.user)?;
    if member.role() == Role::Owner || member.role() >= context.role()? {
        return Err(Error::denied("only somebody of a lower role can be muted").into());
    }
    if member.muted_until_us == mute.until_us {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::MemberMuted(mute))
}

pub(super) fn transfer(context: &Context<'_>, head: &HeadRow, transfer: OwnershipTransferred) -> Decision {
    demand_group(head)?;
    context.demand(Role::Owner, "only the owner transfers")?;
    if member(context, &transfer.to)?.role() == Role::Owner {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::OwnershipTransferred(transfer))
}
