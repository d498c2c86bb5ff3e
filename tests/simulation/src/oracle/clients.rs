//! What devices saw, against what is durable.

use stonechat_proto::v1::{Edited, Event, Message, event::Body};

use super::truth::Truth;
use crate::client_node::{Device, Seen};

/// Says what devices saw that they should not have, and what they did not see.
pub fn check(devices: &[Device], truth: &Truth) -> Vec<String> {
    let mut faults = Vec::new();
    for device in devices {
        let seen = device.seen.lock();
        let mut told = Vec::new();
        check_device(device.user.as_str(), &seen, truth, &mut told);
        faults.extend(told.into_iter().map(|what| format!("device {}: {what}", device.name)));
    }
    faults
}

fn check_device(user: &str, seen: &Seen, truth: &Truth, faults: &mut Vec<String>) {
    let no_events = Vec::new();
    for (id, log) in &truth.conversations {
        let events = seen.events.get(id).unwrap_or(&no_events);
        let is_recalled = |seq: u64| log.state.overlays.get(&seq).is_some_and(|(overlay, _)| overlay.recalled);
        let is_edited = |seq: u64| log.state.overlays.get(&seq).is_some_and(|(overlay, _)| overlay.edited_us > 0);
        if let Err(what) = is_beginning(events, &log.events, is_recalled, is_edited) {
            faults.push(format!("conversation {id}: {what}"));
        }
        let core = seen.logs.get(id);
        if log.state.has_member(user) && events.len() != log.events.len() {
            let (seen, all) = (events.len(), log.events.len());
            faults.push(format!("conversation {id}: saw {seen} of {all} events; its core: {core:?}"));
        }
        let changes = log.state.changes.get(user).map(Vec::as_slice).unwrap_or_default();
        for (event, came_us) in events {
            if let Some(what) = is_leaked(event, *came_us, changes, &log.events) {
                faults.push(format!("conversation {id}: {what}"));
            }
        }
    }
    for id in seen.events.keys().filter(|id| !id.is_empty() && !truth.conversations.contains_key(*id)) {
        faults.push(format!("saw conversation {id}, which is not"));
    }
    let of_user = truth.users.get(user).map(|log| log.events.as_slice()).unwrap_or_default();
    let events = seen.events.get("").unwrap_or(&no_events);
    if let Err(what) = is_beginning(events, of_user, |_| false, |_| false) {
        faults.push(format!("user log: {what}"));
    }
    if events.len() != of_user.len() {
        faults.push(format!("user log: saw {} of {} events", events.len(), of_user.len()));
    }
}

/// Whether these are the first events of a log, each once and in order. Of a message that was recalled, what it
/// said may be missing; of one that was edited, files that it no longer shows.
fn is_beginning(
    seen: &[(Event, i64)],
    all: &[Event],
    is_recalled: impl Fn(u64) -> bool,
    is_edited: impl Fn(u64) -> bool,
) -> Result<(), String> {
    for (index, (event, _)) in seen.iter().enumerate() {
        match all.get(index) {
            Some(truth) if truth == event => {}
            Some(truth) if is_recalled(said_of(truth)) && *event == without_content(truth) => {}
            Some(truth) if is_edited(said_of(truth)) && is_trimmed(event, truth) => {}
            Some(truth) => return Err(format!("saw {event:?}, the log has {truth:?}")),
            None => return Err(format!("saw {event:?}, the log ends before")),
        }
    }
    Ok(())
}

/// The message whose words the event holds.
fn said_of(event: &Event) -> u64 {
    match &event.body {
        Some(Body::Edited(it)) => it.target,
        _ => event.seq,
    }
}

fn without_content(event: &Event) -> Event {
    let body = match &event.body {
        Some(Body::Message(_)) => Some(Body::Message(Message::default())),
        Some(Body::Edited(it)) => Some(Body::Edited(Edited { target: it.target, content: None })),
        other => other.clone(),
    };
    Event { body, ..event.clone() }
}

/// Whether this is the event but for some of the files that it shows.
fn is_trimmed(seen: &Event, truth: &Event) -> bool {
    let mut rest = truth.clone();
    let (Some(shown), Some(all)) = (content_of(&mut seen.clone()).cloned(), content_of(&mut rest)) else {
        return false;
    };
    all.attachments.retain(|it| shown.attachments.contains(it));
    *seen == rest
}

fn content_of(event: &mut Event) -> Option<&mut Message> {
    match &mut event.body {
        Some(Body::Message(message)) => Some(message),
        Some(Body::Edited(edited)) => edited.content.as_mut(),
        _ => None,
    }
}

/// Whether an event came to somebody who may not have it: it happened after they left, and they were not back
/// when it came.
fn is_leaked(event: &Event, came_us: i64, changes: &[(u64, bool)], all: &[Event]) -> Option<String> {
    let before = changes.iter().rev().find(|(seq, _)| *seq < event.seq);
    match before {
        None => {
            let comes = changes.first().map(|(seq, _)| *seq);
            let is_member_later = comes.is_some_and(|seq| time_of(all, seq) <= came_us);
            (!is_member_later).then(|| format!("seq {} came to somebody who was never a member", event.seq))
        }
        Some((_, true)) => None,
        Some((left, false)) => {
            let back = changes.iter().find(|(seq, joined)| *joined && *seq >= event.seq);
            let is_back = back.is_some_and(|(seq, _)| time_of(all, *seq) <= came_us);
            let late_us = came_us - time_of(all, *left);
            (!is_back).then(|| format!("seq {} came {late_us} us after the user left by {left}", event.seq))
        }
    }
}

fn time_of(all: &[Event], seq: u64) -> i64 {
    let index = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
    all.get(index).map_or(i64::MAX, |event| event.time_us)
}
