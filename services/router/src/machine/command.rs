//! Commands as the machine takes them.

use std::{borrow::Cow, collections::BTreeSet};

use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId, LogId, LogKey, Position, TenantId, UserId};
use stonechat_proto::{
    content_hash,
    internal::v1::{CommandRecord, EraseUser, ExpireMessages, HeadRow, Imported, Origin, command_record, user_action},
    v1::action,
};

use super::{Facts, Need};

/// A command of a log.
#[derive(Debug, Clone)]
pub struct Command {
    /// Who wants it; `None`: the tenant.
    pub sender: Option<UserId>,
    /// Its client id.
    pub client_id: Option<ClientId>,
    /// The first eight bytes of the SHA-256 of what is wanted, as its sender asked for it.
    pub content_hash: u64,
    /// Set where it is a part of an imported history.
    pub imported: Option<Imported>,
    /// Whether a file that it names is not to be had.
    pub lacks_file: bool,
    /// What is wanted.
    pub body: Body,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub enum Body {
    /// Something of a conversation.
    Conversation(action::Kind),
    /// Something of a user log.
    User(user_action::Kind),
    /// To erase a user from a conversation.
    Erase(EraseUser),
    /// To take out what was said too long ago.
    Expire(ExpireMessages),
}

/// A record taken apart.
#[derive(Debug)]
pub struct Parsed {
    /// The log it is for.
    pub log: LogKey,
    /// Where the outcome goes.
    pub origin: Option<Origin>,
    /// The W3C trace context.
    pub traceparent: String,
    /// The command.
    pub command: Result<Command, Error>,
}

impl Parsed {
    /// Takes a record apart; `None` when it does not even name a log.
    pub fn from_record(record: CommandRecord) -> Option<Self> {
        let tenant = TenantId::parse(&record.tenant).ok()?;
        let log = LogKey { tenant, log: LogId::parse(&record.log).ok()? };
        let is_conversation = log.log.conversation().is_some();
        let (asked_hash, lacks_file, imported) = (record.asked_hash, record.lacks_file, record.imported);
        let command = Command::parse(record.sender, &record.client_id, record.body, is_conversation).map(|command| {
            let content_hash = if asked_hash == 0 { command.content_hash } else { asked_hash };
            Command { imported, lacks_file, content_hash, ..command }
        });
        Some(Self { log, origin: record.origin, traceparent: record.traceparent, command })
    }
}

impl Command {
    fn parse(
        sender: String,
        client_id: &str,
        body: Option<command_record::Body>,
        is_conversation: bool,
    ) -> Result<Self, Error> {
        let sender = match sender.as_str() {
            "" => None,
            text => Some(UserId::parse(text).map_err(|e| Error::invalid(format!("sender: {e}")))?),
        };
        let client_id = match client_id {
            "" => None,
            text => Some(ClientId::parse(text).map_err(|e| Error::invalid(e.to_string()))?),
        };
        let (content_hash, body) = match body {
            Some(command_record::Body::Action(action)) if is_conversation => {
                (content_hash(&action), action.kind.map(Body::Conversation))
            }
            Some(command_record::Body::UserAction(action)) if !is_conversation => {
                (content_hash(&action), action.kind.map(Body::User))
            }
            Some(command_record::Body::EraseUser(erase)) if is_conversation => {
                (content_hash(&erase), Some(Body::Erase(erase)))
            }
            Some(command_record::Body::ExpireMessages(expire)) if is_conversation => {
                (content_hash(&expire), Some(Body::Expire(expire)))
            }
            _ => return Err(Error::invalid("command does not fit its log")),
        };
        let body = body.ok_or_else(|| Error::invalid("command wants nothing"))?;
        Ok(Self { sender, client_id, content_hash, imported: None, lacks_file: false, body })
    }

    /// The sender's id; empty for the tenant.
    pub fn sender_text(&self) -> Cow<'_, str> {
        self.sender.as_ref().map_or(Cow::Borrowed(""), |sender| Cow::Borrowed(sender.as_str()))
    }

