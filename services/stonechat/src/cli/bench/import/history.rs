//! A history that can be told in any order: every item follows from its place, so that none has to be kept to be
//! compared.

use stonechat_model::TimeUs;
use stonechat_proto::v1::{
    Audience, ConversationKind, Created, Custom, DataEntry, DataItem, DataMembership, Edited, Event, MemberEntry,
    MembersAdded, Message, Preferences, ReactionAdded, Role, Settings, User, data_item::Item, event::Body,
};
use uuid::Uuid;

/// Users of the tenant, each with a profile.
pub(super) const USERS: u64 = 1_000;
/// Conversations whose members see each other's marks; the others have none.
const SIDES_PER_CONVERSATION: u64 = 2;
/// The time of the first event: 2020-01-01.
const BEGIN_US: TimeUs = 1_577_836_800_000_000;
/// The last event is not later than so long after it.
const SPAN_US: u64 = 3 * 365 * 86_400_000_000;
/// From one event to the next, at most.
const STEP_US: u64 = 60_000_000;
/// Bytes of a text, from and to.
const TEXT_BYTES: (u64, u64) = (40, 360);
const EMOJI: [&str; 4] = ["👍", "🎉", "❤️", "😂"];
/// Words that JSON writes as they are, and some that it does not.
const WORDS: [&str; 24] = [
    "the",
    "order",
    "is",
    "on",
    "its",
    "way",
    "meeting",
    "at",
    "noon",
    "tomorrow",
    "thanks",
    "grüße",
    "naïve",
    "\"quoted\"",
    "back\\slash",
    "línea\nnueva",
    "tab\there",
    "你好",
    "👋🏽",
    "https://example.com/a?b=c&d=e",
    "release",
    "candidate",
    "please",
    "review",
];

/// What each number is drawn for, so that draws of one place differ.
#[derive(Clone, Copy)]
enum For {
    Members = 1,
    Sender,
    Kind,
    Text,
    Extra,
    ClientId,
    Time,
}

/// A tenant's history: how large it is says all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    conversations: u64,
    /// Messages of the first conversation, which is the large one.
    first: u64,
    /// Messages of all others.
    others: u64,
}

/// A number that looks like chance and is the same each time (the finalizer of splitmix64).
fn draw(conversation: u64, seq: u64, drawn_for: For) -> u64 {
    let mut z = conversation.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seq.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ drawn_for as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What an event of a conversation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Reaction,
    Edit,
}

impl History {
    /// So many messages, edits and reactions among them, a tenth of them in the first of so many conversations.
    pub fn new(messages: u64, conversations: u64) -> Self {
        let conversations = conversations.max(1);
        let first = if conversations == 1 { messages } else { messages / 10 };
        Self { conversations, first, others: messages - first }
    }

    pub fn conversations(&self) -> u64 {
        self.conversations
    }

    /// Every event of all conversations.
    pub fn entries(&self) -> u64 {
        (0..self.conversations).map(|conversation| self.last_seq(conversation)).sum()
    }

    /// Everything.
    pub fn items(&self) -> u64 {
        USERS + self.entries() + self.conversations * SIDES_PER_CONVERSATION
    }

    /// The newest event of a conversation.
    pub fn last_seq(&self, conversation: u64) -> u64 {
        let messages = match conversation {
            0 => self.first,
            _ => {
                let others = self.conversations - 1;
                self.others / others + u64::from(conversation <= self.others % others)
            }
        };
        messages + self.seq_before_messages(conversation)
    }

    /// Of some conversations not all members are there from the beginning.
    fn seq_before_messages(&self, conversation: u64) -> u64 {
        1 + u64::from(draw(conversation, 0, For::Members).is_multiple_of(4))
    }

    fn members_at_first(&self, conversation: u64) -> u64 {
        if conversation == 0 { 50 } else { 2 + draw(conversation, 1, For::Members) % 19 }
    }

    fn members(&self, conversation: u64) -> u64 {
        // Two are added where members are.
        self.members_at_first(conversation) + 2 * (self.seq_before_messages(conversation) - 1)
    }

    /// The first member is the owner.
    fn member(&self, conversation: u64, nth: u64) -> String {
        user_id((draw(conversation, 2, For::Members) % USERS + nth) % USERS)
    }

    fn sender(&self, conversation: u64, seq: u64) -> String {
        self.member(conversation, draw(conversation, seq, For::Sender) % self.members(conversation))
    }

