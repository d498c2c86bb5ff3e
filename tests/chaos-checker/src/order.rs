//! What one device showed of one conversation, and whether it did so in order.

use std::collections::HashMap;

use crate::{Device, Entry, Fault, Observed, Report};

/// What a device showed of a conversation, by seq.
#[derive(Debug, Default)]
pub struct Shown {
    /// The events, rising by seq, each seq once.
    pub events: Vec<Observed>,
    /// Where the client says that it ended.
    pub ended: Option<u64>,
}

impl Shown {
    /// The event at a seq.
    pub fn at(&self, seq: u64) -> Option<&Observed> {
        // Without a hole the place follows from the seq.
        let guess = usize::try_from(seq).ok()?.checked_sub(1)?;
        match self.events.get(guess) {
            Some(event) if event.seq == seq => Some(event),
            _ => self.events.binary_search_by_key(&seq, |event| event.seq).ok().map(|at| &self.events[at]),
        }
    }

    /// The greatest seq shown; 0 when there is none.
    pub fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.seq)
    }
}

/// Reads a device's record, conversation by conversation; repeated and falling seqs are faults.
pub fn read(device: &Device, report: &mut Report) -> HashMap<u32, Shown> {
    let mut shown: HashMap<u32, Shown> = HashMap::new();
    for entry in &device.entries {
        match *entry {
            Entry::Observed(event) => {
                report.observed += 1;
                let place = shown.entry(event.conversation).or_default();
                show(place, event, device, report);
            }
            Entry::Ended { conversation, seq } => shown.entry(conversation).or_default().ended = Some(seq),
            _ => {}
        }
    }
    shown
}

fn show(place: &mut Shown, event: Observed, device: &Device, report: &mut Report) {
    let last = place.last();
    if event.seq > last {
        place.events.push(event);
        return;
    }
    match place.events.binary_search_by_key(&event.seq, |known| known.seq) {
        Ok(at) => {
            report.add(Fault::Doubled, || {
                format!("{} showed seq {} of conversation {} twice", device.name, event.seq, event.conversation)
            });
            if place.events[at] != event {
                report.add(Fault::Diverged, || {
                    format!(
                        "{} showed two different events at seq {} of conversation {}",
                        device.name, event.seq, event.conversation
                    )
                });
            }
        }
        Err(at) => {
            report.add(Fault::Reordered, || {
                format!("{} showed seq {} of conversation {} after {last}", device.name, event.seq, event.conversation)
            });
            place.events.insert(at, event);
        }
    }
}

/// Counts the holes in what a device showed, from seq 1 to where it ended.
pub fn holes(shown: &Shown, conversation: &str, device: &Device, report: &mut Report) {
    let mut next = 1;
    for event in &shown.events {
        if event.seq > next {
            report.add(Fault::Gap, || {
                format!("{} has nothing from seq {next} to {} of {conversation}", device.name, event.seq - 1)
            });
        }
        next = event.seq + 1;
    }
    if let Some(ended) = shown.ended
        && ended != shown.last()
    {
        report.add(Fault::Gap, || {
            format!("{} says that it has {conversation} up to {ended} and showed up to {}", device.name, shown.last())
        });
    }
}
