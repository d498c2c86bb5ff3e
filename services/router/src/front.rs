//! The front: what nodes call.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use metrics::Counter;
use prost::Message as _;
use stonechat_errors::{Code, Error};
use stonechat_log::{CommandLog, LogError};
use stonechat_model::{LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{CommandRecord, HeadRow},
    v1::{ConversationKind, Signal, TypingSignal, signal},
};
use stonechat_rows::{Rows, tables};
use stonechat_rpc::{Control, Inboxes, Presence, RouterLink, TypingRequest};
use stonechat_telemetry::{Over, Trouble};

use crate::fanout::{Signals, present_users};

/// Counted with every message: looked up once.
static COMMANDS: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("stonechat_router_commands_total"));
/// How long a node waits when the log is full.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long a node waits when the store has failed, which is until somebody restarts it.
const FAILED_RETRY_AFTER: Duration = Duration::from_secs(2);

/// The router as nodes see it.
pub struct RouterService {
    log: Arc<dyn CommandLog>,
    rows: Arc<dyn Rows>,
    inboxes: Arc<Inboxes>,
    signals: Signals,
    /// Of appending, whatever the partition.
    appending: Trouble,
}

impl RouterService {
    /// A front that appends to this log.
    pub fn new(
        log: Arc<dyn CommandLog>,
        rows: Arc<dyn Rows>,
        presence: Arc<dyn Presence>,
        inboxes: Arc<Inboxes>,
    ) -> Self {
        let signals = Signals::new(presence, Arc::clone(&inboxes));
        Self { log, rows, inboxes, signals, appending: Trouble::default() }
    }

    async fn tell_typing(&self, request: TypingRequest) -> Result<(), Error> {
        let TypingRequest { tenant, conversation, user, stopped } = request;
        let log = LogKey { tenant: tenant.clone(), log: LogId::Conversation(conversation.clone()) };
        let unavailable = |_| Error::unavailable("rows do not answer");
        let heads = self.rows.get(&[tables::head(&log)]).await.map_err(unavailable)?;
        let Some(head) = heads.into_iter().flatten().next() else { return Ok(()) };
        let head = HeadRow::decode(head.value).map_err(|_| Error::internal())?;
        let users: Option<Arc<[UserId]>> = match head.kind() {
            ConversationKind::Channel => None,
            ConversationKind::Direct => Some(head.peers.iter().filter_map(|peer| UserId::parse(peer).ok()).collect()),
            _ => {
                let range = tables::members(&tenant, &conversation, None, limits::RANGE_ROWS);
                let rows = self.rows.range(range).await.map_err(unavailable)?;
                Some(present_users(&rows).into())
            }
        };
        let kind = Some(signal::Kind::Typing(TypingSignal { stopped }));
        let signal = Signal { conversation: conversation.to_string(), user: user.to_string(), kind };
        self.signals.send(vec![(tenant, signal, users)]).await
    }
}

#[async_trait]
impl RouterLink for RouterService {
    async fn submit(&self, command: CommandRecord) -> Result<(), Error> {
        let tenant = TenantId::parse(&command.tenant).map_err(|e| Error::invalid(format!("tenant: {e}")))?;
        let log = LogId::parse(&command.log).map_err(|e| Error::invalid(format!("conversation: {e}")))?;
        let key = LogKey { tenant, log };
        COMMANDS.increment(1);
        if self.rows.has_failed() {
            metrics::counter!("stonechat_router_unwritable_commands_total").increment(1);
            let error = Error::unavailable("nothing can be written until the server is restarted");
            return Err(error.retry_after(FAILED_RETRY_AFTER));
        }
        let appended = self.log.append(&key, command.encode_to_vec().into()).await;
        if appended.is_ok()
            && let Some(Over { failures, lasted }) = self.appending.went_well()
        {
            tracing::info!(failures, lasted_ms = lasted.as_millis(), "commands are appended again");
        }
        appended.map_err(|error| match error {
            LogError::Full => Error::new(Code::Unavailable, "too many commands wait").retry_after(FULL_RETRY_AFTER),
            LogError::TooLarge => Error::new(Code::TooLarge, "the command is too large"),
            error => {
                if self.appending.failed() {
                    tracing::error!(%error, "commands cannot be appended");
                }
                Error::unavailable("the command log does not answer")
            }
        })
    }

    async fn typing(&self, request: TypingRequest) {
        if let Err(error) = self.tell_typing(request).await {
            tracing::debug!(%error, "typing was not told");
        }
    }

    async fn control(&self, control: Control) {
        for inbox in self.inboxes.all() {
            inbox.control(control.clone());
        }
    }
}
