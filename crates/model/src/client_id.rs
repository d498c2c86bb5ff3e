//! Client ids: what makes a command that is sent again the same command.

use std::fmt;

use uuid::Uuid;

use crate::TimeUs;

/// A text that is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("client id is not a UUID")]
pub struct InvalidClientId;

/// A UUID (RFC 9562) made by a client, the same whenever it sends the command again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Uuid);

impl ClientId {
    /// Takes a UUID's text; the nil UUID is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidClientId> {
        match Uuid::try_parse(text) {
            Ok(id) if !id.is_nil() => Ok(Self(id)),
            _ => Err(InvalidClientId),
        }
    }

    /// Makes a new one, version 7.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Makes the one that follows from a name (version 5), for example from an `Idempotency-Key`.
    pub fn from_name(name: &[u8]) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name))
    }

    /// When it was made, in microseconds since 1970; `None` unless it is of version 7.
    pub fn made_us(&self) -> Option<TimeUs> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let us = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        us.checked_add(i64::from(nanos / 1000))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_seven_tells_its_time() {
        let made = ClientId::generate().made_us().unwrap();
        assert!((crate::now_us() - made).abs() < 10_000_000);
        assert_eq!(ClientId::from_name(b"order 17").made_us(), None);
        assert_eq!(ClientId::from_name(b"order 17"), ClientId::from_name(b"order 17"));
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in ["", "x", "00000000-0000-0000-0000-000000000000", "0190-", "é"] {
            assert_eq!(ClientId::parse(text), Err(InvalidClientId), "{text:?}");
        }
    }
}
