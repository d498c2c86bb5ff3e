//! The check.

use std::collections::HashMap;

use crate::{
    ClientKey, Entry, Fault, History, NO_CONTENT, Observed, Report, files,
    order::{self, Shown},
};

/// What became of one send.
struct Send {
    conversation: u32,
    content: u64,
    /// The user who sent it.
    user: u32,
    /// The greatest seq of the conversation that the sender's device knew of when it sent.
    known: u64,
    acked: Option<u64>,
    refused: bool,
}

/// Judges a history.
///
/// A member is expected to have every event of its conversations from seq 1 on: devices begin with nothing.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    let sends = read_sends(history, &mut report);
    let shown: Vec<_> = history.devices.iter().map(|device| order::read(device, &mut report)).collect();
    let mut places: HashMap<ClientKey, (u32, u64)> = HashMap::new();
    let nothing = Shown::default();
    for (index, conversation) in (0u32..).zip(&history.conversations) {
        let members = conversation.members.as_slice();
        // A device that shows nothing of the conversation is compared with the others too.
        let all: Vec<_> = (0..history.devices.len())
            .filter(|d| members.contains(&history.devices[*d].user))
            .map(|d| (d, shown[d].get(&index).unwrap_or(&nothing)))
            .collect();
        for (d, shown) in &all {
            order::holes(shown, &conversation.name, &history.devices[*d], &mut report);
        }
        compare(history, &conversation.name, &all, &mut report);
        judge_events(history, &sends, &all, &mut places, &mut report);
        judge_strangers(history, index, members, &shown, &mut report);
    }
    judge_sends(history, &sends, &shown, &mut report);
    files::judge(history, &mut report);
    report
}

/// Reads what was sent and answered, and whether answers agree with what the sender had seen.
fn read_sends(history: &History, report: &mut Report) -> HashMap<ClientKey, Send> {
    let mut sends: HashMap<ClientKey, Send> = HashMap::new();
    for device in &history.devices {
        // What this device knows of each conversation so far, seen or answered.
        let mut known: HashMap<u32, u64> = HashMap::new();
        for entry in &device.entries {
            match *entry {
                Entry::Attempted { client, conversation, content } => {
                    let known = known.get(&conversation).copied().unwrap_or(0);
                    let send = Send { conversation, content, user: device.user, known, acked: None, refused: false };
                    // A send handed over again keeps what was known at first.
                    sends.entry(client).or_insert(send);
                }
                Entry::Acked { client, seq } => {
                    if let Some(conversation) = acked(client, seq, &device.name, &mut sends, report) {
                        raise(&mut known, conversation, seq);
                    }
                }
                Entry::Refused { client } => {
                    if let Some(send) = sends.get_mut(&client) {
                        send.refused = true;
                    }
                }
                Entry::Observed(event) => raise(&mut known, event.conversation, event.seq),
                Entry::Connected | Entry::Disconnected | Entry::Ended { .. } => {}
                Entry::Uploaded { .. } | Entry::Attached { .. } | Entry::Fetched { .. } => {}
            }
        }
    }
    sends
}

fn raise(known: &mut HashMap<u32, u64>, conversation: u32, seq: u64) {
    let place = known.entry(conversation).or_default();
    *place = seq.max(*place);
}

/// Takes an answer; gives the conversation it is about.
fn acked(
    client: ClientKey,
    seq: u64,
    device: &str,
    sends: &mut HashMap<ClientKey, Send>,
    report: &mut Report,
) -> Option<u32> {
    let Some(send) = sends.get_mut(&client) else {
        report.add(Fault::Diverged, || format!("{device} got an answer for {client:032x}, which it never sent"));
        return None;
    };
    match send.acked {
        Some(first) if first != seq => {
            report.add(Fault::Doubled, || format!("{client:032x} was answered with seq {first} and with seq {seq}"));
        }
        Some(_) => {}
        None => {
            send.acked = Some(seq);
            if seq <= send.known {
                let known = send.known;
                report.add(Fault::Reordered, || {
                    format!("{device} had seen seq {known} when it sent {client:032x}, which became seq {seq}")
                });
            }
        }
    }
    Some(send.conversation)
}

