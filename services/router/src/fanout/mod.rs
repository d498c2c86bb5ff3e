//! What follows from events: user logs learn of memberships, members learn how far others have read.
//!
//! A consumer of the event stream, which comes at least once and in order per conversation. A position is
//! committed only after every command that follows was decided; a repeat changes nothing, for a user log drops
//! what it applied before.

mod signals;

pub(crate) use signals::{Signals, present_users};

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::future::join_all;
use prost::Message as _;
use stonechat_errors::Code;
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
/// Commands that wait for their outcome at once.
const AT_ONCE: usize = 256;
/// Events that led to nothing and are read again after a restart, at most.
const COMMIT_EVERY: usize = 4_096;
/// How long an outcome may take before the command is sent again.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a command is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

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
            self.apply_all(commands).await;
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

    /// Has every command decided; those of one user log in their order.
    async fn apply_all(&self, commands: Vec<CommandRecord>) {
        let mut by_log: Vec<Vec<CommandRecord>> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for command in commands {
            let at = *index.entry((command.tenant.clone(), command.log.clone())).or_insert_with(|| {
                by_log.push(Vec::new());
                by_log.len() - 1
            });
            by_log[at].push(command);
        }
        let mut rest = by_log.into_iter().peekable();
        while rest.peek().is_some() {
            let some = rest.by_ref().take(AT_ONCE);
            join_all(some.map(|commands| async {
                for command in commands {
                    self.apply(command).await;
                }
            }))
            .await;
        }
    }

    /// Has a command decided, however often it takes.
    async fn apply(&self, command: CommandRecord) {
        loop {
            let deadline = (self.dependencies.sleep)(OUTCOME_TIMEOUT);
            let call = self.dependencies.caller.call_until(command.clone(), deadline);
            match call.await {
                Ok(_) => return,
                Err(error) if error.is_retryable() || error.code == Code::Internal => {
                    metrics::counter!("stonechat_router_fanout_retries_total").increment(1);
                    (self.dependencies.sleep)(RETRY_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%error, log.id = command.log, "user log refused what follows from an event");
                    return;
                }
            }
        }
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
