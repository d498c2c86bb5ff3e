//! A small model of which files messages refer to: what is shown now is referred to, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use stonechat_proto::{
    internal::v1::FileRefRow,
    v1::{Event, Message, event::Body},
};

/// The files of a conversation's messages.
#[derive(Debug, Default)]
pub struct Files {
    /// References by message and file, and the version of the row.
    pub refs: BTreeMap<(u64, String), (FileRefRow, u64)>,
    /// What each message shows now.
    shown: BTreeMap<u64, BTreeSet<String>>,
}

impl Files {
    /// Takes the next event, the one of a position. Says what is wrong with it.
    pub fn take(&mut self, event: &Event, position: u64) -> Result<(), String> {
        let (target, now) = match &event.body {
            Some(Body::Message(message)) => (event.seq, files_of(event, message)?),
            Some(Body::Edited(edited)) => match &edited.content {
                Some(content) => (edited.target, files_of(event, content)?),
                None => return Err(format!("seq {}: edited to nothing", event.seq)),
            },
            Some(Body::Recalled(recalled)) => (recalled.target, BTreeSet::new()),
            _ if event.dropped_files.is_empty() => return Ok(()),
            _ => return Err(format!("seq {}: drops files", event.seq)),
        };
        let before = self.shown.insert(target, now.clone()).unwrap_or_default();
        let gone: BTreeSet<String> = before.difference(&now).cloned().collect();
        let said: BTreeSet<String> = event.dropped_files.iter().map(|it| it.file.clone()).collect();
        if said != gone || event.dropped_files.iter().any(|it| it.seq != target) {
            return Err(format!("seq {}: drops {said:?} instead of {gone:?}", event.seq));
        }
        for file in now {
            let row = FileRefRow { removed: false, sender: event.sender.clone() };
            self.refs.insert((target, file), (row, position));
        }
        for file in gone {
            let row = FileRefRow { removed: true, sender: String::new() };
            self.refs.insert((target, file), (row, position));
        }
        Ok(())
    }
}

/// The files of a content, all of them filled in.
fn files_of(event: &Event, content: &Message) -> Result<BTreeSet<String>, String> {
    if let Some(bare) = content.attachments.iter().find(|it| it.url.is_empty() || it.name.is_empty()) {
        return Err(format!("seq {}: {} is shown without what is known of it", event.seq, bare.id));
    }
    Ok(content.attachments.iter().map(|it| it.id.clone()).collect())
}
