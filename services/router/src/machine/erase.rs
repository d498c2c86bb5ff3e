//! Erasing what a user said and did in a conversation, and what was said longer ago than a tenant keeps messages for.
//!
//! Events keep their seqs and times. What they said is taken out of their rows, which are written again with the
//! erasing command's version: who replays the log finds the same order, and nothing that was said in it.

use std::collections::BTreeSet;

use stonechat_errors::{Code, Error};
use stonechat_model::{UserId, limits};
use stonechat_proto::{
    internal::v1::{EraseUser, ExpireMessages, HeadRow},
    v1::{Edited, Event, Message, MessagesExpired, Overlay, ReactionAdded, ReactionRemoved, UserErased, event},
};

use super::{Decision, Derived, Facts, Need, Refusal};

/// The facts that erasing takes.
pub(super) fn needs(user: &str, targets: &[u64], touched: &[u64]) -> Vec<Need> {
    let member = UserId::parse(user).ok().map(Need::Member);
    member.into_iter().chain(needs_of_seqs(targets)).chain(needs_of_seqs(touched)).collect()
}

/// The facts about the events of some seqs.
pub(super) fn needs_of_seqs(seqs: &[u64]) -> Vec<Need> {
    seqs.iter().flat_map(|seq| [Need::Event(*seq), Need::Overlay(*seq)]).collect()
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
    (erased.targets, erased.unpinned) = that_say_something(targets, facts, is_imported);
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

/// Decides that what was said too long ago is taken out. An imported command says what an earlier one did.
pub(super) fn expire(head: Option<&HeadRow>, expire: ExpireMessages, facts: &Facts, is_imported: bool) -> Decision {
    let head = head.ok_or_else(|| Error::not_found("conversation"))?;
    let ExpireMessages { until_seq, targets } = expire;
    let targets = distinct(targets);
    if targets.len() > limits::ERASE_EVENTS {
        return Err(Error::new(Code::LimitExceeded, format!("at most {} events at once", limits::ERASE_EVENTS)).into());
    }
    if until_seq > head.last_seq || targets.iter().any(|seq| *seq == 0 || *seq > until_seq) {
        return Err(Error::invalid("there is no such event to take out").into());
    }
    let (targets, unpinned) = that_say_something(targets, facts, is_imported);
    if targets.is_empty() && !is_imported {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::MessagesExpired(MessagesExpired { until_seq, targets, unpinned }))
}

fn distinct(seqs: Vec<u64>) -> BTreeSet<u64> {
    seqs.into_iter().collect()
}

/// Those of the seqs whose events or overlays still say something, and those of them that are pinned.
fn that_say_something(seqs: BTreeSet<u64>, facts: &Facts, is_imported: bool) -> (Vec<u64>, Vec<u64>) {
    let (mut saying, mut pinned) = (Vec::new(), Vec::new());
    for seq in seqs {
        let before = facts.event(seq).map(|at| &*at.row);
        let overlay = facts.overlay(seq).map(|at| &at.row);
        let (next, next_overlay) = (before.map(without_words), overlay.map(taken_back));
        if is_imported || next.as_ref() != before || next_overlay.as_ref() != overlay {
            saying.push(seq);
            pinned.extend(overlay.filter(|overlay| overlay.pinned).map(|_| seq));
        }
    }
    (saying, pinned)
}

/// The rows that follow: the events without what they said, and their overlays.
pub(super) fn derive(erased: &UserErased, facts: &Facts, derived: &mut Vec<Derived>) {
    derive_without_words(&erased.targets, facts, derived);
    for seq in &erased.touched {
        if let Some(event) = facts.event(*seq) {
            derived.push(Derived::Erased(without_mention(&event.row, &erased.user)));
        }
        if let Some(overlay) = facts.overlay(*seq) {
            derived.push(Derived::Overlay(without_reactions(&overlay.row, &erased.user)));
        }
    }
}

/// The rows of events that say nothing any more, with their overlays.
pub(super) fn derive_without_words(seqs: &[u64], facts: &Facts, derived: &mut Vec<Derived>) {
    for seq in seqs {
        let Some(event) = facts.event(*seq) else { continue };
        derived.push(Derived::Erased(without_words(&event.row)));
        if matches!(event.row.body, Some(event::Body::Message(_))) {
            let present = facts.overlay(*seq).map(|at| at.row.clone()).unwrap_or_default();
            derived.push(Derived::Overlay(taken_back(&Overlay { target: *seq, ..present })));
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
