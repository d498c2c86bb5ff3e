//! What links carry, on the wire and here.

use std::sync::Arc;

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, KeyId, LogId, LogKey, TenantId, UserId};
use stonechat_proto::{
    internal::v1::{CommandOutcome, CredentialsChanged, EventsToNode, Origin, SignalToNode, TypingToMembers},
    v1,
};

use super::errors::{from_frame, unreadable};
use crate::{Audience, Control, Delivery, Done, Outcome, SignalDelivery, TypingRequest};

fn tenant(text: &str) -> Result<TenantId, Error> {
    TenantId::parse(text).map_err(unreadable)
}

fn users(texts: &[String]) -> Result<Vec<UserId>, Error> {
    texts.iter().map(|text| UserId::parse(text).map_err(unreadable)).collect()
}

fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

pub(super) fn delivery_to_wire(delivery: &Delivery) -> EventsToNode {
    let users = match &delivery.audience {
        Audience::Users(users) => texts(users),
        Audience::Interested => Vec::new(),
    };
    EventsToNode {
        tenant: delivery.log.tenant.to_string(),
        log: delivery.log.log.to_text().to_string(),
        kind: delivery.kind.into(),
        events: delivery.events.iter().map(|event| event.encode_to_vec().into()).collect(),
        users,
        traceparent: delivery.traceparent.clone(),
    }
}

pub(super) fn delivery_from_wire(wire: EventsToNode) -> Result<Delivery, Error> {
    let kind = wire.kind();
    let log = LogKey { tenant: tenant(&wire.tenant)?, log: LogId::parse(&wire.log).map_err(unreadable)? };
    let event = |bytes| v1::Event::decode(bytes).map(Arc::new).map_err(unreadable);
    let events = wire.events.into_iter().map(event).collect::<Result<_, _>>()?;
    let audience = if wire.users.is_empty() { Audience::Interested } else { Audience::Users(users(&wire.users)?) };
    Ok(Delivery { log, kind, events, audience, traceparent: wire.traceparent })
}

pub(super) fn outcome_to_wire(outcome: Outcome) -> CommandOutcome {
    let Origin { session, id, .. } = outcome.origin;
    match outcome.result {
        Ok(Done { seq, time_us, log }) => {
            CommandOutcome { session, id, seq, time_us, log: log.to_text().to_string(), error: None }
        }
        Err(error) => CommandOutcome { session, id, error: Some(error.to_frame(0)), ..CommandOutcome::default() },
    }
}

pub(super) fn outcome_from_wire(node: &str, wire: CommandOutcome) -> Result<Outcome, Error> {
    let origin = Origin { node: node.to_owned(), session: wire.session, id: wire.id };
    let result = match wire.error {
        Some(error) => Err(from_frame(error)),
        None => {
            let log = LogId::parse(&wire.log).map_err(unreadable)?;
            Ok(Done { seq: wire.seq, time_us: wire.time_us, log })
        }
    };
    Ok(Outcome { origin, result })
}

pub(super) fn signal_to_wire(signal: SignalDelivery) -> SignalToNode {
    let (users, interested) = match &signal.audience {
        Audience::Users(users) => (texts(users), false),
        Audience::Interested => (Vec::new(), true),
    };
    SignalToNode { tenant: signal.tenant.to_string(), signal: Some(signal.signal), users, interested }
}

pub(super) fn signal_from_wire(wire: SignalToNode) -> Result<SignalDelivery, Error> {
    let audience = if wire.interested { Audience::Interested } else { Audience::Users(users(&wire.users)?) };
    let signal = wire.signal.ok_or_else(|| unreadable("there is no signal"))?;
    Ok(SignalDelivery { tenant: tenant(&wire.tenant)?, signal, audience })
}

pub(super) fn control_to_wire(control: &Control) -> CredentialsChanged {
    match control {
        Control::KeyChanged { tenant, key } => CredentialsChanged { tenant: tenant.to_string(), key: key.to_string() },
        Control::TenantChanged { tenant } => CredentialsChanged { tenant: tenant.to_string(), key: String::new() },
    }
}

pub(super) fn control_from_wire(wire: &CredentialsChanged) -> Result<Control, Error> {
    let tenant = tenant(&wire.tenant)?;
    if wire.key.is_empty() {
        return Ok(Control::TenantChanged { tenant });
    }
    Ok(Control::KeyChanged { tenant, key: KeyId::parse(&wire.key).map_err(unreadable)? })
}

pub(super) fn typing_to_wire(request: &TypingRequest) -> TypingToMembers {
    TypingToMembers {
        tenant: request.tenant.to_string(),
        conversation: request.conversation.to_string(),
        user: request.user.to_string(),
        stopped: request.stopped,
    }
}

pub(super) fn typing_from_wire(wire: &TypingToMembers) -> Result<TypingRequest, Error> {
    Ok(TypingRequest {
        tenant: tenant(&wire.tenant)?,
        conversation: ConversationId::parse(&wire.conversation).map_err(unreadable)?,
        user: UserId::parse(&wire.user).map_err(unreadable)?,
        stopped: wire.stopped,
    })
}
