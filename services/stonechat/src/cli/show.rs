//! Events as people read them.

use stonechat_client::v1::{Event, Message, event};

/// A time of day, UTC.
pub fn clock(time_us: i64) -> String {
    let seconds = time_us.div_euclid(1_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn content(message: &Message) -> String {
    let mut text = message.text.clone();
    if message.reply_to > 0 {
        text = format!("(to #{}) {text}", message.reply_to);
    }
    for attachment in &message.attachments {
        text.push_str(&format!(" [{}, {}, {}]", attachment.name, size(attachment.size_bytes), attachment.id));
    }
    if let Some(custom) = &message.custom {
        text.push_str(&format!(" [{}]", custom.r#type));
    }
    // What others wrote must not move the cursor or change colours.
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A text of others on one line, without what steers a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A length as people read it.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

fn names<'a>(users: impl IntoIterator<Item = &'a String>) -> String {
    users.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What happened, without who and when.
fn happened(body: &event::Body) -> String {
    match body {
        event::Body::Message(it) => content(it),
        event::Body::Edited(it) => {
            format!("changed #{}: {}", it.target, it.content.as_ref().map_or_else(String::new, content))
        }
        event::Body::Recalled(it) => format!("took #{} back", it.target),
        event::Body::ReactionAdded(it) => format!("{} #{}", it.emoji, it.target),
        event::Body::ReactionRemoved(it) => format!("took {} from #{}", it.emoji, it.target),
        event::Body::Pinned(it) => format!("pinned #{}", it.target),
        event::Body::Unpinned(it) => format!("unpinned #{}", it.target),
        event::Body::Created(it) => format!("created this: {}", names(it.members.iter().map(|entry| &entry.user))),
        event::Body::MembersAdded(it) => format!("added {}", names(it.members.iter().map(|entry| &entry.user))),
        event::Body::MembersRemoved(it) => format!("removed {}", names(&it.users)),
        event::Body::MemberLeft(_) => "left".to_owned(),
        event::Body::RoleChanged(it) => format!("made {} {}", it.user, it.role().as_str_name().to_lowercase()),
        event::Body::MemberMuted(it) if it.until_us == 0 => format!("unmuted {}", it.user),
        event::Body::MemberMuted(it) => format!("muted {}", it.user),
        event::Body::SettingsChanged(_) => "changed the settings".to_owned(),
        event::Body::OwnershipTransferred(it) => format!("gave this to {}", it.to),
        event::Body::Dismissed(_) => "closed this for good".to_owned(),
        event::Body::Upgraded(_) => "made this a channel".to_owned(),
        event::Body::Joined(it) => format!("joined {}", it.conversation),
        event::Body::Left(it) => format!("left {}", it.conversation),
        event::Body::Marked(it) => format!("read {} up to #{}", it.conversation, it.read_seq),
        event::Body::MessageHidden(it) => format!("deleted #{} of {} for oneself", it.seq, it.conversation),
        event::Body::MembershipChanged(it) => format!("changed own settings of {}", it.conversation),
        event::Body::ProfileChanged(_) => "changed the profile".to_owned(),
        event::Body::TokensRevoked(_) => "tokens were revoked".to_owned(),
        event::Body::SessionsClosed(_) => "sessions were closed".to_owned(),
        event::Body::ActivationChanged(it) if it.active => "was activated".to_owned(),
        event::Body::ActivationChanged(_) => "was deactivated".to_owned(),
        event::Body::UserErased(it) => format!("erased what {} said here", it.user),
        event::Body::MessagesExpired(it) => format!("what was said up to {} was taken out, by age", it.until_seq),
        event::Body::ErasedUser(_) => "was erased".to_owned(),
    }
}

/// An event on a line.
pub fn event(event: &Event) -> String {
    let sender = if event.sender.is_empty() { "-" } else { &event.sender };
    let (colon, what) = match &event.body {
        Some(body @ event::Body::Message(_)) => (":", happened(body)),
        Some(body) => ("", happened(body)),
        None => ("", "did something this version does not know".to_owned()),
    };
    format!("{} #{} {sender}{colon} {what}", clock(event.time_us), event.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let text = "hi \u{1b}[2J\u{7}there".to_owned();
        let body = Some(event::Body::Message(Message { text, ..Message::default() }));
        let line = event(&Event { seq: 3, sender: "bob".to_owned(), time_us: 3_723_000_000, body, ..Event::default() });
        assert_eq!(line, "01:02:03 #3 bob: hi \u{fffd}[2J\u{fffd}there");
    }
}
