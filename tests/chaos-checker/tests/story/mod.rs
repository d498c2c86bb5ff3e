//! Makes clean histories from a seed, and damages them.

use stonechat_chaos_checker::{Conversation, Device, Entry, Fault, History, Observed};

const USERS: u32 = 5;
const DEVICES_PER_USER: u32 = 2;

/// A way to damage a history.
#[derive(Debug, Clone, Copy)]
pub enum Mutation {
    /// A device misses an event in the middle.
    Hole,
    /// A device misses the newest event.
    CutShort,
    /// An answered event is nowhere.
    Vanished,
    /// An answer names another seq.
    WrongAnswer,
    /// A repeat got another answer.
    TwoAnswers,
    /// A device shows an event twice in a row.
    ShownTwice,
    /// A device shows an old event again at the end.
    ShownAgain,
    /// A send that was repeated is in the log twice, on every device.
    TwicePresent,
    /// A device shows two events in the wrong order.
    Swapped,
    /// A send was put before what its sender had seen.
    BeforeItsCause,
    /// One device shows other content.
    OtherContent,
    /// Every device shows other content than was sent.
    Falsified,
    /// One device has two events in each other's places.
    Exchanged,
    /// The devices end with an event that nobody sent.
    Invented,
    /// Somebody who is no member shows an event.
    Leaked,
    /// A device says that it has more than it showed.
    Overstated,
}

impl Mutation {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Hole,
        Self::CutShort,
        Self::Vanished,
        Self::WrongAnswer,
        Self::TwoAnswers,
        Self::ShownTwice,
        Self::ShownAgain,
        Self::TwicePresent,
        Self::Swapped,
        Self::BeforeItsCause,
        Self::OtherContent,
        Self::Falsified,
        Self::Exchanged,
        Self::Invented,
        Self::Leaked,
        Self::Overstated,
    ];
}

