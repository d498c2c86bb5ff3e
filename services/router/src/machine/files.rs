//! Which files messages refer to.
//!
//! A message refers to the files that it shows now: those it was sent with or, once it was edited, those of the edit. The
//! event that ends this for a file says so, since what a message showed before cannot be had from rows that the event
//! itself has changed.

use std::collections::BTreeSet;

use stonechat_model::FileId;
use stonechat_proto::{
    internal::v1::FileRefRow,
    v1::{DroppedFile, Event, Message, event},
};

use super::{Derived, Facts};

/// The files that a message of this content refers to, each once. What was not filled in by the server is none.
fn files_of(content: Option<&Message>) -> BTreeSet<&str> {
    let attachments = content.map_or(&[][..], |content| &content.attachments);
    attachments.iter().filter(|it| !it.url.is_empty()).map(|it| it.id.as_str()).collect()
}

/// The files that the message of a seq refers to before anything else happens.
fn present(seq: u64, facts: &Facts) -> BTreeSet<&str> {
    let overlay = facts.overlay(seq).map(|at| &at.row);
    if overlay.is_some_and(|overlay| overlay.recalled) {
        return BTreeSet::new();
    }
    let sent = facts.event(seq).and_then(|at| match &at.row.body {
        Some(event::Body::Message(message)) => Some(message),
        _ => None,
    });
    // What is no message has no overlay with a content.
    files_of(overlay.and_then(|overlay| overlay.content.as_ref()).or(sent))
}

/// The files that messages no longer refer to by what is about to happen.
pub(super) fn dropped(body: &event::Body, facts: &Facts) -> Vec<DroppedFile> {
    let (targets, kept) = match body {
        event::Body::Edited(it) => (std::slice::from_ref(&it.target), files_of(it.content.as_ref())),
        event::Body::Recalled(it) => (std::slice::from_ref(&it.target), BTreeSet::new()),
        event::Body::UserErased(it) => (&it.targets[..], BTreeSet::new()),
        event::Body::MessagesExpired(it) => (&it.targets[..], BTreeSet::new()),
        _ => return Vec::new(),
    };
    let of = |seq: &u64| {
        let seq = *seq;
        let gone = present(seq, facts).into_iter().filter(|file| !kept.contains(file));
        gone.map(move |file| DroppedFile { seq, file: file.to_owned() }).collect::<Vec<_>>()
    };
    targets.iter().flat_map(of).collect()
}

/// The rows that follow from an event.
pub(super) fn derive(event: &Event, derived: &mut Vec<Derived>) {
    let (seq, content) = match &event.body {
        Some(event::Body::Message(message)) => (event.seq, Some(message)),
        Some(event::Body::Edited(it)) => (it.target, it.content.as_ref()),
        _ => (event.seq, None),
    };
    let row = FileRefRow { removed: false, sender: event.sender.clone() };
    let added = files_of(content).into_iter().map(|file| (file, seq, row.clone()));
    let gone = FileRefRow { removed: true, sender: String::new() };
    let dropped = event.dropped_files.iter().map(|it| (it.file.as_str(), it.seq, gone.clone()));
    let rows = added.chain(dropped);
    // An id that is none was never filled in by the server.
    derived.extend(rows.filter_map(|(file, seq, row)| Some(Derived::FileRef(FileId::parse(file).ok()?, seq, row))));
}
