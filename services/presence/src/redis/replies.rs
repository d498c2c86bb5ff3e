//! What Redis replies, read.

use redis::{FromRedisValue, Value};
use stonechat_errors::Error;
use stonechat_model::UserId;
use stonechat_proto::v1::{Availability, Status};

use super::unreadable;

/// The fields of a user's status.
pub(super) const AWAY: &str = "away";
pub(super) const TEXT: &str = "text";
pub(super) const EMOJI: &str = "emoji";
const SEEN: &str = "seen";

/// A gateway and the incarnation that registered.
pub(super) type Registration = (String, String);

/// What is known of a user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UserState {
    pub routes: Vec<Registration>,
    pub status: Vec<(String, String)>,
    pub watchers: Vec<Registration>,
}

/// A hash, which comes as a map or as a flat list.
pub(super) fn pairs(value: Value) -> Result<Vec<(String, String)>, Error> {
    Vec::from_redis_value(value).map_err(|error| unreadable(&error))
}

/// A list of texts.
pub(super) fn texts(value: Value) -> Result<Vec<String>, Error> {
    Vec::from_redis_value(value).map_err(|error| unreadable(&error))
}

impl UserState {
    /// What a script replied; nothing where nobody is to be told.
    pub fn of_script(value: Value) -> Result<Option<Self>, Error> {
        let Value::Array(hashes) = value else { return Err(unreadable(&"a script's reply is no list")) };
        let mut hashes = hashes.into_iter().map(pairs).collect::<Result<Vec<_>, _>>()?.into_iter();
        let Some(routes) = hashes.next() else { return Ok(None) };
        let (status, watchers) = (hashes.next().unwrap_or_default(), hashes.next().unwrap_or_default());
        Ok(Some(Self { routes, status, watchers }))
    }

    /// The user's status, when these registrations are of living gateways.
    pub fn status(&self, user: &UserId, is_living: impl Fn(&Registration) -> bool) -> Status {
        let field = |name: &str| self.status.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
        let availability = match (self.routes.iter().any(is_living), field(AWAY).is_some()) {
            (false, _) => Availability::Offline,
            (true, true) => Availability::Away,
            (true, false) => Availability::Online,
        };
        let is_offline = availability == Availability::Offline;
        let last_seen_us = field(SEEN).filter(|_| is_offline).and_then(|text| text.parse().ok()).unwrap_or_default();
        let (text, emoji) = (field(TEXT).unwrap_or_default(), field(EMOJI).unwrap_or_default());
        Status { user: user.to_string(), availability: availability.into(), last_seen_us, text, emoji }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_hash_is_read_in_both_forms_and_nonsense_is_an_error() {
        let expected = vec![("g".to_owned(), "1".to_owned())];
        assert_eq!(pairs(Value::Map(vec![(bulk("g"), bulk("1"))])).unwrap(), expected);
        assert_eq!(pairs(Value::Array(vec![bulk("g"), bulk("1")])).unwrap(), expected);
        assert!(pairs(Value::Array(vec![bulk("g")])).is_err());
        assert!(pairs(Value::Map(vec![(bulk("g"), Value::BulkString(vec![0xff]))])).is_err());
        assert!(UserState::of_script(Value::Okay).is_err());
        assert!(UserState::of_script(Value::Array(vec![Value::Okay])).is_err());
        assert_eq!(UserState::of_script(Value::Array(Vec::new())).unwrap(), None);
    }
}
