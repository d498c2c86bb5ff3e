//! Commands of conversations: creation, settings, and the rules that every command shares.

use stonechat_errors::{Code, Error};
use stonechat_model::{ConversationId, LogKey, TimeUs, UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow},
    v1::{
        Audience, ConversationKind, Create, Created, Dismissed, MemberEntry, Role, Settings, SettingsChanged, Upgraded,
        action, event,
    },
};

use super::{Decision, Facts, Refusal, members, message};

/// What every decision on a conversation sees.
pub(super) struct Context<'a> {
    /// The log.
    pub log: &'a LogKey,
    /// Who wants it; `None`: the tenant.
    pub sender: Option<UserId>,
    /// What was read.
    pub facts: &'a Facts,
    /// The time the event will have.
    pub now_us: TimeUs,
    /// Whether it is a part of an imported history: what was done there was allowed.
    pub is_imported: bool,
}

/// The answer to whoever may not know whether the conversation is there.
fn unknown() -> Error {
    Error::not_found("conversation")
}

impl Context<'_> {
    /// The sender's role; the tenant may do what an owner may. Somebody who is no member knows of no conversation.
    pub fn role(&self) -> Result<Role, Error> {
        match &self.sender {
            None => Ok(Role::Owner),
            Some(_) if self.is_imported => Ok(Role::Owner),
            Some(user) => self.facts.member(user).map(MemberRow::role).ok_or_else(unknown),
        }
    }

    /// The sender's role as a member, whoever decides what is allowed.
    pub fn own_role(&self) -> Result<Role, Error> {
        let member = self.sender.as_ref().and_then(|user| self.facts.member(user));
        member.map(MemberRow::role).ok_or_else(unknown)
    }

    /// Whether the sender is that user.
    pub fn is_sender(&self, user: &str) -> bool {
        self.sender.as_ref().map_or("", UserId::as_str) == user
    }

    /// Demands a role.
    pub fn demand(&self, role: Role, what: &'static str) -> Result<(), Error> {
        if self.role()? >= role { Ok(()) } else { Err(Error::denied(what)) }
    }

    /// Demands what an audience setting says.
    pub fn demand_audience(&self, audience: Audience, what: &'static str) -> Result<(), Error> {
        match audience {
            Audience::Admins => self.demand(Role::Admin, what),
            Audience::Members | Audience::Unspecified => self.role().map(drop),
        }
    }
}

/// Demands a kind with members that come and go.
pub(super) fn demand_group(head: &HeadRow) -> Result<(), Error> {
    match head.kind() {
        ConversationKind::Group | ConversationKind::Channel => Ok(()),
        _ => Err(Error::new(Code::FailedPrecondition, "a direct conversation cannot do this")),
    }
}

/// Decides a command of a conversation.
pub(super) fn decide(context: &Context<'_>, head: Option<&HeadRow>, action: action::Kind) -> Decision {
    let Some(head) = head else {
        return match action {
            action::Kind::Create(create) => self::create(context, create),
            _ => Err(unknown().into()),
        };
    };
    if let action::Kind::Create(create) = &action {
        return create_again(context, head, create);
    }
    context.role()?;
    if head.dismissed {
        return Err(Error::new(Code::FailedPrecondition, "conversation was dismissed").into());
    }
    match action {
        action::Kind::Send(content) => message::send(context, head, content),
        action::Kind::Edit(edit) => message::edit(context, edit),
        action::Kind::Recall(recall) => message::recall(context, &recall),
        action::Kind::React(react) => message::react(context, react),
        action::Kind::Unreact(unreact) => message::unreact(context, unreact),
        action::Kind::Pin(pin) => message::pin(context, head, pin),
        action::Kind::Unpin(unpin) => message::unpin(context, head, unpin),
        action::Kind::AddMembers(add) => members::add(context, head, add),
        action::Kind::RemoveMembers(remove) => members::remove(context, head, remove),
        action::Kind::Leave(_) => members::leave(context, head),
        action::Kind::SetRole(change) => members::set_role(context, head, change),
        action::Kind::MuteMember(mute) => members::mute(context, head, mute),
        action::Kind::Transfer(transfer) => members::transfer(context, head, transfer),
        action::Kind::UpdateSettings(change) => update_settings(context, head, change),
        action::Kind::Dismiss(_) => dismiss(context, head),
        action::Kind::Upgrade(_) => upgrade(context, head),
        action::Kind::Create(_)
        | action::Kind::HideMessage(_)
        | action::Kind::UpdateMembership(_)
        | action::Kind::UpdateProfile(_) => Err(Error::invalid("command does not fit its log").into()),
    }
}

/// Creating what is there: the same direct conversation is what was wanted, anything else is taken.
fn create_again(context: &Context<'_>, head: &HeadRow, create: &Create) -> Decision {
    let is_peer = context.sender.as_ref().is_none_or(|user| head.peers.iter().any(|peer| peer == user.as_str()));
    if head.kind() == ConversationKind::Direct && create.kind() == ConversationKind::Direct && is_peer {
        return Err(Refusal::Unchanged);
    }
    Err(Error::new(Code::AlreadyExists, "conversation id is taken").into())
}