    fn time_us(&self, conversation: u64, seq: u64) -> TimeUs {
        let step = (SPAN_US / self.last_seq(conversation)).clamp(1, STEP_US);
        let since = (seq - 1) * step + draw(conversation, seq, For::Time) % step;
        BEGIN_US + TimeUs::try_from(since).unwrap_or_default()
    }

    /// Reactions and edits are of the event before them, where that is a message.
    fn kind(&self, conversation: u64, seq: u64) -> Kind {
        let drawn = |seq| match draw(conversation, seq, For::Kind) % 32 {
            0 => Kind::Reaction,
            1 => Kind::Edit,
            _ => Kind::Message,
        };
        let has_target = seq > self.seq_before_messages(conversation) + 1 && drawn(seq - 1) == Kind::Message;
        if has_target { drawn(seq) } else { Kind::Message }
    }

    fn message(&self, conversation: u64, seq: u64) -> Message {
        let mut drawn = draw(conversation, seq, For::Text);
        let (from, to) = TEXT_BYTES;
        let length = usize::try_from(from + drawn % (to - from)).unwrap_or_default();
        let mut text = String::with_capacity(length + 32);
        while text.len() < length {
            drawn = draw(drawn, seq, For::Text);
            text.push_str(WORDS[usize::try_from(drawn % WORDS.len() as u64).unwrap_or_default()]);
            text.push(' ');
        }
        text.push('.');
        let mut message = Message { text, ..Message::default() };
        match draw(conversation, seq, For::Extra) % 16 {
            0 => message.mentions = vec![self.member(conversation, seq % 2)],
            1 => message.reply_to = self.seq_before_messages(conversation) + 1,
            2 => message.custom = Some(Custom { r#type: "order".to_owned(), data: format!("{{\"number\":{seq}}}") }),
            _ => {}
        }
        // The first message answers none.
        if message.reply_to >= seq {
            message.reply_to = 0;
        }
        message
    }

    fn body(&self, conversation: u64, seq: u64) -> (String, Body) {
        let first = self.members_at_first(conversation);
        let entry = |nth, role: Role| MemberEntry { user: self.member(conversation, nth), role: role.into() };
        if seq == 1 {
            let role = |nth| if nth == 0 { Role::Owner } else { Role::Member };
            let members = (0..first).map(|nth| entry(nth, role(nth))).collect();
            let settings = Some(settings(conversation));
            let created = Created { kind: ConversationKind::Group.into(), members, settings };
            return (self.member(conversation, 0), Body::Created(created));
        }
        if seq <= self.seq_before_messages(conversation) {
            let members = (first..first + 2).map(|nth| entry(nth, Role::Member)).collect();
            return (self.member(conversation, 0), Body::MembersAdded(MembersAdded { members }));
        }
        match self.kind(conversation, seq) {
            Kind::Message => (self.sender(conversation, seq), Body::Message(self.message(conversation, seq))),
            Kind::Reaction => {
                let emoji = EMOJI[usize::try_from(seq % EMOJI.len() as u64).unwrap_or_default()].to_owned();
                (self.sender(conversation, seq), Body::ReactionAdded(ReactionAdded { target: seq - 1, emoji }))
            }
            Kind::Edit => {
                let content = Some(self.message(conversation, seq));
                (self.sender(conversation, seq - 1), Body::Edited(Edited { target: seq - 1, content }))
            }
        }
    }

    /// An event; as an export says it, it is an imported one.
    pub fn entry(&self, conversation: u64, seq: u64, imported: bool) -> DataItem {
        let (sender, body) = self.body(conversation, seq);
        // Callers that have ids of their own may bring them.
        let has_client_id = matches!(body, Body::Message(_)) && seq.is_multiple_of(3);
        let client_id = match has_client_id {
            true => Uuid::from_u64_pair(draw(conversation, seq, For::ClientId), seq).to_string(),
            false => String::new(),
        };
        let time_us = self.time_us(conversation, seq);
        let event = Event { seq, sender, time_us, client_id, imported, body: Some(body), ..Event::default() };
        let entry = DataEntry { conversation: conversation_id(conversation), event: Some(event) };
        DataItem { item: Some(Item::Entry(entry)) }
    }

    /// A user's profile.
    pub fn user(&self, nth: u64) -> DataItem {
        let id = user_id(nth);
        let (name, avatar) = (format!("User {nth} “{id}”"), format!("https://example.com/{id}.png"));
        let created_us = BEGIN_US - TimeUs::try_from(nth).unwrap_or_default();
        DataItem { item: Some(Item::User(User { id, name, avatar, active: true, created_us })) }
    }

    /// A member's side of a conversation.
    pub fn side(&self, conversation: u64, nth: u64) -> DataItem {
        let read_seq = self.last_seq(conversation) / (nth + 1);
        let preferences = (nth == 0).then(|| Preferences { pinned: true, draft: "to be".into(), ..Default::default() });
        let side = DataMembership {
            user: self.member(conversation, nth),
            conversation: conversation_id(conversation),
            read_seq,
            // What was read was received.
            delivered_seq: read_seq,
            preferences,
        };
        DataItem { item: Some(Item::Membership(side)) }
    }

    /// The members whose sides say something.
    pub fn sides(&self) -> u64 {
        SIDES_PER_CONVERSATION
    }

    /// Everything in an order in which it may be imported; of so many conversations the events come in turn.
    pub fn told(self, at_once: u64) -> impl Iterator<Item = DataItem> + Send {
        let at_once = at_once.max(1);
        let groups = (0..self.conversations.div_ceil(at_once)).map(move |group| {
            let from = group * at_once;
            from..(from + at_once).min(self.conversations)
        });
        let of_groups = groups.flat_map(move |group| {
            let longest = group.clone().map(|conversation| self.last_seq(conversation)).max().unwrap_or_default();
            let within = group.clone();
            let entries = (1..=longest).flat_map(move |seq| {
                let has = within.clone().filter(move |conversation| seq <= self.last_seq(*conversation));
                has.map(move |conversation| self.entry(conversation, seq, false))
            });
            let sides = group
                .flat_map(move |conversation| (0..SIDES_PER_CONVERSATION).map(move |nth| self.side(conversation, nth)));
            entries.chain(sides)
        });
        (0..USERS).map(move |nth| self.user(nth)).chain(of_groups)
    }
}

/// All of them: what is left out comes back as it is by default.
fn settings(conversation: u64) -> Settings {
    Settings {
        name: Some(format!("Talk {conversation}")),
        avatar: Some(String::new()),
        announcement: Some(String::new()),
        who_may_post: Audience::Members.into(),
        who_may_add: Audience::Admins.into(),
        read_receipts: Some(true),
    }
}

/// The id of a user.
pub(super) fn user_id(nth: u64) -> String {
    format!("u{nth:04}")
}

/// The id of a conversation.
pub(super) fn conversation_id(conversation: u64) -> String {
    format!("h{conversation:07}")
}

/// Which one an id names, if it is one of these.
pub(super) fn number_of(id: &str) -> Option<u64> {
    id.get(1..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_as_much_as_it_says_and_its_order_may_be_imported() {
        for (messages, conversations, at_once) in [(1_000, 10, 1), (1_003, 7, 3), (50, 1, 1), (40, 20, 100)] {
            let history = History::new(messages, conversations);
            let mut newest = vec![(0, 0); usize::try_from(conversations).unwrap()];
            let mut items = 0;
            for item in history.told(at_once) {
                items += 1;
                let Some(Item::Entry(entry)) = item.item else { continue };
                let event = entry.event.unwrap();
                let (seq, time_us) = &mut newest[usize::try_from(number_of(&entry.conversation).unwrap()).unwrap()];
                assert_eq!(event.seq, *seq + 1);
                assert!(event.time_us >= *time_us, "{event:?}");
                if let Some(Body::Edited(Edited { target, .. }) | Body::ReactionAdded(ReactionAdded { target, .. })) =
                    event.body.filter(|body| !matches!(body, Body::Message(_)))
                {
                    assert_eq!(target, event.seq - 1);
                }
                (*seq, *time_us) = (event.seq, event.time_us);
            }
            assert_eq!(items, history.items());
            assert!(history.entries() >= messages + conversations);
        }
    }

    #[test]
    fn lines_are_a_few_hundred_bytes_and_read_back_the_same() {
        let history = History::new(2_000, 4);
        let (mut bytes, mut lines) = (0, 0);
        for item in history.told(2) {
            let line = serde_json::to_vec(&item).unwrap();
            assert_eq!(serde_json::from_slice::<DataItem>(&line).unwrap(), item);
            (bytes, lines) = (bytes + line.len(), lines + 1);
        }
        assert!((200..600).contains(&(bytes / lines)), "{}", bytes / lines);
    }
}
