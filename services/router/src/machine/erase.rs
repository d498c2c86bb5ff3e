//! Erasing what a user said and did in a conversation.
//!
//! Events keep their seqs and times. What they said is taken out of their rows, which are written again with the
//! erasing command's version: who replays the log finds the same order, and nothing of the user in it.

use std::collections::BTreeSet;

use stonechat_errors::{Code, Error};
use stonechat_model::{UserId, limits};
use stonechat_proto::{
    internal::v1::{EraseUser, HeadRow},
    v1::{Edited, Event, Message, Overlay, ReactionAdded, ReactionRemoved, UserErased, event},
};

use super::{Decision, Derived, Facts, Need, Refusal};

/// The facts that erasing takes.
pub(super) fn needs(user: &str, targets: &[u64], touched: &[u64]) -> Vec<Need> {
    let seqs = targets.iter().chain(touched).flat_map(|seq| [Need::Event(*seq), Need::Overlay(*seq)]);
    UserId::parse(user).ok().map(Need::Member).into_iter().chain(seqs).collect()
}

/// Decides the command. An imported one says what an earlier one did, and is taken as it is.
pub(super) fn decide(head: Option<&HeadRow>, erase: EraseUser, facts: &Facts, is_imported: bool) -> Decision {
    let head = head.ok_or_else(|| Error::not_found("conversation"))?;
    let EraseUser { user, targets, touched } = erase;
    let user = UserId::parse(&user).map_err(|e| Error::invalid(format!("user: {e}")))?;
    let (targets, touched): (BTreeSet<u64>, BTreeSet<u64>) = (distinct(targets), distinct(touched));
    if targets.len() + touched.len() > limits::ERASE_EVENTS {
        return Err(Error::new(Code::LimitExceeded, format!("at most {} events at once", limits::ERASE_EVENTS)).into());
    }
    if targets.iter().chain(&touched).any(|seq| *seq == 0 || *seq > head.last_seq) {
        return Err(Error::invalid("there is no such event to erase").into());
    }
    let left = facts.member(&user).is_some();
    let mut erased = UserErased { user: user.to_string(), left, ..UserErased::default() };
    for seq in targets {
        let before = facts.event(seq).map(|at| &*at.row);
        let overlay = facts.overlay(seq).map(|at| &at.row);
        let (next, next_overlay) = (before.map(without_words), overlay.map(taken_back));
        if is_imported || next.as_ref() != before || next_overlay.as_ref() != overlay {
            erased.targets.push(seq);
            if overlay.is_some_and(|overlay| overlay.pinned) {
                erased.unpinned.push(seq);
            }
        }
    }
    for seq in touched {
        let before = facts.event(seq).map(|at| &*at.row);
        let overlay = facts.overlay(seq).map(|at| &at.row);
        let next = before.map(|event| without_mention(event, &erased.user));
        let next_overlay = overlay.map(|overlay| without_reactions(overlay, &erased.user));
        if is_imported || next.as_ref() != before || next_overlay.as_ref() != overlay {
            erased.touched.push(seq);
        }
    }
    if !left && erased.targets.is_empty() && erased.touched.is_empty() && !is_imported {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::UserErased(erased))
}

fn distinct(seqs: Vec<u64>) -> BTreeSet<u64> {
    seqs.into_iter().collect()
}

/// The rows that follow: the events without what they said, and their overlays.
pub(super) fn derive(erased: &UserErased, facts: &Facts, derived: &mut Vec<Derived>) {
    for seq in &erased.targets {
        let Some(event) = facts.event(*seq) else { continue };
        derived.push(Derived::Erased(without_words(&event.row)));
        if matches!(event.row.body, Some(event::Body::Message(_))) {
            let present = facts.overlay(*seq).map(|at| at.row.clone()).unwrap_or_default();
            derived.push(Derived::Overlay(taken_back(&Overlay { target: *seq, ..present })));
        }
    }
    for seq in &erased.touched {
        if let Some(event) = facts.event(*seq) {
            derived.push(Derived::Erased(without_mention(&event.row, &erased.user)));
        }
        if let Some(overlay) = facts.overlay(*seq) {
            derived.push(Derived::Overlay(without_reactions(&overlay.row, &erased.user)));
        }
    }
}

/// An event that says nothing and has no sender. Only what somebody said or felt is taken out.
pub(super) fn without_words(event: &Event) -> Event {
    let body = match &event.body {
        Some(event::Body::Message(_)) => event::Body::Message(Message::default()),
        Some(event::Body::Edited(it)) => event::Body::Edited(Edited { target: it.target, content: None }),
        Some(event::Body::ReactionAdded(it)) => {
            event::Body::ReactionAdded(ReactionAdded { target: it.target, emoji: String::new() })
        }
        Some(event::Body::ReactionRemoved(it)) => {
            event::Body::ReactionRemoved(ReactionRemoved { target: it.target, emoji: String::new() })
        }
        _ => return event.clone(),
    };
    let Event { seq, time_us, imported, .. } = *event;
    Event { seq, time_us, imported, erased: true, body: Some(body), ..Event::default() }
}

fn without_mention(event: &Event, user: &str) -> Event {
    let mut event = event.clone();
    let content = match &mut event.body {
        Some(event::Body::Message(message)) => Some(message),
        Some(event::Body::Edited(it)) => it.content.as_mut(),
        _ => None,
    };
    if let Some(content) = content {
        content.mentions.retain(|mentioned| mentioned != user);
    }
    event
}

/// The overlay of a message that was erased.
fn taken_back(overlay: &Overlay) -> Overlay {
    Overlay { target: overlay.target, recalled: true, erased: true, ..Overlay::default() }
}

fn without_reactions(overlay: &Overlay, user: &str) -> Overlay {
    let mut overlay = overlay.clone();
    for reaction in &mut overlay.reactions {
        reaction.users.retain(|reacted| reacted != user);
    }
    overlay.reactions.retain(|reaction| !reaction.users.is_empty());
    if let Some(content) = &mut overlay.content {
        content.mentions.retain(|mentioned| mentioned != user);
    }
    overlay
}
