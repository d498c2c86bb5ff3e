//! Whether the files that messages refer to are there.

use std::collections::HashMap;

use crate::{Entry, Fault, FileKey, History, NO_CONTENT, Report};

/// Every file that a device was shown must be one that was uploaded, and that device must have got its bytes.
pub fn judge(history: &History, report: &mut Report) {
    let entries = history.devices.iter().flat_map(|device| &device.entries);
    let uploaded: HashMap<FileKey, u64> = entries
        .filter_map(|entry| match *entry {
            Entry::Uploaded { file, content } => Some((file, content)),
            _ => None,
        })
        .collect();
    report.files = uploaded.len() as u64;
    for device in &history.devices {
        let fetched: HashMap<FileKey, u64> = device
            .entries
            .iter()
            .filter_map(|entry| match *entry {
                Entry::Fetched { file, content } => Some((file, content)),
                _ => None,
            })
            .collect();
        for entry in &device.entries {
            let Entry::Attached { conversation, seq, file } = *entry else { continue };
            report.attached += 1;
            let got = fetched.get(&file).copied().unwrap_or(NO_CONTENT);
            let what = match uploaded.get(&file) {
                Some(content) if *content == got && got != NO_CONTENT => continue,
                Some(_) if got == NO_CONTENT => "cannot be fetched",
                Some(_) => "has other bytes than were uploaded",
                None => "was uploaded by nobody",
            };
            report.add(Fault::Missing, || {
                let (name, place) = (&device.name, format!("seq {seq} of conversation {conversation}"));
                format!("file {file:032x} at {place} on {name} {what}")
            });
        }
    }
}