/// Compares the members' devices with each other.
fn compare(history: &History, conversation: &str, all: &[(usize, &Shown)], report: &mut Report) {
    let Some((best, longest)) = all.iter().max_by_key(|(_, shown)| (shown.last(), shown.events.len())) else { return };
    for (d, shown) in all {
        if d == best {
            continue;
        }
        let (device, other) = (&history.devices[*d].name, &history.devices[*best].name);
        if shown.last() != longest.last() {
            let (here, there) = (shown.last(), longest.last());
            report.add(Fault::Diverged, || {
                format!("{device} ended {conversation} at seq {here}, {other} at seq {there}")
            });
        }
        for event in &shown.events {
            if longest.at(event.seq).is_some_and(|there| there != event) {
                let seq = event.seq;
                report.add(Fault::Diverged, || format!("{device} and {other} differ at seq {seq} of {conversation}"));
            }
        }
    }
}

/// Every event must be something that was sent, as it was sent, at one seq only.
fn judge_events(
    history: &History,
    sends: &HashMap<ClientKey, Send>,
    all: &[(usize, &Shown)],
    places: &mut HashMap<ClientKey, (u32, u64)>,
    report: &mut Report,
) {
    for (d, shown) in all {
        let device = &history.devices[*d].name;
        for event in shown.events.iter().filter(|event| event.client != 0) {
            let place = (event.conversation, event.seq);
            match places.get_mut(&event.client) {
                None => {
                    places.insert(event.client, place);
                    judge_content(device, event, sends.get(&event.client), report);
                }
                Some(first) if *first != place => {
                    report.add(Fault::Doubled, || {
                        let (conversation, seq) = *first;
                        format!(
                            "{:032x} is at seq {seq} of conversation {conversation} and at seq {} of conversation {}",
                            event.client, event.seq, event.conversation
                        )
                    });
                    // The next device that has both is no new finding.
                    *first = place;
                }
                Some(_) => {}
            }
        }
    }
}

fn judge_content(device: &str, event: &Observed, send: Option<&Send>, report: &mut Report) {
    let seq = event.seq;
    let Some(send) = send else {
        report.add(Fault::Diverged, || format!("{device} showed {:032x} at seq {seq}: nobody sent it", event.client));
        return;
    };
    if send.refused && send.acked.is_none() {
        report.add(Fault::Diverged, || {
            format!("{device} showed {:032x} at seq {seq}: it had been refused", event.client)
        });
    }
    let as_sent = send.conversation == event.conversation
        && send.user == event.sender
        && (send.content == NO_CONTENT || send.content == event.content);
    if !as_sent {
        report.add(Fault::Diverged, || {
            format!("{device} showed {:032x} at seq {seq} otherwise than it was sent", event.client)
        });
    }
}

/// A device of somebody who is no member must have shown nothing.
fn judge_strangers(history: &History, index: u32, members: &[u32], shown: &[HashMap<u32, Shown>], report: &mut Report) {
    for (device, shown) in history.devices.iter().zip(shown) {
        if !members.contains(&device.user) && shown.get(&index).is_some_and(|shown| !shown.events.is_empty()) {
            report.add(Fault::Diverged, || {
                format!("{} showed events of conversation {index}, where its user is no member", device.name)
            });
        }
    }
}

/// Every answered send must be on every member's device at the seq of the answer.
fn judge_sends(
    history: &History,
    sends: &HashMap<ClientKey, Send>,
    shown: &[HashMap<u32, Shown>],
    report: &mut Report,
) {
    let mut devices_of: HashMap<u32, Vec<usize>> = HashMap::new();
    for (d, device) in history.devices.iter().enumerate() {
        devices_of.entry(device.user).or_default().push(d);
    }
    for (client, send) in sends {
        let Some(seq) = send.acked else {
            if send.refused {
                report.refused += 1;
            } else {
                report.unanswered += 1;
            }
            continue;
        };
        report.acked += 1;
        let members = history.conversations.get(send.conversation as usize).map_or(&[][..], |c| &c.members);
        let missing = members.iter().filter_map(|user| devices_of.get(user)).flatten().find(|d| {
            let event = shown[**d].get(&send.conversation).and_then(|shown| shown.at(seq));
            event.is_none_or(|event| event.client != *client)
        });
        if let Some(d) = missing {
            let device = &history.devices[*d].name;
            report
                .add(Fault::Lost, || format!("{client:032x} was answered with seq {seq} and is not there on {device}"));
        }
    }
}
