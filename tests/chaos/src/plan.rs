//! Who talks with whom: made from the number of users alone.

use stonechat_model::{ConversationId, UserId};
use stonechat_proto::v1::ConversationKind;

/// Members of a group.
const GROUP_SIZE: usize = 8;
/// Members of a channel.
const CHANNEL_SIZE: usize = 50;
/// Of a hundred sends, how many go to direct conversations, and how many to direct ones or groups.
const SHARES: (u32, u32) = (60, 95);

/// One conversation.
#[derive(Debug, Clone)]
pub struct Chat {
    /// Its id.
    pub id: ConversationId,
    /// Its kind.
    pub kind: ConversationKind,
    /// Its members by their numbers; the first one creates it.
    pub members: Vec<u32>,
}

/// All users and conversations.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The users.
    pub users: Vec<UserId>,
    /// The conversations.
    pub chats: Vec<Chat>,
}

impl Plan {
    /// Plans direct conversations, groups and channels such that everybody is in some of each.
    pub fn new(users: usize) -> Self {
        let users: Vec<_> = (0..users).filter_map(|n| UserId::parse(&format!("user-{n}")).ok()).collect();
        let mut plan = Self { users, chats: Vec::new() };
        let n = plan.users.len();
        for first in 0..n {
            // A ring, in which two users with nobody between them would meet twice.
            if n > 2 || first == 0 {
                plan.add(ConversationKind::Direct, [first, (first + 1) % n].into());
            }
        }
        for (kind, size) in [(ConversationKind::Group, GROUP_SIZE), (ConversationKind::Channel, CHANNEL_SIZE)] {
            let size = size.min(n);
            for start in (0..n).step_by(size.div_ceil(2)) {
                plan.add(kind, (0..size).map(|step| (start + step) % n).collect());
            }
        }
        plan
    }

    fn add(&mut self, kind: ConversationKind, members: Vec<usize>) {
        let id = match kind {
            ConversationKind::Direct => ConversationId::direct(&self.users[members[0]], &self.users[members[1]]),
            _ => {
                let text = format!("{}-{}", kind.as_str_name().to_ascii_lowercase(), self.chats.len());
                ConversationId::parse_chosen(&text).unwrap_or_else(|_| ConversationId::generate())
            }
        };
        let members = members.into_iter().filter_map(|m| u32::try_from(m).ok()).collect();
        self.chats.push(Chat { id, kind, members });
    }

    /// The numbers of a user's conversations: direct ones, groups, channels.
    pub fn chats_of(&self, user: u32) -> [Vec<u32>; 3] {
        let mut of = [const { Vec::new() }; 3];
        for (number, chat) in (0..).zip(&self.chats) {
            if chat.members.contains(&user) {
                let place = match chat.kind {
                    ConversationKind::Direct => 0,
                    ConversationKind::Group => 1,
                    _ => 2,
                };
                of[place].push(number);
            }
        }
        of
    }

    /// Which kind of conversation a send goes to, by a number below 100.
    pub fn kind_of_roll(roll: u32) -> usize {
        match roll {
            _ if roll < SHARES.0 => 0,
            _ if roll < SHARES.1 => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_conversations_of_every_kind_and_no_conversation_is_there_twice() {
        for users in [2, 3, 20, 200] {
            let plan = Plan::new(users);
            for user in 0..users {
                assert!(plan.chats_of(u32::try_from(user).unwrap()).iter().all(|chats| !chats.is_empty()), "{user}");
            }
            let mut ids: Vec<_> = plan.chats.iter().map(|chat| &chat.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), plan.chats.len());
        }
    }
}
