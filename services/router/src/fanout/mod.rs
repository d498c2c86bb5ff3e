//! What follows from events: user logs learn of memberships, members learn how far others have read.
//!
//! A consumer of the event stream, which comes at least once and in order per conversation. A position is
//! committed only after every command that follows was decided; a repeat changes nothing, for a user log drops
//! what it applied before.

mod apply;
mod signals;

pub(crate) use signals::{Signals, present_users};

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use prost::Message as _;
use stonechat_log::{LogError, StreamSource};
use stonechat_model::{ConversationId, LogId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{ApplyMembership, CommandRecord, StreamRecord, UserAction, command_record, user_action},
    v1::event,
};
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Inboxes, Presence};

/// The name of this consumer of the event stream.
pub const CONSUMER: &str = "fanout";
/// Events that led to nothing and are read again after a restart, at most.
const COMMIT_EVERY: usize = 4_096;

/// Sleeps; the only clock here.
pub type Sleep = dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What following events takes.
#[derive(Clone)]
pub struct FanoutDependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The nodes that can be told.
    pub inboxes: Arc<Inboxes>,
    /// Submits commands and waits for their outcomes.
    pub caller: Arc<CommandCaller>,
    /// The clock.
    pub sleep: Arc<Sleep>,
}

/// Follows one partition of the event stream.
pub struct Fanout {
    dependencies: FanoutDependencies,
    signals: Signals,
}

impl Fanout {
    /// A follower that begins where the last one left off.
    pub fn new(dependencies: FanoutDependencies) -> Self {
        let signals = Signals::new(Arc::clone(&dependencies.presence), Arc::clone(&dependencies.inboxes));
        Self { dependencies, signals }
    }

    /// Works until the partition is followed by another or the stream fails.
    pub async fn run(&self, source: &mut dyn StreamSource) -> Result<(), LogError> {
        let mut uncommitted = 0;
        while let Some(items) = source.next_batch(limits::STREAM_BATCH).await? {
            uncommitted += items.len();
            let Some(last) = items.last().map(|item| item.offset) else { continue };
            let mut commands = Vec::new();
            let mut marks = Vec::new();
            for item in items {
                match StreamRecord::decode(item.payload) {
                    Ok(record) => follow(&record, &mut commands, &mut marks),
                    Err(error) => {
                        metrics::counter!("stonechat_router_unreadable_events_total").increment(1);
                        tracing::error!(%error, stream.offset = item.offset, "event record cannot be read");
                    }
                }
            }
            if let Err(error) = self.signals.receipts(&self.dependencies.rows, marks).await {
                // Receipts pass by: whoever missed one sees the mark in the next list of members.
                tracing::debug!(%error, "receipts were not told");
            }
            let is_nothing = commands.is_empty();
            apply::apply_all(&self.dependencies.caller, &self.dependencies.sleep, commands).await;
            // Reading again what led to nothing is cheaper than a write for every batch.
            if !is_nothing || uncommitted >= COMMIT_EVERY {
                source.commit(last).await?;
                uncommitted = 0;
            } else {
                source.pass(last).await?;
            }
        }
        Ok(())
    }
}

/// A user's marks moved: the tenant, the user, the conversation, the marks.
pub(crate) type MarkMoved = (TenantId, UserId, ConversationId, stonechat_proto::v1::Marked);

/// What follows from an event.
fn follow(record: &StreamRecord, commands: &mut Vec<CommandRecord>, marks: &mut Vec<MarkMoved>) {
    let Some(event) = &record.event else { return };
    let span = stonechat_telemetry::step("router.follow", &record.traceparent);
    let carried = stonechat_telemetry::traceparent_of(&span);
    let traceparent = if span.is_disabled() { &record.traceparent } else { &carried };
    let mut apply = |user: &str, member: bool| {
        let kind = user_action::Kind::ApplyMembership(ApplyMembership {
            conversation: record.log.clone(),
            kind: record.kind,
            at_seq: event.seq,
            member,
        });
        let Ok(user) = UserId::parse(user) else { return };
        commands.push(CommandRecord {
            tenant: record.tenant.clone(),
            log: LogId::User(user).to_text().to_string(),
            traceparent: traceparent.clone(),
            body: Some(command_record::Body::UserAction(UserAction { kind: Some(kind) })),
            ..CommandRecord::default()
        });
    };
    match &event.body {
        Some(event::Body::Created(it)) => it.members.iter().for_each(|entry| apply(&entry.user, true)),
        Some(event::Body::MembersAdded(it)) => it.members.iter().for_each(|entry| apply(&entry.user, true)),
        Some(event::Body::MembersRemoved(it)) => it.users.iter().for_each(|user| apply(user, false)),
        Some(event::Body::MemberLeft(_)) => apply(&event.sender, false),
        Some(event::Body::Marked(it)) => {
            let parts = (TenantId::parse(&record.tenant), LogId::parse(&record.log));
            if let ((Ok(tenant), Ok(LogId::User(user))), Ok(id)) = (parts, ConversationId::parse(&it.conversation)) {
                marks.push((tenant, user, id, it.clone()));
            }
        }
        _ => {}
    }
}
