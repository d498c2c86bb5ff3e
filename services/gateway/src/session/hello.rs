//! Opening a session, and catching up.
//!
//! Register, then read: the route is registered before memberships are read, interest in a channel before its head
//! is. An event appended before the read is in what is read; one appended after it finds the route.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::future::{Either, select};
use stonechat_errors::{Code, Error};
use stonechat_model::{ConversationId, DeviceId, TimeUs, limits};
use stonechat_proto::v1::{
    Conversation, ConversationKind, Cursor, Hello, Page, Pong, Ready, SessionLimits, Synced, event, server_frame,
};
use stonechat_views::{List, Window};

use super::Session;
use crate::{
    close::Close,
    hub::{Attached, Hub, Turn},
};

/// Signs of life within the time after which a client gives a silent server up.
const SIGNS_OF_LIFE: u32 = 4;
/// Conversations that are read and told at once: whoever chats meanwhile waits behind no more than these reads.
const LISTED_AT_ONCE: usize = 25;

impl Session {
    pub(super) async fn hello(&mut self, hello: Hello, now_us: TimeUs) {
        let Ok(device) = DeviceId::parse(&hello.device) else {
            return self.outbox.close(Close::bad_frame("device is no id"));
        };
        let verified = self.hub.dependencies.verifier.user_token(&hello.token, &device, now_us).await;
        let claims = match verified {
            Ok(claims) => claims,
            Err(error) if error.code == Code::Unauthenticated => {
                return self.outbox.close(Close::bad_token(error.reason));
            }
            Err(error) => return self.outbox.close(Close::try_again(error.reason)),
        };
        let connection = match self.hub.dependencies.clients.connect(&claims.tenant, claims.quotas, now_us) {
            Ok(connection) => connection,
            Err(error) => return self.outbox.close(Close::rate(error.reason)),
        };
        let id = self.hub.next_session_id();
        let session = Attached::new(id, claims, device, now_us, self.encoding, Arc::clone(&self.outbox), connection);
        session.tell(server_frame::Kind::Ready(self.ready(&session)));
        self.attached = Some(Arc::clone(&session));
        metrics::counter!("stonechat_gateway_hellos_total").increment(1);
        let rules = self.hub.rules;
        let opened = async {
            let mut turn = self.turn(&session).await;
            if rules.register_before_sync {
                self.hub.attach(&session).await?;
            }
            // What became of the user before was told to nobody here, and the turn may have been long in coming.
            self.hub.check_credential(&session).await?;
            sync(&self.hub, &session, &mut turn, 0, &hello.cursors, hello.user_log_seq).await?;
            if !rules.register_before_sync {
                self.hub.attach(&session).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = opened.await {
            // Half a sync is none: the client comes again.
            self.outbox.close(Close::try_again(error.reason));
        }
    }

    /// Waits until it is the session's turn to open; its client is told now and then that the server is there, since what
    /// it says itself is not read meanwhile.
    async fn turn(&self, session: &Attached) -> Turn<'_> {
        let mut waiting = std::pin::pin!(self.hub.opening.turn());
        loop {
            let sign = (self.hub.dependencies.sleep)(self.hub.config.heartbeat / SIGNS_OF_LIFE);
            match select(waiting.as_mut(), sign).await {
                Either::Left((turn, _)) => return turn,
                Either::Right(_) => {
                    let time_us = (self.hub.dependencies.now_us)();
                    session.tell(server_frame::Kind::Pong(Pong { id: 0, time_us }));
                }
            }
        }
    }

    fn ready(&self, session: &Attached) -> Ready {
        let config = &self.hub.config;
        Ready {
            session: stonechat_views::session_id(config.id.as_str(), session.id),
            tenant: session.tenant.to_string(),
            user: session.user.to_string(),
            device: session.device.to_string(),
            heartbeat_ms: config.heartbeat.as_millis().try_into().unwrap_or(u32::MAX),
            token_expires_us: session.expires_us(),
            limits: Some(SessionLimits {
                frame_bytes: limits::FRAME_BYTES as u32,
                text_bytes: limits::TEXT_BYTES as u32,
                page_events: limits::PAGE_EVENTS as u32,
                subscriptions: limits::SUBSCRIPTIONS as u32,
                commands_per_second: config.commands_per_s,
            }),
        }
    }
}

/// Tells a session its conversations, and what it missed in those it has cursors of and in its user log.
pub(super) async fn sync(
    hub: &Hub,
    session: &Arc<Attached>,
    turn: &mut Turn<'_>,
    id: u64,
    cursors: &[Cursor],
    user_log_seq: u64,
) -> Result<(), Error> {
    if cursors.len() > limits::CURSORS {
        return Err(Error::new(Code::LimitExceeded, format!("at most {} cursors", limits::CURSORS)));
    }
    let (tenant, user) = (&session.tenant, &session.user);
    let began_us = (hub.dependencies.now_us)();
    let listed_at = hub.views.user_log_seq(tenant, user).await?;
    turn.note((hub.dependencies.now_us)() - began_us);
    tell_conversations(hub, session, turn, id, cursors).await?;
    let window = Window::After(user_log_seq);
    let mut page = hub.views.user_log(tenant, user, window, limits::SYNC_EVENTS).await?;
    let newest = page.last_seq;
    if !page.events.is_empty() {
        page.id = id;
        session.tell(server_frame::Kind::Page(page));
    }
    tell_joined_since(hub, session, listed_at, newest).await?;
    session.tell(server_frame::Kind::Synced(Synced { id, user_log_seq: newest }));
    Ok(())
}

/// Tells a session of the conversations that its user's log took up while the others were listed.
async fn tell_joined_since(hub: &Hub, session: &Attached, mut from: u64, newest: u64) -> Result<(), Error> {
    while from < newest {
        let window = Window::After(from);
        let page = hub.views.user_log(&session.tenant, &session.user, window, limits::PAGE_EVENTS).await?;
        let Some(last) = page.events.last().map(|event| event.seq) else { return Ok(()) };
        for event in &page.events {
            if let Some(event::Body::Joined(it)) = &event.body
                && let Ok(id) = ConversationId::parse(&it.conversation)
            {
                hub.tell_joined(&(session.tenant.clone(), id), &[session.id]).await?;
            }
        }
        from = last;
    }
    Ok(())
}

/// Tells a session its conversations, page by page, with what it missed in those it has cursors of. It is registered
/// as interested in the channels among them before their heads are read.
async fn tell_conversations(
    hub: &Hub,
    session: &Arc<Attached>,
    turn: &mut Turn<'_>,
    id: u64,
    cursors: &[Cursor],
) -> Result<(), Error> {
    let (tenant, user) = (&session.tenant, &session.user);
    let cursors: HashMap<&str, u64> = cursors.iter().map(|it| (it.conversation.as_str(), it.seq)).collect();
    let mut from: Option<String> = None;
    loop {
        let List { items: sides, next } = hub.views.sides(tenant, user, from.as_deref(), LISTED_AT_ONCE).await?;
        let known: Vec<_> =
            sides.iter().filter(|it| it.joined_channel()).map(|it| (tenant.clone(), it.id.clone())).collect();
        hub.add_interest(std::slice::from_ref(session), &known).await?;
        let mut listed = hub.views.conversations_of(tenant, user, sides.clone()).await?;
        // Groups that have become channels since the user joined.
        let known: HashSet<&str> = known.iter().map(|(_, id)| id.as_str()).collect();
        let is_new = |it: &&Conversation| it.kind() == ConversationKind::Channel && !known.contains(it.id.as_str());
        let upgraded: Vec<_> = listed
            .iter()
            .filter(is_new)
            .filter_map(|it| Some((tenant.clone(), ConversationId::parse(&it.id).ok()?)))
            .collect();
        if !upgraded.is_empty() {
            hub.add_interest(std::slice::from_ref(session), &upgraded).await?;
            listed = hub.views.conversations_of(tenant, user, sides).await?;
        }
        let behind: Vec<(String, u64)> = listed
            .iter()
            .filter_map(|it| Some((it.id.clone(), *cursors.get(it.id.as_str()).filter(|seq| **seq < it.last_seq)?)))
            .collect();
        let more = next.is_some();
        if !listed.is_empty() {
            session.tell(server_frame::Kind::Page(Page { id, conversations: listed, more, ..Page::default() }));
        }
        for (conversation, seq) in behind {
            if !session.outbox.has_room() {
                turn.rest_while(session.outbox.room()).await;
            }
            tell_missed(hub, session, id, &conversation, seq).await?;
        }
        match next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

/// Tells a session the heads of its conversations, as [`tell_conversations`] does.
pub(crate) async fn tell_heads(hub: &Hub, session: &Arc<Attached>) -> Result<(), Error> {
    tell_conversations(hub, session, &mut Turn::default(), 0, &[]).await
}

async fn tell_missed(hub: &Hub, session: &Arc<Attached>, id: u64, conversation: &str, seq: u64) -> Result<(), Error> {
    let Ok(conversation) = ConversationId::parse(conversation) else { return Ok(()) };
    let window = Window::After(seq);
    let read = hub.views.history(&session.tenant, Some(&session.user), &conversation, window, limits::SYNC_EVENTS);
    match read.await {
        Ok(page) => session.tell(server_frame::Kind::Page(Page { id, ..page })),
        // Removed meanwhile.
        Err(error) if error.code == Code::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
