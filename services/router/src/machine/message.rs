//! Commands about messages.

use stonechat_errors::{Code, Error};
use stonechat_model::limits;
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{
        ConversationKind, Edited, Message, Overlay, Pinned, ReactionAdded, ReactionRemoved, Recalled, Role, Unpinned,
        event,
    },
};

use super::{Decision, Refusal, conversation::Context, imported};

fn unknown() -> Error {
    Error::not_found("message")
}

pub(super) fn send(context: &Context<'_>, head: &HeadRow, content: Message) -> Decision {
    let audience = head.settings.as_ref().map(|settings| settings.who_may_post()).unwrap_or_default();
    context.demand_audience(audience, "only admins post here")?;
    demand_unmuted(context)?;
    imported::demand_known_sender(context)?;
    if content.reply_to > head.last_seq {
        return Err(Error::invalid("reply_to names no event").into());
    }
    Ok(event::Body::Message(content))
}

fn demand_unmuted(context: &Context<'_>) -> Result<(), Error> {
    let Some(sender) = context.sender.as_ref().filter(|_| !context.is_imported) else { return Ok(()) };
    match context.facts.member(sender) {
        Some(member) if member.muted_until_us > context.now_us => Err(Error::denied("sender is muted")),
        _ => Ok(()),
    }
}

/// The sender of the message of a seq and its overlay, if there is such a message and it was not taken back.
fn target<'a>(context: &'a Context<'_>, seq: u64) -> Result<(&'a str, Option<&'a Overlay>), Refusal> {
    let event = context.facts.event(seq).ok_or_else(unknown)?;
    if !matches!(event.row.body, Some(event::Body::Message(_))) {
        return Err(unknown().into());
    }
    let overlay = context.facts.overlay(seq).map(|at| &at.row);
    Ok((&event.row.sender, overlay))
}

fn demand_present(overlay: Option<&Overlay>) -> Result<(), Error> {
    if overlay.is_some_and(|overlay| overlay.recalled) {
        return Err(Error::new(Code::FailedPrecondition, "message was recalled"));
    }
    Ok(())
}

pub(super) fn edit(context: &Context<'_>, edit: Edited) -> Decision {
    let (sender, overlay) = target(context, edit.target)?;
    demand_present(overlay)?;
    if context.sender.is_some() && !context.is_imported && !context.is_sender(sender) {
        return Err(Error::denied("only its sender edits a message").into());
    }
    demand_unmuted(context)?;
    // What was taken back later is exported without content.
    if edit.content.is_none() && !context.is_imported {
        return Err(Error::invalid("content is missing").into());
    }
    Ok(event::Body::Edited(edit))
}

pub(super) fn recall(context: &Context<'_>, recall: &Recalled) -> Decision {
    let (sender, overlay) = target(context, recall.target)?;
    if overlay.is_some_and(|overlay| overlay.recalled) {
        return Err(Refusal::Unchanged);
    }
    if !context.is_sender(sender) {
        context.demand(Role::Admin, "only its sender and admins recall a message")?;
    }
    Ok(event::Body::Recalled(*recall))
}

fn users<'a>(overlay: Option<&'a Overlay>, emoji: &str) -> &'a [String] {
    let reactions = overlay.map_or(&[][..], |overlay| &overlay.reactions);
    reactions.iter().find(|reaction| reaction.emoji == emoji).map_or(&[], |reaction| &reaction.users)
}

pub(super) fn react(context: &Context<'_>, react: ReactionAdded) -> Decision {
    let (_, overlay) = target(context, react.target)?;
    demand_present(overlay)?;
    if users(overlay, &react.emoji).iter().any(|user| context.is_sender(user)) {
        return Err(Refusal::Unchanged);
    }
    if let Some(overlay) = overlay {
        let known = overlay.reactions.iter().any(|reaction| reaction.emoji == react.emoji);
        let count: usize = overlay.reactions.iter().map(|reaction| reaction.users.len()).sum();
        if (!known && overlay.reactions.len() >= limits::REACTION_EMOJIS) || count >= limits::REACTIONS {
            return Err(Error::new(Code::LimitExceeded, "message has too many reactions").into());
        }
    }
    Ok(event::Body::ReactionAdded(react))
}

pub(super) fn unreact(context: &Context<'_>, unreact: ReactionRemoved) -> Decision {
    let (_, overlay) = target(context, unreact.target)?;
    if !users(overlay, &unreact.emoji).iter().any(|user| context.is_sender(user)) {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::ReactionRemoved(unreact))
}

fn demand_pinner(context: &Context<'_>, head: &HeadRow) -> Result<(), Error> {
    match head.kind() {
        ConversationKind::Direct => Ok(()),
        _ => context.demand(Role::Admin, "only admins pin messages"),
    }
}

pub(super) fn pin(context: &Context<'_>, head: &HeadRow, pin: Pinned) -> Decision {
    let (_, overlay) = target(context, pin.target)?;
    demand_present(overlay)?;
    demand_pinner(context, head)?;
    if overlay.is_some_and(|overlay| overlay.pinned) {
        return Err(Refusal::Unchanged);
    }
    if head.pinned_count >= limits::PINS {
        return Err(Error::new(Code::LimitExceeded, "conversation has too many pinned messages").into());
    }
    Ok(event::Body::Pinned(pin))
}

pub(super) fn unpin(context: &Context<'_>, head: &HeadRow, unpin: Unpinned) -> Decision {
    let (_, overlay) = target(context, unpin.target)?;
    demand_pinner(context, head)?;
    if !overlay.is_some_and(|overlay| overlay.pinned) {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::Unpinned(unpin))
}
