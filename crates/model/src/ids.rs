//! Ids: short texts of one alphabet, checked once at the edge, cheap to clone.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use crate::limits;

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is empty.
    #[error("id is empty")]
    Empty,
    /// It is longer than [`limits::ID_BYTES`].
    #[error("id is longer than {} characters", limits::ID_BYTES)]
    TooLong,
    /// It holds something else than letters, digits and `. _ - @ :`.
    #[error("id holds a character other than letters, digits and . _ - @ :")]
    Character,
    /// It begins with a prefix that the server keeps for ids it makes.
    #[error("id begins with a reserved prefix")]
    Reserved,
}

fn check(text: &str, max: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > max {
        return Err(InvalidId::TooLong);
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b':');
    if text.bytes().all(fits) { Ok(()) } else { Err(InvalidId::Character) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that is an id.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text, $max)?;
                Ok(Self(text.into()))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id's text, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A customer of the platform.
    TenantId,
    limits::TENANT_ID_BYTES
);
id!(
    /// A person or bot of a tenant; the tenant's own id.
    UserId,
    limits::ID_BYTES
);
id!(
    /// A conversation of a tenant.
    ConversationId,
    limits::ID_BYTES
);
id!(
    /// One installation of a client.
    DeviceId,
    limits::DEVICE_ID_BYTES
);
id!(
    /// A key of a tenant; unique over all tenants.
    KeyId,
    limits::DEVICE_ID_BYTES
);
id!(
    /// A process that holds sessions or waits for outcomes: a gateway or an api.
    GatewayId,
    limits::ID_BYTES
);
id!(
    /// A file of a tenant; made by the server.
    FileId,
    limits::DEVICE_ID_BYTES
);

/// What ids of files begin with.
const FILE_PREFIX: &str = "fl_";

impl FileId {
    /// Makes a new id, sortable by time.
    pub fn generate() -> Self {
        Self(format!("{FILE_PREFIX}{}", uuid::Uuid::now_v7().simple()).into())
    }
}

/// What ids of direct conversations begin with.
const DIRECT_PREFIX: &str = "direct:";
/// What the log of a user begins with; no part of the ids' alphabet.
const USER_LOG_MARK: char = '~';

impl ConversationId {
    /// The id of the direct conversation of two users, the same whichever comes first.
    ///
    /// It is the first 130 bits of the SHA-256 of both ids, so that it fits the limit for any two.
    pub fn direct(a: &UserId, b: &UserId) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        let mut hash = Sha256::new();
        hash.update(first.as_str());
        hash.update([0]);
        hash.update(second.as_str());
        let digest = hash.finalize();
        let mut text = String::from(DIRECT_PREFIX);
        for chunk in 0..26 {
            let bit = chunk * 5;
            let pair = u16::from_be_bytes([digest[bit / 8], digest[bit / 8 + 1]]);
            let index = (pair >> (11 - bit % 8)) & 31;
            text.push(char::from(ALPHABET[usize::from(index)]));
        }
        Self(text.into())
    }

    /// Takes a text that may name a conversation other than a direct one.
    pub fn parse_chosen(text: &str) -> Result<Self, InvalidId> {
        if text.starts_with(DIRECT_PREFIX) {
            return Err(InvalidId::Reserved);
        }
        Self::parse(text)
    }

    /// Makes a new id, sortable by time.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string().into())
    }

    /// Whether the id is one of a direct conversation.
    pub fn is_direct(&self) -> bool {
        self.0.starts_with(DIRECT_PREFIX)
    }
}

/// The log of a conversation or of a user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogId {
    /// A conversation's.
    Conversation(ConversationId),
    /// A user's.
    User(UserId),
}

impl LogId {
    /// Takes what [`LogId::to_text`] gave.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix(USER_LOG_MARK) {
            Some(user) => UserId::parse(user).map(Self::User),
            None => ConversationId::parse(text).map(Self::Conversation),
        }
    }

    /// As rows and log records write it: a conversation's id, or `~` and a user's id.
    pub fn to_text(&self) -> Arc<str> {
        match self {
            Self::Conversation(id) => id.shared(),
            Self::User(id) => format!("{USER_LOG_MARK}{id}").into(),
        }
    }

    /// The conversation, if it is one's log.
    pub fn conversation(&self) -> Option<&ConversationId> {
        match self {
            Self::Conversation(id) => Some(id),
            Self::User(_) => None,
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation(id) => write!(f, "{id}"),
            Self::User(id) => write!(f, "{USER_LOG_MARK}{id}"),
        }
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A log of a tenant: the key by which commands are spread over partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The log.
    pub log: LogId,
}

impl LogKey {
    /// The partition of `count` that the log's commands go to; stable over restarts and machines (FNV-1a).
    pub fn partition(&self, count: u32) -> u32 {
        let log = self.log.to_text();
        spread(self.tenant.as_str().bytes().chain([0]).chain(log.bytes()), count)
    }

    /// As the key of a record: the tenant, a zero byte, the log.
    pub fn to_bytes(&self) -> Vec<u8> {
        let log = self.log.to_text();
        let mut bytes = Vec::with_capacity(self.tenant.as_str().len() + 1 + log.len());
        bytes.extend_from_slice(self.tenant.as_str().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(log.as_bytes());
        bytes
    }

    /// The partition of what [`LogKey::to_bytes`] gave.
    pub fn partition_of_bytes(bytes: &[u8], count: u32) -> u32 {
        spread(bytes.iter().copied(), count)
    }
}

fn spread(bytes: impl Iterator<Item = u8>, count: u32) -> u32 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let spread = (hash ^ (hash >> 32)) % u64::from(count.max(1));
    u32::try_from(spread).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[test]
    fn an_id_outside_the_alphabet_is_refused() {
        for text in ["a b", "a/b", "~a", "é", "a\0", "a\u{202e}b", "a\n"] {
            assert_eq!(UserId::parse(text), Err(InvalidId::Character), "{text:?}");
        }
        assert_eq!(UserId::parse(""), Err(InvalidId::Empty));
        assert_eq!(UserId::parse(&"a".repeat(129)), Err(InvalidId::TooLong));
        assert!(UserId::parse(&"a".repeat(128)).is_ok());
    }

    #[test]
    fn a_direct_id_does_not_depend_on_the_order_and_is_never_chosen() {
        let id = ConversationId::direct(&user("alice"), &user("bob"));
        assert_eq!(id, ConversationId::direct(&user("bob"), &user("alice")));
        assert_ne!(id, ConversationId::direct(&user("alic"), &user("ebob")));
        assert_eq!(ConversationId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(ConversationId::parse_chosen(id.as_str()), Err(InvalidId::Reserved));
    }

    #[test]
    fn a_log_id_survives_its_text() {
        for text in ["~alice", "general", "direct:abc"] {
            assert_eq!(&*LogId::parse(text).unwrap().to_text(), text);
        }
        assert!(LogId::parse("~").is_err());
    }
}
