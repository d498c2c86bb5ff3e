//! What a hook may answer.

use serde::Deserialize;
use stonechat_commands::{check_action, check_depth};
use stonechat_model::limits;
use stonechat_proto::v1::{Message, action};

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is sent as it is.
    Allow,
    /// This is sent in its place.
    Change(Box<action::Kind>),
    /// It is not sent, for this reason.
    Refuse(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Allow,
    Change,
    Refuse,
}

#[derive(Deserialize)]
struct Body {
    action: Action,
    message: Option<Message>,
    reason: Option<String>,
}

/// What is said where a hook gives no reason.
const NO_REASON: &str = "message was refused by the tenant's hook";

impl Answer {
    /// Takes the body of an answer about an action; says why it is none.
    pub fn parse(body: &[u8], asked: &action::Kind) -> Result<Self, String> {
        check_depth("answer", body, limits::JSON_DEPTH).map_err(|error| error.reason.into_owned())?;
        let body: Body = serde_json::from_slice(body).map_err(|error| format!("answer is none: {error}"))?;
        match body.action {
            Action::Allow => Ok(Self::Allow),
            Action::Refuse => Ok(Self::Refuse(reason(body.reason.as_deref().unwrap_or_default()))),
            Action::Change => {
                let message = body.message.ok_or("answer changes the message and gives none")?;
                let changed = with_content(asked, message).ok_or("what was asked for has no content")?;
                check_action(&changed).map_err(|error| format!("changed message is none: {}", error.reason))?;
                Ok(Self::Change(Box::new(changed)))
            }
        }
    }
}

/// What an action says; `None` where it is none that a hook is asked about.
pub(super) fn content_of(kind: &action::Kind) -> Option<(&Message, Option<u64>)> {
    match kind {
        action::Kind::Send(message) => Some((message, None)),
        action::Kind::Edit(edit) => Some((edit.content.as_ref()?, Some(edit.target))),
        _ => None,
    }
}

fn with_content(kind: &action::Kind, message: Message) -> Option<action::Kind> {
    match kind {
        action::Kind::Send(_) => Some(action::Kind::Send(message)),
        action::Kind::Edit(edit) => {
            let mut edit = edit.clone();
            edit.content = Some(message);
            Some(action::Kind::Edit(edit))
        }
        _ => None,
    }
}

/// A reason on one line, as senders see it.
fn reason(text: &str) -> String {
    let mut end = text.len().min(limits::HOOK_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.trim().is_empty() { NO_REASON.to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use stonechat_proto::v1::Edited;

    use super::*;

    fn said(text: &str) -> Message {
        Message { text: text.to_owned(), ..Message::default() }
    }

    fn parse(body: &str) -> Result<Answer, String> {
        Answer::parse(body.as_bytes(), &action::Kind::Send(said("hi")))
    }

    #[test]
    fn a_hook_allows_changes_or_refuses() {
        assert_eq!(parse(r#"{"action":"allow"}"#), Ok(Answer::Allow));
        let changed = parse(r#"{"action":"change","message":{"text":"h*"}}"#);
        assert_eq!(changed, Ok(Answer::Change(Box::new(action::Kind::Send(said("h*"))))));
        assert_eq!(parse(r#"{"action":"refuse","reason":"no\nspam"}"#), Ok(Answer::Refuse("no spam".to_owned())));
        assert_eq!(parse(r#"{"action":"refuse","reason":null}"#), Ok(Answer::Refuse(NO_REASON.to_owned())));
        let edit = action::Kind::Edit(Edited { target: 3, content: Some(said("hi")) });
        let changed = Answer::parse(br#"{"action":"change","message":{"text":"ho"}}"#, &edit);
        let expected = action::Kind::Edit(Edited { target: 3, content: Some(said("ho")) });
        assert_eq!(changed, Ok(Answer::Change(Box::new(expected))));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let deep = format!(r#"{{"action":"allow","x":{}}}"#, "[".repeat(100_000));
        let long = format!(r#"{{"action":"change","message":{{"text":"{}"}}}}"#, "a".repeat(limits::TEXT_BYTES + 1));
        let wrong = [
            "",
            "null",
            "[]",
            "{}",
            "\u{0}",
            r#"{"action":null}"#,
            r#"{"action":"drop"}"#,
            r#"{"action":"change"}"#,
            r#"{"action":"change","message":null}"#,
            r#"{"action":"change","message":{}}"#,
            r#"{"action":"change","message":{"text":7}}"#,
            &deep,
            &long,
        ];
        for body in wrong {
            assert!(parse(body).is_err(), "{}", body.get(..60).unwrap_or(body));
        }
    }

    #[test]
    fn a_reason_is_short() {
        let body = serde_json::json!({ "action": "refuse", "reason": "é".repeat(1_000) }).to_string();
        let Ok(Answer::Refuse(reason)) = parse(&body) else { panic!("no refusal") };
        assert_eq!(reason.len(), limits::HOOK_REASON_BYTES);
    }
}
