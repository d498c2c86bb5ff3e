//! What an open session asks for.

use std::sync::Arc;

use stonechat_commands::CommandRequest;
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, ConversationId, TimeUs, UserId, limits};
use stonechat_proto::{
    internal::v1::{CommandRecord, Origin},
    v1::{
        Ack, Action, Availability, Command, History, Mark, Page, Refresh, SetStatus, Signal, Subscribe, Typing, action,
        server_frame, signal,
    },
};
use stonechat_rpc::{StatusUpdate, TypingRequest};
use stonechat_views::Window;

use tracing::Instrument as _;

use super::{Session, hooked::Hooked};
use crate::hub::{Attached, Hub};

/// The longest W3C trace context that is carried on.
const TRACEPARENT_BYTES: usize = 64;

fn conversation_id(text: &str) -> Result<ConversationId, Error> {
    ConversationId::parse(text).map_err(|e| Error::invalid(format!("conversation: {e}")))
}

/// Hands a command to a router; its outcome goes to the session.
pub(super) async fn submit(hub: &Hub, session: &Attached, id: u64, mut record: CommandRecord) -> Result<(), Error> {
    if !session.begin_command(limits::SESSION_COMMANDS_IN_FLIGHT) {
        return Err(Error::new(Code::RateLimited, "too many commands wait for their outcome"));
    }
    record.origin = Some(Origin { node: hub.config.id.to_string(), session: session.id, id });
    hub.opening.command_began(session.id, id);
    let submitted = hub.dependencies.link.submit(record).await;
    if submitted.is_err() {
        hub.opening.command_refused(session.id, id);
        session.end_command();
    }
    submitted
}

fn done(session: &Attached, id: u64) {
    session.tell(server_frame::Kind::Ack(Ack { id, ..Ack::default() }));
}

impl Session {
    pub(super) async fn command(&self, session: &Arc<Attached>, command: Command, now_us: TimeUs) -> Result<(), Error> {
        let clients = &self.hub.dependencies.clients;
        match &command.action {
            Some(Action { kind: Some(action::Kind::Send(_)) }) => {
                clients.send(&session.tenant, session.quotas(), now_us)?;
            }
            Some(Action { kind: Some(action::Kind::UpdateProfile(_)) }) => {
                clients.seat(&session.tenant, &session.user, session.quotas()).await?;
            }
            _ => {}
        }
        let client_id = ClientId::parse(&command.client_id).map_err(|e| Error::invalid(e.to_string()))?;
        let named = if command.traceparent.len() <= TRACEPARENT_BYTES { command.traceparent } else { String::new() };
        let span = stonechat_telemetry::begin("gateway.command", &named);
        // Where this process keeps no traces it carries on what came.
        let traceparent = if span.is_disabled() { named } else { stonechat_telemetry::traceparent_of(&span) };
        let request = CommandRequest {
            tenant: session.tenant.clone(),
            sender: Some(session.user.clone()),
            is_by_tenant: false,
            asked_hash: 0,
            conversation: command.conversation,
            client_id,
            action: command.action.ok_or_else(|| Error::invalid("action is missing"))?,
            traceparent,
        };
        if stonechat_webhooks::hook::is_asked(&request.action)
            && let Some(access) = &self.hub.dependencies.hooks
        {
            let hook = access.hooks.of(&session.tenant, false).await?;
            // Without a hook, too, a message stays behind those that pass one still.
            if hook.is_some() || session.hooked.is_busy() {
                let message = Hooked { id: command.id, request, hook };
                return message.begin(&self.hub, access, session, span);
            }
        }
        let work = async {
            let record = stonechat_commands::command(&self.hub.views, request).await?;
            submit(&self.hub, session, command.id, record).await
        };
        work.instrument(span).await
    }