fn create(context: &Context<'_>, create: Create) -> Decision {
    let kind = create.kind();
    let users = first_members(context, &create)?;
    let members = match kind {
        ConversationKind::Direct => direct_members(context, &users)?,
        ConversationKind::Group | ConversationKind::Channel => {
            if context.log.log.conversation().is_some_and(ConversationId::is_direct) {
                return Err(Error::invalid("conversation id begins with a reserved prefix").into());
            }
            let entry = |(index, user): (usize, &UserId)| {
                let role = if index == 0 { Role::Owner } else { Role::Member };
                MemberEntry { user: user.to_string(), role: role.into() }
            };
            users.iter().enumerate().map(entry).collect()
        }
        _ => return Err(Error::invalid("kind must be direct, group or channel").into()),
    };
    let settings = complete(create.settings.unwrap_or_default(), kind);
    Ok(event::Body::Created(Created { kind: kind.into(), members, settings: Some(settings) }))
}

/// The sender and the others, each once; the first is the owner.
fn first_members(context: &Context<'_>, create: &Create) -> Result<Vec<UserId>, Error> {
    let mut users: Vec<UserId> = context.sender.iter().cloned().collect();
    for text in &create.members {
        let user = UserId::parse(text).map_err(|e| Error::invalid(format!("members: {e}")))?;
        if !users.contains(&user) {
            users.push(user);
        }
    }
    if users.is_empty() {
        return Err(Error::invalid("a conversation needs a member"));
    }
    if users.len() > limits::MEMBERS_PER_COMMAND {
        let reason = format!("at most {} members at once", limits::MEMBERS_PER_COMMAND);
        return Err(Error::new(Code::LimitExceeded, reason));
    }
    Ok(users)
}

fn direct_members(context: &Context<'_>, users: &[UserId]) -> Result<Vec<MemberEntry>, Error> {
    let [a, b] = users else { return Err(Error::invalid("a direct conversation has two users")) };
    if context.log.log.conversation() != Some(&ConversationId::direct(a, b)) {
        return Err(Error::invalid("conversation id is not the one of these two users"));
    }
    let entry = |user: &UserId| MemberEntry { user: user.to_string(), role: Role::Member.into() };
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    Ok(vec![entry(first), entry(second)])
}

/// First settings with everything set.
fn complete(given: Settings, kind: ConversationKind) -> Settings {
    let or = |audience: Audience, default: Audience| match audience {
        Audience::Unspecified => default.into(),
        set => set.into(),
    };
    let who_may_add = if kind == ConversationKind::Channel { Audience::Admins } else { Audience::Members };
    Settings {
        name: Some(given.name.clone().unwrap_or_default()),
        avatar: Some(given.avatar.clone().unwrap_or_default()),
        announcement: Some(given.announcement.clone().unwrap_or_default()),
        who_may_post: or(given.who_may_post(), Audience::Members),
        who_may_add: or(given.who_may_add(), who_may_add),
        read_receipts: Some(given.read_receipts.unwrap_or(kind != ConversationKind::Channel)),
    }
}

/// The settings after a change.
pub(super) fn merge(mut present: Settings, change: &Settings) -> Settings {
    let text = |present: &mut Option<String>, change: &Option<String>| {
        if change.is_some() {
            present.clone_from(change);
        }
    };
    text(&mut present.name, &change.name);
    text(&mut present.avatar, &change.avatar);
    text(&mut present.announcement, &change.announcement);
    if change.who_may_post() != Audience::Unspecified {
        present.who_may_post = change.who_may_post;
    }
    if change.who_may_add() != Audience::Unspecified {
        present.who_may_add = change.who_may_add;
    }
    present.read_receipts = change.read_receipts.or(present.read_receipts);
    present
}

fn update_settings(context: &Context<'_>, head: &HeadRow, change: SettingsChanged) -> Decision {
    demand_group(head)?;
    context.demand(Role::Admin, "only admins change settings")?;
    let settings = change.settings.ok_or_else(|| Error::invalid("settings are missing"))?;
    let present = head.settings.clone().unwrap_or_default();
    if merge(present.clone(), &settings) == present {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::SettingsChanged(SettingsChanged { settings: Some(settings) }))
}

fn dismiss(context: &Context<'_>, head: &HeadRow) -> Decision {
    demand_group(head)?;
    context.demand(Role::Owner, "only the owner dismisses")?;
    Ok(event::Body::Dismissed(Dismissed {}))
}

fn upgrade(context: &Context<'_>, head: &HeadRow) -> Decision {
    demand_group(head)?;
    context.demand(Role::Admin, "only admins upgrade")?;
    if head.kind() == ConversationKind::Channel {
        return Err(Refusal::Unchanged);
    }
    Ok(event::Body::Upgraded(Upgraded {}))
}
