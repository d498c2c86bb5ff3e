//! The form of every action.

use stonechat_errors::{Code, Error};
use stonechat_model::{TimeUs, UserId, limits};
use stonechat_proto::{
    json,
    v1::{
        Attachment, Audience, ConversationKind, Create, Custom, MembershipChanged, Message, ProfileChanged, Role,
        Settings, action,
    },
};

use crate::text::{check_body, check_json, check_length, check_plain};

/// Checks the form of an action: sizes, texts, and what must be there.
pub fn action(kind: &action::Kind) -> Result<(), Error> {
    use action::Kind;
    match kind {
        Kind::Send(content) => something(content).and_then(|()| message(content)),
        Kind::Edit(edit) => {
            target(edit.target)?;
            let content = edit.content.as_ref().ok_or_else(|| Error::invalid("content is missing"))?;
            something(content).and_then(|()| message(content))
        }
        Kind::Recall(it) => target(it.target),
        Kind::React(it) => target(it.target).and_then(|()| emoji(&it.emoji)),
        Kind::Unreact(it) => target(it.target).and_then(|()| emoji(&it.emoji)),
        Kind::Pin(it) => target(it.target),
        Kind::Unpin(it) => target(it.target),
        Kind::Create(it) => create(it),
        Kind::AddMembers(it) => {
            Role::try_from(it.role).map_err(|_| Error::invalid("role is unknown"))?;
            users("users", &it.users)
        }
        Kind::RemoveMembers(it) => users("users", &it.users),
        Kind::SetRole(it) => {
            Role::try_from(it.role).map_err(|_| Error::invalid("role is unknown"))?;
            user("user", &it.user)
        }
        Kind::MuteMember(it) => user("user", &it.user).and_then(|()| time("until", it.until_us)),
        Kind::Transfer(it) => user("to", &it.to),
        Kind::UpdateSettings(it) => {
            settings(it.settings.as_ref().ok_or_else(|| Error::invalid("settings are missing"))?)
        }
        Kind::HideMessage(_) | Kind::Leave(_) | Kind::Dismiss(_) | Kind::Upgrade(_) => Ok(()),
        Kind::UpdateMembership(it) => membership(it),
        Kind::UpdateProfile(it) => profile(it),
    }
}

fn target(seq: u64) -> Result<(), Error> {
    if seq == 0 { Err(Error::invalid("target is missing")) } else { Ok(()) }
}

fn emoji(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid("emoji is missing"));
    }
    check_plain("emoji", text, limits::EMOJI_BYTES)
}

fn user(what: &'static str, text: &str) -> Result<(), Error> {
    UserId::parse(text).map(drop).map_err(|e| Error::invalid(format!("{what}: {e}")))
}