    pub(super) async fn history(&self, session: &Arc<Attached>, history: History) -> Result<(), Error> {
        let window = match (history.after, history.before, history.around) {
            (None, None, None) => Window::Newest,
            (Some(seq), None, None) => Window::After(seq),
            (None, Some(seq), None) => Window::Before(seq),
            (None, None, Some(seq)) => Window::Around(seq),
            _ => return Err(Error::invalid("at most one of after, before and around is set")),
        };
        let limit = usize::try_from(history.limit).unwrap_or(limits::PAGE_EVENTS);
        let views = &self.hub.views;
        let page = if history.conversation.is_empty() {
            views.user_log(&session.tenant, &session.user, window, limit).await?
        } else {
            let id = conversation_id(&history.conversation)?;
            views.history(&session.tenant, Some(&session.user), &id, window, limit).await?
        };
        session.tell(server_frame::Kind::Page(Page { id: history.id, ..page }));
        Ok(())
    }

    pub(super) async fn mark(&self, session: &Arc<Attached>, mark: Mark) -> Result<(), Error> {
        let record = stonechat_commands::mark(&self.hub.views, &session.tenant, &session.user, &mark).await?;
        submit(&self.hub, session, mark.id, record).await
    }

    pub(super) async fn typing(&self, session: &Arc<Attached>, typing: Typing) -> Result<(), Error> {
        let conversation = conversation_id(&typing.conversation)?;
        let (tenant, user) = (session.tenant.clone(), session.user.clone());
        if !self.hub.views.is_member(&tenant, &user, &conversation).await? {
            return Err(Error::not_found("conversation"));
        }
        let request = TypingRequest { tenant, conversation, user, stopped: typing.stopped };
        self.hub.dependencies.link.typing(request).await;
        Ok(())
    }

    pub(super) async fn subscribe(&self, session: &Arc<Attached>, subscribe: Subscribe) -> Result<(), Error> {
        let parse = |users: &[String]| -> Result<Vec<_>, Error> {
            let parse = |text: &String| UserId::parse(text).map_err(|e| Error::invalid(format!("users: {e}")));
            users.iter().map(|text| Ok((session.tenant.clone(), parse(text)?))).collect()
        };
        let (follow, unfollow) = (parse(&subscribe.users)?, parse(&subscribe.unsubscribe)?);
        self.hub.remove_watch(session, &unfollow).await?;
        if session.watched.lock().len() + follow.len() > limits::SUBSCRIPTIONS {
            let reason = format!("at most {} users are followed", limits::SUBSCRIPTIONS);
            return Err(Error::new(Code::LimitExceeded, reason));
        }
        // Followed first, read afterwards: a change between the two is told twice rather than never.
        self.hub.add_watch(session, &follow).await?;
        let users: Vec<UserId> = follow.into_iter().map(|(_, user)| user).collect();
        for status in self.hub.dependencies.presence.statuses(&session.tenant, &users).await? {
            let user = status.user.clone();
            let kind = Some(signal::Kind::Status(status));
            session.tell(server_frame::Kind::Signal(Signal { conversation: String::new(), user, kind }));
        }
        done(session, subscribe.id);
        Ok(())
    }

    pub(super) async fn refresh(&self, session: &Arc<Attached>, refresh: Refresh, now_us: TimeUs) -> Result<(), Error> {
        let claims = self.hub.dependencies.verifier.user_token(&refresh.token, &session.device, now_us).await?;
        if claims.tenant != session.tenant || claims.user != session.user {
            return Err(Error::new(Code::Unauthenticated, "token is another user's"));
        }
        session.renew(claims);
        done(session, refresh.id);
        Ok(())
    }

    pub(super) async fn set_status(&self, session: &Arc<Attached>, status: SetStatus) -> Result<(), Error> {
        let away = match status.availability() {
            Availability::Unspecified => None,
            Availability::Online => Some(false),
            Availability::Away => Some(true),
            Availability::Offline => return Err(Error::invalid("availability must be online or away")),
        };
        for (what, text, max) in
            [("text", &status.text, limits::STATUS_TEXT_BYTES), ("emoji", &status.emoji, limits::EMOJI_BYTES)]
        {
            stonechat_commands::check_plain(what, text.as_deref().unwrap_or_default(), max)?;
        }
        let update = StatusUpdate { away, text: status.text, emoji: status.emoji };
        self.hub.dependencies.presence.set_status(&session.tenant, &session.user, update).await?;
        done(session, status.id);
        Ok(())
    }
}