/// A source of histories.
pub struct Story {
    state: u64,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("fits")
    }

    pub fn pick_mutation(&mut self) -> Mutation {
        Mutation::ALL[self.below(Mutation::ALL.len())]
    }

    /// A history without a fault: devices lag, lose connections, learn of acks late, repeat sends.
    pub fn clean(&mut self) -> History {
        let mut history = History::default();
        for c in 0..3u32 {
            // User 4 is a member of nothing but the last conversation, so that there are strangers.
            let members = (0..USERS).filter(|u| (*u != 4 || c == 2) && (*u + c) % 4 != 3).collect();
            history.conversations.push(Conversation { name: format!("conversation {c}"), members });
        }
        for d in 0..USERS * DEVICES_PER_USER {
            let (user, entries) = (d / DEVICES_PER_USER, vec![Entry::Connected]);
            history.devices.push(Device { name: format!("device {d}"), user, entries });
        }
        let mut logs: Vec<Vec<Observed>> = vec![Vec::new(); 3];
        let mut shown = vec![[0usize; 3]; history.devices.len()];
        for step in 0..120u32 {
            self.step(step, &mut history, &mut logs, &mut shown);
        }
        for (d, shown) in shown.iter().enumerate() {
            let device = &mut history.devices[d];
            for c in 0..3u32 {
                let log = &logs[c as usize];
                if history.conversations[c as usize].members.contains(&device.user) {
                    device.entries.extend(log[shown[c as usize]..].iter().map(|event| Entry::Observed(*event)));
                    device.entries.push(Entry::Ended { conversation: c, seq: log.len() as u64 });
                }
            }
        }
        history
    }

    fn step(&mut self, step: u32, history: &mut History, logs: &mut [Vec<Observed>], shown: &mut [[usize; 3]]) {
        let d = self.below(history.devices.len());
        let user = history.devices[d].user;
        let c = self.below(3);
        if !history.conversations[c].members.contains(&user) {
            return;
        }
        let conversation = u32::try_from(c).expect("fits");
        let client = (u128::from(step) << 64) | u128::from(self.next() | 1);
        let content = self.next() | 1;
        let entries = &mut history.devices[d].entries;
        entries.push(Entry::Attempted { client, conversation, content });
        if step.is_multiple_of(7) {
            entries.extend([Entry::Disconnected, Entry::Connected]);
            entries.push(Entry::Attempted { client, conversation, content });
        }
        if step % 31 == 30 {
            entries.push(Entry::Refused { client });
            return;
        }
        let seq = logs[c].len() as u64 + 1;
        logs[c].push(Observed { client, seq, content, conversation, sender: user });
        let late = self.below(2) == 0;
        if !late {
            entries.push(Entry::Acked { client, seq });
        }
        for other in 0..history.devices.len() {
            let member = history.conversations[c].members.contains(&history.devices[other].user);
            if member && (other == d || self.below(3) > 0) {
                let new = logs[c][shown[other][c]..].iter().map(|event| Entry::Observed(*event));
                history.devices[other].entries.extend(new);
                shown[other][c] = logs[c].len();
            }
        }
        if late {
            let answer = Entry::Acked { client, seq };
            history.devices[d].entries.extend([answer, answer]);
        }
    }

    /// Damages a history; gives the faults that must be found.
    pub fn damage(&mut self, history: &mut History, mutation: Mutation) -> &'static [Fault] {
        match mutation {
            Mutation::Hole
            | Mutation::CutShort
            | Mutation::ShownTwice
            | Mutation::ShownAgain
            | Mutation::Swapped
            | Mutation::OtherContent
            | Mutation::Exchanged
            | Mutation::Overstated => self.damage_device(history, mutation),
            Mutation::WrongAnswer | Mutation::TwoAnswers | Mutation::BeforeItsCause => {
                self.damage_answer(history, mutation)
            }
            Mutation::Vanished
            | Mutation::TwicePresent
            | Mutation::Falsified
            | Mutation::Invented
            | Mutation::Leaked => self.damage_log(history, mutation),
        }
    }

    /// The places where a device that showed at least four events of a conversation did so.
    fn a_view(&mut self, history: &History) -> (usize, Vec<usize>) {
        loop {
            let (d, c) = (self.below(history.devices.len()), self.below(3));
            let places: Vec<_> = observations(&history.devices[d], c);
            if places.len() >= 4 {
                return (d, places);
            }
        }
    }

    fn damage_device(&mut self, history: &mut History, mutation: Mutation) -> &'static [Fault] {
        let (d, places) = self.a_view(history);
        let nth = 1 + self.below(places.len() - 2);
        let entries = &mut history.devices[d].entries;
        match mutation {
            Mutation::Hole => {
                entries.remove(places[nth]);
                &[Fault::Gap, Fault::Lost]
            }
            Mutation::CutShort => {
                entries.remove(*places.last().expect("not empty"));
                &[Fault::Gap, Fault::Lost, Fault::Diverged]
            }
            Mutation::ShownTwice => {
                entries.insert(places[nth], entries[places[nth]]);
                &[Fault::Doubled]
            }
            Mutation::ShownAgain => {
                entries.push(entries[places[nth]]);
                &[Fault::Doubled]
            }
            Mutation::Swapped => {
                entries.swap(places[nth - 1], places[nth]);
                &[Fault::Reordered]
            }
            Mutation::OtherContent => {
                edit(&mut entries[places[nth]], |event| event.content ^= 2);
                &[Fault::Diverged]
            }
            Mutation::Exchanged => {
                entries.swap(places[nth - 1], places[nth]);
                edit(&mut entries[places[nth - 1]], |event| event.seq -= 1);
                edit(&mut entries[places[nth]], |event| event.seq += 1);
                &[Fault::Diverged, Fault::Lost]
            }
            _ => {
                let Entry::Observed(event) = entries[places[0]] else { unreachable!() };
                entries.push(Entry::Ended { conversation: event.conversation, seq: 1 << 30 });
                &[Fault::Gap]
            }
        }
    }

    fn damage_answer(&mut self, history: &mut History, mutation: Mutation) -> &'static [Fault] {
        let answers = |entries: &[Entry]| -> Vec<usize> {
            (0..entries.len()).filter(|at| matches!(entries[*at], Entry::Acked { .. })).collect()
        };
        let d = loop {
            let d = self.below(history.devices.len());
            if !answers(&history.devices[d].entries).is_empty() {
                break d;
            }
        };
        let entries = &mut history.devices[d].entries;
        let places = answers(entries);
        let at = places[self.below(places.len())];
        let Entry::Acked { client, seq } = entries[at] else { unreachable!() };
        match mutation {
            Mutation::TwoAnswers => {
                entries.push(Entry::Acked { client, seq: seq + 1 });
                &[Fault::Doubled]
            }
            Mutation::WrongAnswer => {
                for entry in entries {
                    if matches!(entry, Entry::Acked { client: other, .. } if *other == client) {
                        *entry = Entry::Acked { client, seq: seq + 1000 };
                    }
                }
                &[Fault::Lost]
            }
            _ => {
                let Some(Entry::Attempted { conversation, .. }) =
                    entries.iter().find(|e| matches!(e, Entry::Attempted { client: c, .. } if *c == client)).copied()
                else {
                    unreachable!()
                };
                entries.push(Entry::Attempted { client: 99, conversation, content: 1 });
                entries.push(Entry::Acked { client: 99, seq });
                &[Fault::Reordered, Fault::Lost]
            }
        }
    }

    fn damage_log(&mut self, history: &mut History, mutation: Mutation) -> &'static [Fault] {
        let (d, places) = self.a_view(history);
        let nth = self.below(places.len());
        let Entry::Observed(chosen) = history.devices[d].entries[places[nth]] else { unreachable!() };
        let last = places.len() as u64;
        let conversation = chosen.conversation;
        let members = history.conversations[conversation as usize].members.clone();
        if matches!(mutation, Mutation::Leaked) {
            let stranger = history.devices.iter_mut().find(|device| !members.contains(&device.user));
            stranger.expect("a stranger").entries.push(Entry::Observed(chosen));
            return &[Fault::Diverged];
        }
        for device in history.devices.iter_mut().filter(|device| members.contains(&device.user)) {
            match mutation {
                Mutation::Vanished => vanish(device, chosen),
                Mutation::TwicePresent => device.entries.push(Entry::Observed(Observed { seq: last + 1, ..chosen })),
                Mutation::Falsified => device.entries.iter_mut().for_each(|entry| {
                    if matches!(*entry, Entry::Observed(event) if event.client == chosen.client) {
                        edit(entry, |event| event.content ^= 4);
                    }
                }),
                _ => {
                    let event = Observed { client: 98, seq: last + 1, content: 1, conversation, sender: chosen.sender };
                    device.entries.push(Entry::Observed(event));
                }
            }
        }
        match mutation {
            Mutation::Vanished => &[Fault::Lost],
            Mutation::TwicePresent => &[Fault::Doubled],
            _ => &[Fault::Diverged],
        }
    }
}

fn observations(device: &Device, conversation: usize) -> Vec<usize> {
    let of = |entry: &Entry| matches!(entry, Entry::Observed(event) if event.conversation as usize == conversation);
    (0..device.entries.len()).filter(|at| of(&device.entries[*at])).collect()
}

fn edit(entry: &mut Entry, change: impl FnOnce(&mut Observed)) {
    let Entry::Observed(event) = entry else { panic!("no observation") };
    change(event);
}

/// Takes an event out as if it had never been: what came after moves up.
fn vanish(device: &mut Device, gone: Observed) {
    device.entries.retain(|entry| !matches!(entry, Entry::Observed(event) if event.client == gone.client));
    for entry in &mut device.entries {
        match entry {
            Entry::Observed(event) if event.conversation == gone.conversation && event.seq > gone.seq => event.seq -= 1,
            Entry::Ended { conversation, seq } if *conversation == gone.conversation => *seq -= 1,
            _ => {}
        }
    }
}
