//! What routers and presence tell the hub.

use std::{
    sync::{Arc, LazyLock},
    task::Waker,
};

use metrics::Counter;

use stonechat_model::{ConversationId, LogId, TenantId, UserId};
use stonechat_proto::v1::{Ack, ConversationKind, Event, SessionsClosed, TokensRevoked, event, server_frame, signal};
use stonechat_rpc::{Audience, Control, Delivery, Inbox, Outcome, SignalDelivery};

use super::{Attached, Channel, Hub, Work, fanouts::Rest, state::State};
use crate::{close::Close, encoding::EncodedEvents};

/// Counted with every message: looked up once.
static DELIVERIES: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("stonechat_gateway_deliveries_total"));

/// The writers to be woken.
type Wakers = Vec<Waker>;

impl Inbox for Hub {
    fn outcome(&self, outcome: Outcome) {
        self.batch(Vec::new(), vec![outcome]);
    }

    fn deliver(&self, delivery: Delivery) {
        self.batch(vec![delivery], Vec::new());
    }

    /// Sessions are woken once everything is in their outboxes, so that each writes what it got at once.
    fn batch(&self, deliveries: Vec<Delivery>, outcomes: Vec<Outcome>) {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        for delivery in deliveries {
            match (&delivery.log.log, &delivery.audience) {
                (LogId::User(user), _) => {
                    let tenant = &delivery.log.tenant;
                    self.deliver_user_log(&mut state, tenant, user, &delivery.events, &mut wakers);
                }
                (LogId::Conversation(id), Audience::Users(_)) => {
                    self.deliver_conversation(&mut state, id, &delivery, &mut wakers);
                }
                (LogId::Conversation(id), Audience::Interested) => {
                    let channel = (delivery.log.tenant.clone(), id.clone());
                    let now = self.fanouts.pass(&channel, delivery);
                    self.deliver_channel(&mut state, &channel, &now, None, &mut wakers);
                }
            }
        }
        for outcome in outcomes {
            self.opening.command_ended(&outcome.origin);
            if let Some(session) = state.get(outcome.origin.session) {
                session.end_command();
                wakers.extend(session.outbox.put([session.encoding.encode(answer(outcome))]));
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn signal(&self, delivery: SignalDelivery) {
        let SignalDelivery { tenant, signal, audience } = delivery;
        let state = self.state.lock();
        let mut sessions: Vec<&Arc<Attached>> = match (&signal.kind, &audience) {
            (Some(signal::Kind::Status(_)), _) => match UserId::parse(&signal.user) {
                Ok(user) => state.watching(&(tenant, user)).collect(),
                Err(_) => return,
            },
            (_, Audience::Users(users)) => {
                users.iter().flat_map(|user| state.of_user(&(tenant.clone(), user.clone()))).collect()
            }
            (_, Audience::Interested) => match ConversationId::parse(&signal.conversation) {
                Ok(id) => state.of_channel(&(tenant, id)).collect(),
                Err(_) => return,
            },
        };
        if !matches!(signal.kind, Some(signal::Kind::Status(_))) {
            sessions.retain(|session| session.user.as_str() != signal.user);
        }
        for session in sessions {
            session.tell(server_frame::Kind::Signal(signal.clone()));
        }
    }

    fn control(&self, control: Control) {
        match control {
            Control::KeyChanged { tenant, key } => {
                self.dependencies.verifier.forget_key(&key);
                let came_by_it = |session: &Attached| session.tenant == tenant && session.credential.lock().key == key;
                for session in self.all().iter().filter(|session| came_by_it(session)) {
                    session.outbox.close(Close::REVOKED);
                }
            }
            // Suspended or not, with other quotas, with a key that ends: each session's credential tells.
            Control::TenantChanged { tenant } => {
                self.dependencies.verifier.forget_tenant(&tenant);
                self.push_work(Work::Credentials(tenant));
            }
        }
    }

    fn unsure(&self) {
        if self.rules.recheck_after_unsure {
            self.push_work(Work::Recheck);
        }
    }
}

impl Hub {
    /// Delivers what a rest held back.
    pub(super) fn deliver_held(&self, channel: &Channel) {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        // Under the lock, so that nothing passes it by.
        let mut rest = self.fanouts.end(channel);
        let held = std::mem::take(&mut rest.held);
        self.deliver_channel(&mut state, channel, &held, Some(rest), &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn deliver_channel(
        &self,
        state: &mut State,
        channel: &Channel,
        deliveries: &[Delivery],
        before: Option<Rest>,
        wakers: &mut Wakers,
    ) {
        if deliveries.is_empty() {
            return;
        }
        for delivery in deliveries {
            self.deliver_conversation(state, &channel.1, delivery, wakers);
        }
        let sessions = state.channel_len(channel);
        if sessions >= self.config.gather_sessions {
            self.fanouts.rest(channel, sessions, before);
        }
    }

    fn deliver_user_log(
        &self,
        state: &mut State,
        tenant: &TenantId,
        user: &UserId,
        events: &[Arc<Event>],
        wakers: &mut Wakers,
    ) {
        let mut encoded = EncodedEvents::new("", events);
        let sessions = state.of_user(&(tenant.clone(), user.clone())).to_vec();
        push(sessions.iter(), &mut encoded, wakers);
        for event in events {
            match &event.body {
                Some(event::Body::Joined(it)) => {
                    if let Ok(id) = ConversationId::parse(&it.conversation) {
                        let sessions = sessions.iter().map(|session| session.id).collect();
                        let conversation = (tenant.clone(), id);
                        self.push_work(match it.kind() {
                            ConversationKind::Channel => Work::Follow { channel: conversation, sessions },
                            _ => Work::Tell { conversation, sessions },
                        });
                    }
                }
                // The event that took the user out may have been lost with a link.
                Some(event::Body::Left(it)) => {
                    if let Ok(id) = ConversationId::parse(&it.conversation) {
                        self.take_out(state, &(tenant.clone(), id), &sessions);
                    }
                }
                Some(event::Body::TokensRevoked(it)) => close_revoked(&sessions, it),
                Some(event::Body::SessionsClosed(it)) => close_before(&sessions, it),
                Some(event::Body::ErasedUser(_)) => {
                    sessions.iter().for_each(|session| session.outbox.close(Close::REVOKED));
                }
                Some(event::Body::ActivationChanged(it)) if !it.active => {
                    sessions.iter().for_each(|session| session.outbox.close(Close::REVOKED));
                }
                _ => {}
            }
        }
    }

    /// Takes sessions out of a channel, where they are in. Why may be an old event that a new owner repeats, or an
    /// old row, and the user a member again since: so it is looked at once more afterwards.
    pub(super) fn take_out(&self, state: &mut State, channel: &Channel, sessions: &[Arc<Attached>]) {
        let interested = |session: &&Arc<Attached>| session.interests.lock().contains(&channel.1);
        let out: Vec<&Arc<Attached>> = sessions.iter().filter(interested).collect();
        if out.is_empty() {
            return;
        }
        out.iter().for_each(|session| state.remove_interest(session, channel));
        self.push_work(Work::Release(channel.clone()));
        let sessions = out.iter().map(|session| session.id).collect();
        self.push_work(Work::Tell { conversation: channel.clone(), sessions });
    }

    fn deliver_conversation(&self, state: &mut State, id: &ConversationId, delivery: &Delivery, wakers: &mut Wakers) {
        let _step = stonechat_telemetry::step("gateway.deliver", &delivery.traceparent).entered();
        let tenant = &delivery.log.tenant;
        let channel = (tenant.clone(), id.clone());
        let mut rest = &delivery.events[..];
        while !rest.is_empty() {
            // Up to and with the next event that takes somebody out: they get it, and nothing after it.
            let end = rest.iter().position(|event| !gone(event).is_empty()).map_or(rest.len(), |index| index + 1);
            let (now, later) = rest.split_at(end);
            let mut encoded = EncodedEvents::new(id.as_str(), now);
            match &delivery.audience {
                Audience::Users(users) => {
                    for user in users {
                        push(state.of_user(&(tenant.clone(), user.clone())).iter(), &mut encoded, wakers);
                    }
                }
                Audience::Interested => push(state.of_channel(&channel), &mut encoded, wakers),
            }
            let leaving = now.last().map(|event| gone(event)).unwrap_or_default();
            for user in leaving.iter().filter_map(|user| UserId::parse(user).ok()) {
                let sessions = state.of_user(&(tenant.clone(), user)).to_vec();
                self.take_out(state, &channel, &sessions);
            }
            if let Audience::Users(users) = &delivery.audience
                && now.iter().any(|event| matches!(event.body, Some(event::Body::Upgraded(_))))
            {
                let of_user = |user: &UserId| state.of_user(&(tenant.clone(), user.clone()));
                let sessions = users.iter().flat_map(of_user).map(|session| session.id).collect();
                self.push_work(Work::Follow { channel: channel.clone(), sessions });
            }
            rest = later;
        }
    }
}

/// What a command's sender is told.
fn answer(outcome: Outcome) -> server_frame::Kind {
    let id = outcome.origin.id;
    match outcome.result {
        Ok(done) => {
            let conversation = done.log.conversation().map(ToString::to_string).unwrap_or_default();
            server_frame::Kind::Ack(Ack { id, seq: done.seq, time_us: done.time_us, conversation })
        }
        Err(error) => server_frame::Kind::Error(error.to_frame(id)),
    }
}

/// Gives sessions the events; whoever calls wakes them.
fn push<'a>(sessions: impl Iterator<Item = &'a Arc<Attached>>, encoded: &mut EncodedEvents<'_>, wakers: &mut Wakers) {
    let mut count = 0;
    for session in sessions {
        let frames = encoded.frames(session.encoding);
        count += frames.len();
        wakers.extend(session.outbox.put(frames.iter().cloned()));
    }
    DELIVERIES.increment(count as u64);
}

/// The users whom an event takes out of its conversation.
fn gone(event: &Event) -> &[String] {
    match &event.body {
        Some(event::Body::MembersRemoved(it)) => &it.users,
        Some(event::Body::MemberLeft(_)) => std::slice::from_ref(&event.sender),
        _ => &[],
    }
}

fn close_revoked(sessions: &[Arc<Attached>], revoked: &TokensRevoked) {
    for session in sessions {
        let is_device = revoked.device.is_empty() || revoked.device == session.device.as_str();
        if is_device && session.credential.lock().issued_us < revoked.before_us {
            session.outbox.close(Close::REVOKED);
        }
    }
}

fn close_before(sessions: &[Arc<Attached>], closed: &SessionsClosed) {
    for session in sessions {
        let is_device = closed.device.is_empty() || closed.device == session.device.as_str();
        if is_device && session.opened_us < closed.before_us {
            session.outbox.close(Close::DISCONNECTED);
        }
    }
}