    /// The facts that deciding it and applying its event take.
    pub fn needs(&self, head: Option<&HeadRow>) -> Vec<Need> {
        let mut needs = Vec::with_capacity(4);
        if let Some(imported) = &self.imported
            && (1..=head.map_or(0, |head| head.last_seq)).contains(&imported.seq)
        {
            // It is there already, or not at all.
            return vec![Need::Event(imported.seq)];
        }
        if let (Some(id), None) = (self.client_id, &self.imported) {
            needs.push(Need::Seen(self.sender_text().into_owned(), id));
        }
        match &self.body {
            Body::Conversation(action) => {
                needs.extend(self.sender.clone().map(Need::Member));
                let users = users_of(action);
                needs.extend(users.iter().filter_map(|user| UserId::parse(user).ok()).map(Need::Member));
                if let (action::Kind::Transfer(_), Some(head)) = (action, head) {
                    needs.extend(UserId::parse(&head.owner).ok().map(Need::Member));
                }
                if let Some(seq) = target_of(action) {
                    needs.extend([Need::Event(seq), Need::Overlay(seq)]);
                }
            }
            Body::User(action) => {
                needs.extend(user_needs(action));
                needs.push(Need::User);
            }
            Body::Erase(erase) => needs.extend(super::erase::needs(&erase.user, &erase.targets, &erase.touched)),
            Body::Expire(expire) => needs.extend(super::erase::needs_of_seqs(&expire.targets)),
        }
        needs
    }
}

impl Facts {
    /// Whether a fact that the command needs comes from the command's future: from a later command, or from this
    /// one, which then somebody else has decided. Only the row of its client id may be of its own position, for it
    /// is written before its event and what an attempt left may be it alone.
    pub fn are_from_future(&self, head: Option<&HeadRow>, command: &Command, position: Position) -> bool {
        command.needs(head).iter().any(|need| {
            let version = self.version(need).unwrap_or(0);
            version > position.get() || (version == position.get() && !matches!(need, Need::Seen(..)))
        })
    }
}

/// The users an action is about, each once.
fn users_of(action: &action::Kind) -> BTreeSet<&str> {
    match action {
        action::Kind::AddMembers(add) => add.users.iter().map(String::as_str).collect(),
        action::Kind::RemoveMembers(remove) => remove.users.iter().map(String::as_str).collect(),
        action::Kind::SetRole(change) => BTreeSet::from([change.user.as_str()]),
        action::Kind::MuteMember(mute) => BTreeSet::from([mute.user.as_str()]),
        action::Kind::Transfer(transfer) => BTreeSet::from([transfer.to.as_str()]),
        _ => BTreeSet::new(),
    }
}

/// The message an action is about.
fn target_of(action: &action::Kind) -> Option<u64> {
    match action {
        action::Kind::Edit(edit) => Some(edit.target),
        action::Kind::Recall(recall) => Some(recall.target),
        action::Kind::React(react) => Some(react.target),
        action::Kind::Unreact(unreact) => Some(unreact.target),
        action::Kind::Pin(pin) => Some(pin.target),
        action::Kind::Unpin(unpin) => Some(unpin.target),
        _ => None,
    }
}

fn user_needs(action: &user_action::Kind) -> Vec<Need> {
    use user_action::Kind;
    let (conversation, hidden) = match action {
        Kind::ApplyMembership(apply) => (&apply.conversation, None),
        Kind::Mark(mark) => (&mark.conversation, None),
        Kind::UpdateMembership(change) => (&change.conversation, None),
        Kind::HideMessage(hide) => (&hide.conversation, Some(hide.seq)),
        Kind::UpdateProfile(_)
        | Kind::RevokeTokens(_)
        | Kind::CloseSessions(_)
        | Kind::SetActive(_)
        | Kind::Erase(_) => return Vec::new(),
    };
    let Ok(conversation) = ConversationId::parse(conversation) else { return Vec::new() };
    match hidden {
        Some(seq) => vec![Need::Hidden(conversation, seq)],
        None => vec![Need::Membership(conversation)],
    }
}
