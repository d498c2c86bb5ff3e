//! What webhooks tell: the types of events, who wants which, and the bodies.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use stonechat_model::{LogId, LogKey, limits};
use stonechat_proto::{
    json,
    v1::{ConversationKind, Event, event},
};

/// The type of what [`test_body`] gives.
pub const TEST: &str = "webhook.test";
/// The longest name of a type that a filter may have.
const TYPE_BYTES: usize = 64;
/// Filters of one webhook.
const FILTERS: usize = 64;

/// Every type of event, in the order of the documentation.
pub const TYPES: &[&str] = &[
    "message.created",
    "message.edited",
    "message.recalled",
    "message.expired",
    "message.pinned",
    "message.unpinned",
    "reaction.added",
    "reaction.removed",
    "conversation.created",
    "conversation.updated",
    "conversation.transferred",
    "conversation.upgraded",
    "conversation.dismissed",
    "conversation.read",
    "member.added",
    "member.removed",
    "member.left",
    "member.role_changed",
    "member.muted",
    "user.updated",
    "user.tokens_revoked",
    "user.activation_changed",
];

/// The type of an event; `None` where it is nobody's business but the user's own devices'.
pub fn type_of(event: &Event) -> Option<&'static str> {
    use event::Body;
    Some(match event.body.as_ref()? {
        Body::Message(_) => "message.created",
        Body::Edited(_) => "message.edited",
        Body::Recalled(_) => "message.recalled",
        Body::MessagesExpired(_) => "message.expired",
        Body::Pinned(_) => "message.pinned",
        Body::Unpinned(_) => "message.unpinned",
        Body::ReactionAdded(_) => "reaction.added",
        Body::ReactionRemoved(_) => "reaction.removed",
        Body::Created(_) => "conversation.created",
        Body::SettingsChanged(_) => "conversation.updated",
        Body::OwnershipTransferred(_) => "conversation.transferred",
        Body::Upgraded(_) => "conversation.upgraded",
        Body::Dismissed(_) => "conversation.dismissed",
        Body::Marked(_) => "conversation.read",
        Body::MembersAdded(_) => "member.added",
        Body::MembersRemoved(_) => "member.removed",
        Body::MemberLeft(_) => "member.left",
        Body::RoleChanged(_) => "member.role_changed",
        Body::MemberMuted(_) => "member.muted",
        Body::ProfileChanged(_) => "user.updated",
        Body::TokensRevoked(_) => "user.tokens_revoked",
        Body::ActivationChanged(_) => "user.activation_changed",
        // What the conversation's own events tell already, and what is private to the user.
        _ => return None,
    })
}

/// Whether a filter wants a type: by its name, by `message.*`, or all of them where it is empty.
pub fn wants(filter: &[String], kind: &str) -> bool {
    filter.is_empty()
        || filter.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => kind.starts_with(prefix),
            None => wanted == kind,
        })
}

/// Checks a filter; gives the entry that names nothing.
pub fn check_filter(filter: &[String]) -> Result<(), String> {
    if filter.len() > FILTERS {
        return Err(format!("at most {FILTERS} types"));
    }
    let is_known = |wanted: &String| match wanted.strip_suffix(".*") {
        Some(group) => TYPES.iter().any(|kind| kind.split_once('.').is_some_and(|(head, _)| head == group)),
        None => TYPES.contains(&wanted.as_str()),
    };
    match filter.iter().find(|wanted| !is_known(wanted)) {
        Some(unknown) => Err(format!("{} is no type of event", unknown.get(..TYPE_BYTES).unwrap_or("this"))),
        None => Ok(()),
    }
}

/// The id of an event's deliveries: the same for every attempt, every repeat and every webhook.
pub fn message_id(log: &LogKey, seq: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(log.tenant.as_str());
    hash.update([0]);
    hash.update(log.log.to_text().as_bytes());
    hash.update([0]);
    hash.update(seq.to_be_bytes());
    id_of("evt_", hash)
}

