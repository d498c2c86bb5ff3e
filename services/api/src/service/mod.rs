//! The operations, below REST and gRPC alike.

mod audit;
mod conversations;
mod day;
mod devices;
mod hooks;
mod keys;
mod messages;
mod tenants;
mod users;
mod webhooks;

pub(crate) use messages::say_what_they_say_now;

use std::{sync::Arc, time::Duration};

use stonechat_auth::Keys;
use stonechat_commands::CommandRequest;
use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId, TenantId, UserId};
use stonechat_proto::{
    internal::v1::CommandRecord,
    v1::{Action, Done, action},
};
use stonechat_quotas::Seats;
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Presence};
use stonechat_views::Views;
use tokio_util::sync::CancellationToken;

use stonechat_operations::{Caller, Gate};

use crate::tenant_data::Jobs;

/// How the api behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The demo tenant's server key, on a development server: the reference fills it in.
    pub dev_key: Option<String>,
    /// How long a request waits for its command's outcome.
    pub command_timeout: Duration,
    /// Whether tenants may have their clients sent to the store of files: not where it is known that clients cannot reach
    /// it.
    pub may_allow_direct: bool,
}

/// What the api works with.
pub struct Dependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Submits commands.
    pub caller: Arc<CommandCaller>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The gate that requests pass.
    pub gate: Arc<Gate>,
    /// Sends webhooks.
    pub sender: stonechat_webhooks::Sender,
    /// Ends what would go on for ever, so that callers go elsewhere.
    pub drain: CancellationToken,
    /// Asks the hooks that messages pass.
    pub hooks: Arc<stonechat_webhooks::hook::Hooks>,
}

/// The operations.
pub(crate) struct Service {
    config: ApiConfig,
    rows: Arc<dyn Rows>,
    caller: Arc<CommandCaller>,
    presence: Arc<dyn Presence>,
    views: Views,
    keys: Keys,
    webhooks: stonechat_webhooks::Webhooks,
    sender: stonechat_webhooks::Sender,
    hooks: Arc<stonechat_webhooks::hook::Hooks>,
    seats: Seats,
    gate: Arc<Gate>,
    jobs: Arc<Jobs>,
}

/// A tenant's id as a caller gave it.
pub(crate) fn tenant_id(text: &str) -> Result<TenantId, Error> {
    TenantId::parse(text).map_err(|e| Error::invalid(format!("tenant: {e}")))
}

/// A conversation's id as a caller gave it.
pub(crate) fn conversation_id(text: &str) -> Result<ConversationId, Error> {
    ConversationId::parse(text).map_err(|e| Error::invalid(format!("conversation: {e}")))
}

/// A user's id as a caller gave it.
pub(crate) fn user_id(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).map_err(|e| Error::invalid(format!("user: {e}")))
}

/// Where a page begins, as the page before said; an id of the listed things.
pub(crate) fn page_token(text: &str) -> Result<Option<&str>, Error> {
    match text {
        "" => Ok(None),
        text if UserId::parse(text).is_ok() => Ok(Some(text)),
        _ => Err(Error::invalid("page_token is none of ours")),
    }
}

pub(crate) fn page_size(given: u32) -> usize {
    const MOST: usize = 100;
    match usize::try_from(given) {
        Ok(0) | Err(_) => MOST,
        Ok(given) => given.min(MOST),
    }
}

impl Service {
    /// The operations on these dependencies.
    pub fn new(config: ApiConfig, dependencies: Dependencies, jobs: Arc<Jobs>) -> Self {
        let Dependencies { rows, caller, presence, gate, sender, hooks, drain: _ } = dependencies;
        let webhooks = stonechat_webhooks::Webhooks::new(Arc::clone(&rows));
        let (views, keys) = (Views::new(Arc::clone(&rows)), Keys::new(Arc::clone(&rows)));
        let seats = Seats::new(Arc::clone(&rows));
        Self { config, rows, caller, presence, views, keys, webhooks, sender, hooks, seats, gate, jobs }
    }

    /// Has an action on a conversation done.
    async fn act(
        &self,
        caller: &Caller,
        sender: &str,
        conversation: &str,
        client_id: &str,
        kind: action::Kind,
    ) -> Result<Done, Error> {
        let (tenant, sender) = caller.acting(sender)?;
        let client_id = match client_id {
            "" => ClientId::generate(),
            text => ClientId::parse(text).map_err(|e| Error::invalid(e.to_string()))?,
        };
        let request = CommandRequest {
            tenant,
            sender,
            is_by_tenant: matches!(caller, Caller::Tenant(_)),
            asked_hash: 0,
            conversation: conversation.to_owned(),
            client_id,
            action: Action { kind: Some(kind) },
            traceparent: stonechat_telemetry::traceparent_of(&tracing::Span::current()),
        };
        let is_asked = stonechat_webhooks::hook::is_asked(&request.action);
        let hook = if is_asked { self.hooks.of(&request.tenant, request.is_by_tenant).await? } else { None };
        let request = match hook {
            Some(hook) => self.hooks.pass(&hook, request).await?,
            None => request,
        };
        let record = stonechat_commands::command(&self.views, request).await?;
        self.submit(record).await
    }

    async fn submit(&self, record: CommandRecord) -> Result<Done, Error> {
        let id = record.client_id.clone();
        let done = self.caller.call(record, self.config.command_timeout).await?;
        let conversation = done.log.conversation().map(ToString::to_string).unwrap_or_default();
        Ok(Done { conversation, seq: done.seq, time_us: done.time_us, id })
    }
}
