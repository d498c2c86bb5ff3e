//! The names of keys. What a script touches together has one hash tag, so that it is in one slot of a cluster.
//! Ids have neither slashes nor braces, so names of different things differ.

use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};

/// Slots of a Redis Cluster (Redis Cluster specification, "Key distribution model").
const SLOTS: u32 = 16_384;

/// Makes names that begin with a prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// The three keys of a user.
pub(super) struct UserKeys {
    /// Hash: gateway to incarnation.
    pub routes: String,
    /// Hash: what is known of the user.
    pub status: String,
    /// Hash: gateway to incarnation of those that follow the user's status.
    pub watchers: String,
}

/// What a gateway registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sessions of users.
    Routes,
    /// Sessions interested in channels.
    Interest,
    /// Users whose statuses are followed.
    Watched,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Routes, Self::Interest, Self::Watched];

    fn letter(self) -> char {
        match self {
            Self::Routes => 'r',
            Self::Interest => 'c',
            Self::Watched => 'w',
        }
    }
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn user(&self, tenant: &TenantId, user: &UserId) -> UserKeys {
        self.user_of(&item(tenant, user.as_str()))
    }

    /// By the user's item.
    pub fn user_of(&self, item: &str) -> UserKeys {
        let key = |letter: char| format!("{}:{letter}:{{{item}}}", self.prefix);
        UserKeys { routes: key('r'), status: key('s'), watchers: key('w') }
    }

    /// Hash: gateway to incarnation of those interested in a channel.
    pub fn channel(&self, tenant: &TenantId, id: &ConversationId) -> String {
        self.channel_of(&item(tenant, id.as_str()))
    }

    /// By the channel's item.
    pub fn channel_of(&self, item: &str) -> String {
        format!("{}:c:{{{item}}}", self.prefix)
    }

    /// A gateway's lease: its incarnation and where its signals go.
    pub fn lease(&self, gateway: &GatewayId) -> String {
        format!("{}:g:{{{gateway}}}", self.prefix)
    }

    /// Set: the items that an incarnation of a gateway registered.
    pub fn registered(&self, gateway: &GatewayId, incarnation: &str, kind: Kind) -> String {
        format!("{}:i:{{{gateway}}}:{incarnation}:{}", self.prefix, kind.letter())
    }

    /// Hash: every incarnation that may have registered something, to its gateway.
    pub fn incarnations(&self) -> String {
        format!("{}:incarnations", self.prefix)
    }

    /// A key that is missing or has another value when the server that it is on lost its data.
    pub fn mark(&self, tag: &str) -> String {
        format!("{}:mark:{{{tag}}}", self.prefix)
    }

    /// The channel by which one process of presence tells another.
    pub fn instance(&self, instance: &str) -> String {
        format!("{}:instance:{instance}", self.prefix)
    }
}

/// How registrations name a user or a channel.
pub(super) fn item(tenant: &TenantId, id: &str) -> String {
    format!("{tenant}/{id}")
}

/// So many hash tags, spread evenly over the slots.
pub(super) fn spread_tags(count: u32) -> Vec<String> {
    let width = SLOTS / count.max(1);
    let mut tags: Vec<Option<String>> = (0..count).map(|_| None).collect();
    let mut missing = tags.len();
    for number in 0_u32.. {
        if missing == 0 {
            break;
        }
        let tag = number.to_string();
        let place = u32::from(crc16(tag.as_bytes())) % SLOTS / width.max(1);
        if let Some(free) = usize::try_from(place).ok().and_then(|place| tags.get_mut(place)).filter(|it| it.is_none())
        {
            *free = Some(tag);
            missing -= 1;
        }
    }
    tags.into_iter().flatten().collect()
}

/// CRC-16/XMODEM, by which keys have slots (Redis Cluster specification, appendix A).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn tags_are_one_in_each_equal_part_of_the_slots() {
        let tags = spread_tags(64);
        let parts: Vec<u32> = tags.iter().map(|tag| u32::from(crc16(tag.as_bytes())) % SLOTS / 256).collect();
        assert_eq!(parts, (0..64).collect::<Vec<_>>());
    }
}