/// An id from the first half of a hash.
pub(crate) fn id_of(prefix: &str, hash: Sha256) -> String {
    let mut text = prefix.to_owned();
    for byte in &hash.finalize()[..16] {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    conversation: &'a str,
    #[serde(with = "json::conversation_kind", skip_serializing_if = "json::is_default")]
    kind: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    event: &'a Event,
    #[serde(skip_serializing_if = "json::is_default")]
    truncated: bool,
}

/// The body of a delivery, below [`limits::WEBHOOK_BODY_BYTES`]. An event that is larger goes without what it says.
pub fn body(log: &LogKey, kind: ConversationKind, event: &Event) -> Option<(&'static str, Bytes)> {
    let name = type_of(event)?;
    let (conversation, user, kind) = match &log.log {
        LogId::Conversation(id) => (id.as_str(), "", kind),
        LogId::User(user) => ("", user.as_str(), ConversationKind::Unspecified),
    };
    let encode = |event: &Event, truncated| {
        let data = Data { conversation, kind: kind.into(), user, event, truncated };
        let timestamp = json::time::to_text(event.time_us).unwrap_or_default();
        serde_json::to_vec(&Body { r#type: name, timestamp, data })
    };
    let whole = encode(event, false).ok()?;
    if whole.len() <= limits::WEBHOOK_BODY_BYTES {
        return Some((name, whole.into()));
    }
    let bare = Event { body: None, ..event.clone() };
    Some((name, encode(&bare, true).ok()?.into()))
}

/// The body of a test.
pub fn test_body(now_us: i64) -> Bytes {
    let timestamp = json::time::to_text(now_us).unwrap_or_default();
    let body = serde_json::json!({ "type": TEST, "timestamp": timestamp, "data": { "text": "it works" } });
    body.to_string().into()
}

#[cfg(test)]
mod tests {
    use stonechat_model::{ConversationId, TenantId, UserId};
    use stonechat_proto::v1::{Marked, Message};

    use super::*;

    fn log() -> LogKey {
        let tenant = TenantId::parse("acme").unwrap();
        LogKey { tenant, log: LogId::Conversation(ConversationId::parse("team").unwrap()) }
    }

    fn said(text: &str) -> Event {
        let message = Message { text: text.to_owned(), ..Message::default() };
        let body = Some(event::Body::Message(message));
        Event { seq: 7, sender: "alice".to_owned(), time_us: 1_700_000_000_000_000, body, ..Event::default() }
    }

    #[test]
    fn a_body_says_type_time_and_what_happened() {
        let (name, bytes) = body(&log(), ConversationKind::Group, &said("hi")).unwrap();
        assert_eq!(name, "message.created");
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected = serde_json::json!({
            "type": "message.created",
            "timestamp": "2023-11-14T22:13:20Z",
            "data": { "conversation": "team", "kind": "group", "event": {
                "seq": 7, "sender": "alice", "time": "2023-11-14T22:13:20Z", "type": "message", "text": "hi",
            }},
        });
        assert_eq!(value, expected);
        let user = LogKey { log: LogId::User(UserId::parse("bob").unwrap()), ..log() };
        let marked = Event { body: Some(event::Body::Marked(Marked::default())), ..said("") };
        let (_, bytes) = body(&user, ConversationKind::UserLog, &marked).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["type"], &value["data"]["user"]), (&"conversation.read".into(), &"bob".into()));
    }

    #[test]
    fn a_body_is_thin_whatever_was_said() {
        let (_, bytes) = body(&log(), ConversationKind::Group, &said(&"\u{1}".repeat(limits::TEXT_BYTES))).unwrap();
        assert!(bytes.len() <= limits::WEBHOOK_BODY_BYTES);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["data"]["truncated"], &value["data"]["event"]["seq"]), (&true.into(), &7.into()));
        let (_, whole) = body(&log(), ConversationKind::Group, &said(&"a".repeat(limits::TEXT_BYTES))).unwrap();
        assert!(whole.len() > limits::TEXT_BYTES);
    }

    #[test]
    fn filters_choose_by_name_and_by_group() {
        let filter = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(wants(&[], "message.created"));
        assert!(wants(&filter(&["message.*"]), "message.edited"));
        assert!(!wants(&filter(&["message.created", "member.*"]), "message.edited"));
        assert_eq!(check_filter(&filter(&["message.*", "user.updated"])), Ok(()));
        for wrong in ["*", "message", "message.none", "nothing.*", "m*", ""] {
            assert!(check_filter(&filter(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_an_events_own() {
        let id = message_id(&log(), 7);
        assert_eq!(id, message_id(&log(), 7));
        assert_eq!(id.len(), 36);
        let other = LogKey { tenant: TenantId::parse("other").unwrap(), ..log() };
        assert!(id != message_id(&log(), 8) && id != message_id(&other, 7));
    }
}
