//! What people do, at random: mostly they write, now and then they change who may see it.

use stonechat_model::{ConversationId, FileId, UserId};
use stonechat_proto::v1::{
    Action, AddMembers, Attachment, Audience, ConversationKind, Create, Dismiss, Edited, HideMessage, Leave,
    MemberMuted, MembershipChanged, Message, OwnershipTransferred, Pinned, ProfileChanged, ReactionAdded,
    ReactionRemoved, Recalled, RemoveMembers, Role, RoleChanged, Settings, SettingsChanged, Unpinned, Upgrade,
    action::Kind,
};
use uuid::Uuid;

use crate::random::Random;

/// Draws what is done. Clones share their randomness.
#[derive(Clone)]
pub struct Workload {
    random: Random,
    users: Vec<UserId>,
    /// How many conversations can be made beside the direct ones.
    conversations: u64,
}

/// Files that messages may refer to.
const FILES: u64 = 8;
const EMOJIS: [&str; 3] = ["👍", "🎉", "❤️"];

impl Workload {
    /// What these users do, in at most so many conversations beside direct ones.
    pub fn new(seed: u64, users: Vec<UserId>, conversations: u64) -> Self {
        Self { random: Random::new(seed, "workload"), users, conversations }
    }

    /// The randomness.
    pub fn random(&self) -> &Random {
        &self.random
    }

    /// Everybody.
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// A client id as a client makes one at a time (UUID version 7).
    pub fn client_id(&self, now_us: i64) -> String {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let ms = u64::try_from(now_us / 1000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid().to_string()
    }

    /// A UUID that tells no time.
    pub fn name_id(&self) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.random.next().to_be_bytes()).to_string()
    }

    /// Some user.
    pub fn user(&self) -> UserId {
        self.users[self.random.index(self.users.len())].clone()
    }

    /// The id of some conversation beside the direct ones, there or not.
    pub fn conversation(&self) -> String {
        format!("c{}", self.random.below(self.conversations))
    }

    /// The id of the direct conversation with some other user.
    pub fn direct_with(&self, user: &UserId) -> (String, UserId) {
        let other = self.user();
        (ConversationId::direct(user, &other).to_string(), other)
    }

    /// Somebody makes a conversation: its id and how.
    pub fn create(&self, by: &UserId) -> (String, Action) {
        let (kind, id, members) = match self.random.below(5) {
            0 => {
                let (id, other) = self.direct_with(by);
                (ConversationKind::Direct, id, vec![other.to_string()])
            }
            1 => (ConversationKind::Channel, self.conversation(), self.some_users()),
            _ => (ConversationKind::Group, self.conversation(), self.some_users()),
        };
        let create = Create { kind: kind.into(), members, settings: None };
        (id, Action { kind: Some(Kind::Create(create)) })
    }

    fn some_users(&self) -> Vec<String> {
        self.users.iter().filter(|_| self.random.chance(500)).map(ToString::to_string).collect()
    }

    fn message(&self) -> Message {
        let text = format!("m{:x} 👋", self.random.next() >> 32);
        let count = if self.random.chance(250) { self.random.between(1, 3) } else { 0 };
        // The last one is not there.
        let file = |_| format!("f{}", self.random.below(FILES + 1));
        let attachments = (0..count).map(file).map(|id| Attachment { id, ..Attachment::default() }).collect();
        Message { text, attachments, ..Message::default() }
    }

    /// The files that there are, with their owners.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &UserId)> {
        let ids = (0..FILES).filter_map(|number| FileId::parse(&format!("f{number}")).ok());
        ids.zip(self.users.iter().cycle())
    }

    /// A message like no other.
    pub fn say(&self) -> Action {
        Action { kind: Some(Kind::Send(self.message())) }
    }

    /// Something in a conversation whose newest known event has the seq `last`.
    pub fn act(&self, last: u64) -> Action {
        let seq = self.random.between(1, last.max(1));
        let user = self.user().to_string();
        let emoji = EMOJIS[self.random.index(EMOJIS.len())].to_owned();
        let kind = match self.random.below(100) {
            0..45 => Kind::Send(self.message()),
            45..50 => Kind::Edit(Edited { target: seq, content: Some(self.message()) }),
            50..53 => Kind::Recall(Recalled { target: seq }),
            53..58 => Kind::React(ReactionAdded { target: seq, emoji }),
            58..61 => Kind::Unreact(ReactionRemoved { target: seq, emoji }),
            61..63 => Kind::Pin(Pinned { target: seq }),
            63..65 => Kind::Unpin(Unpinned { target: seq }),
            65..74 => Kind::AddMembers(AddMembers { users: self.some_users(), role: 0 }),
            74..81 => Kind::RemoveMembers(RemoveMembers { users: vec![user] }),
            81..84 => Kind::Leave(Leave {}),
            84..86 => Kind::SetRole(RoleChanged { user, role: Role::Admin.into() }),
            86..87 => Kind::MuteMember(MemberMuted { user, until_us: 0 }),
            87..89 => Kind::UpdateSettings(SettingsChanged { settings: Some(self.settings()) }),
            89..90 => Kind::Transfer(OwnershipTransferred { to: user }),
            90..94 => Kind::Upgrade(Upgrade {}),
            94..95 if self.random.chance(100) => Kind::Dismiss(Dismiss {}),
            _ => return self.own(seq),
        };
        Action { kind: Some(kind) }
    }

    /// Something that only concerns the user.
    fn own(&self, seq: u64) -> Action {
        let text = format!("t{:x}", self.random.next() >> 40);
        let kind = match self.random.below(3) {
            0 => Kind::HideMessage(HideMessage { seq }),
            1 => Kind::UpdateMembership(MembershipChanged { draft: Some(text), ..MembershipChanged::default() }),
            _ => Kind::UpdateProfile(ProfileChanged { name: Some(text), avatar: None }),
        };
        Action { kind: Some(kind) }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings { name: Some(format!("n{:x}", self.random.next() >> 40)), ..Settings::default() };
        if self.random.chance(100) {
            settings.set_who_may_add(Audience::Members);
        }
        settings
    }
}