/// Sessions in JSON get times as RFC 3339, which has no years beyond 9999.
fn time(what: &'static str, us: TimeUs) -> Result<(), Error> {
    match json::time::to_text(us) {
        Some(_) if us >= 0 => Ok(()),
        _ => Err(Error::invalid(format!("{what} is no time between 1970 and 9999"))),
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), Error> {
    if count <= max {
        return Ok(());
    }
    Err(Error::new(Code::LimitExceeded, format!("at most {max} {what}")))
}

fn users(what: &'static str, users: &[String]) -> Result<(), Error> {
    at_most(what, users.len(), limits::MEMBERS_PER_COMMAND)?;
    if users.is_empty() {
        return Err(Error::invalid(format!("{what} are missing")));
    }
    users.iter().try_for_each(|text| user(what, text))
}

fn something(content: &Message) -> Result<(), Error> {
    if content.text.is_empty() && content.attachments.is_empty() && content.custom.is_none() {
        return Err(Error::invalid("message is empty"));
    }
    Ok(())
}

/// Checks what a message says; that it says something is another question.
pub(crate) fn message(content: &Message) -> Result<(), Error> {
    check_body("text", &content.text, limits::TEXT_BYTES)?;
    at_most("mentions", content.mentions.len(), limits::MENTIONS)?;
    content.mentions.iter().try_for_each(|text| user("mentions", text))?;
    at_most("attachments", content.attachments.len(), limits::ATTACHMENTS)?;
    content.attachments.iter().try_for_each(attachment)?;
    content.custom.as_ref().map_or(Ok(()), custom)
}

fn attachment(attachment: &Attachment) -> Result<(), Error> {
    if attachment.id.is_empty() {
        return Err(Error::invalid("attachment has no id"));
    }
    for (what, text) in [
        ("attachment id", &attachment.id),
        ("attachment name", &attachment.name),
        ("attachment content type", &attachment.content_type),
    ] {
        check_plain(what, text, limits::ATTACHMENT_TEXT_BYTES)?;
    }
    if attachment.name.contains(['/', '\\']) {
        return Err(Error::invalid("attachment name holds a path"));
    }
    Ok(())
}

fn custom(custom: &Custom) -> Result<(), Error> {
    if custom.r#type.is_empty() {
        return Err(Error::invalid("custom content has no type"));
    }
    check_plain("custom type", &custom.r#type, limits::CUSTOM_TYPE_BYTES)?;
    if custom.data.is_empty() {
        return Ok(());
    }
    check_length("custom data", &custom.data, limits::CUSTOM_BYTES)?;
    check_json("custom data", &custom.data, limits::JSON_DEPTH)
}

fn create(create: &Create) -> Result<(), Error> {
    match ConversationKind::try_from(create.kind) {
        Ok(ConversationKind::Direct | ConversationKind::Group | ConversationKind::Channel) => {}
        _ => return Err(Error::invalid("kind must be direct, group or channel")),
    }
    at_most("members", create.members.len(), limits::MEMBERS_PER_COMMAND)?;
    create.members.iter().try_for_each(|text| user("members", text))?;
    create.settings.as_ref().map_or(Ok(()), settings)
}

fn settings(settings: &Settings) -> Result<(), Error> {
    for audience in [settings.who_may_post, settings.who_may_add] {
        Audience::try_from(audience).map_err(|_| Error::invalid("audience is unknown"))?;
    }
    let text = |what, text: &Option<String>, max| text.as_ref().map_or(Ok(()), |text| check_plain(what, text, max));
    text("name", &settings.name, limits::NAME_BYTES)?;
    text("avatar", &settings.avatar, limits::AVATAR_BYTES)?;
    let announcement = settings.announcement.as_deref().unwrap_or_default();
    check_body("announcement", announcement, limits::ANNOUNCEMENT_BYTES)
}

fn membership(change: &MembershipChanged) -> Result<(), Error> {
    check_body("draft", change.draft.as_deref().unwrap_or_default(), limits::DRAFT_BYTES)
}

fn profile(change: &ProfileChanged) -> Result<(), Error> {
    check_plain("name", change.name.as_deref().unwrap_or_default(), limits::NAME_BYTES)?;
    check_plain("avatar", change.avatar.as_deref().unwrap_or_default(), limits::AVATAR_BYTES)
}

#[cfg(test)]
mod tests {
    use stonechat_proto::v1::{AddMembers, Edited, ReactionAdded, SettingsChanged};

    use super::*;

    fn code(kind: action::Kind) -> &'static str {
        action(&kind).err().map_or("ok", |error| error.code.as_str())
    }

    fn send(message: Message) -> &'static str {
        code(action::Kind::Send(message))
    }

    #[test]
    fn a_message_says_something_and_keeps_to_its_limits() {
        let text = |text: String| Message { text, ..Message::default() };
        assert_eq!(send(Message::default()), "invalid_argument");
        assert_eq!(send(text("a".repeat(limits::TEXT_BYTES))), "ok");
        assert_eq!(send(text("a".repeat(limits::TEXT_BYTES + 1))), "too_large");
        assert_eq!(send(text("a\0b".to_owned())), "invalid_argument");
        assert_eq!(send(text("right to left \u{202e} stays the writer's own".to_owned())), "ok");
        let mentions = vec!["bob".to_owned(); limits::MENTIONS + 1];
        assert_eq!(send(Message { text: "hi".to_owned(), mentions, ..Message::default() }), "limit_exceeded");
        let mentions = vec!["not an id".to_owned()];
        assert_eq!(send(Message { text: "hi".to_owned(), mentions, ..Message::default() }), "invalid_argument");
        let custom = |data: &str| Some(Custom { r#type: "order".to_owned(), data: data.to_owned() });
        assert_eq!(send(Message { custom: custom(r#"{"id":1}"#), ..Message::default() }), "ok");
        assert_eq!(send(Message { custom: custom("{"), ..Message::default() }), "invalid_argument");
        let attachments = vec![Attachment { id: "f".to_owned(), ..Attachment::default() }; limits::ATTACHMENTS + 1];
        assert_eq!(send(Message { attachments, ..Message::default() }), "limit_exceeded");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let content = Some(Message { text: "hi".to_owned(), ..Message::default() });
        assert_eq!(code(action::Kind::Edit(Edited { target: 0, content })), "invalid_argument");
        assert_eq!(code(action::Kind::Edit(Edited { target: 1, content: None })), "invalid_argument");
        for emoji in ["", "\n", &"x".repeat(limits::EMOJI_BYTES + 1)] {
            let react = ReactionAdded { target: 1, emoji: emoji.to_owned() };
            assert_ne!(code(action::Kind::React(react)), "ok", "{emoji:?}");
        }
        let add = |users: Vec<String>, role| code(action::Kind::AddMembers(AddMembers { users, role }));
        assert_eq!(add(vec![], 0), "invalid_argument");
        assert_eq!(add(vec!["bob".to_owned()], 99), "invalid_argument");
        assert_eq!(add(vec!["bob".to_owned(); 101], 0), "limit_exceeded");
        let create = Create { kind: ConversationKind::UserLog.into(), ..Create::default() };
        assert_eq!(code(action::Kind::Create(create)), "invalid_argument");
        let settings = Some(Settings { name: Some("a\u{202e}b".to_owned()), ..Settings::default() });
        assert_eq!(code(action::Kind::UpdateSettings(SettingsChanged { settings })), "invalid_argument");
    }
}
