//! The seam of presence: routes, interest, leases, status.

use std::sync::Arc;

use async_trait::async_trait;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};
use stonechat_proto::v1;

use crate::Inbox;

/// Whose gateways are asked for.
#[derive(Debug, Clone)]
pub enum TargetQuery {
    /// The gateways that hold sessions of these users.
    Users(TenantId, Arc<[UserId]>),
    /// The gateways that hold sessions interested in this channel.
    Channel(TenantId, ConversationId),
}

/// A gateway that something goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The gateway.
    pub gateway: GatewayId,
    /// Those of the query's users that have sessions there; empty for a channel.
    pub users: Vec<UserId>,
}

/// A change of a user's own status. What is not set stays.
#[derive(Debug, Clone, Default)]
pub struct StatusUpdate {
    /// Whether the user says to be away.
    pub away: Option<bool>,
    /// The text; empty takes it away.
    pub text: Option<String>,
    /// The emoji; empty takes it away.
    pub emoji: Option<String>,
}

/// Where users are, and how. Everything a gateway registered is dropped when its lease lapses; what a gateway without
/// a lease wants to register is refused as unavailable, and nothing is there for it to take back.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Registers a gateway and where its signals go. A gateway that was known is known anew, without routes.
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error>;

    /// Renews a gateway's lease. `false`: it lapsed, everything must be registered again.
    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error>;

    /// Takes a gateway and all it registered out.
    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error>;

    /// The gateway holds sessions of these users now. Idempotent.
    async fn add_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error>;

    /// The gateway holds sessions of these users no more. Idempotent.
    async fn remove_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error>;

    /// The gateway holds sessions interested in these channels now. Idempotent.
    async fn add_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error>;

    /// The gateway holds sessions interested in these channels no more. Idempotent.
    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error>;

    /// Where things go, for each query in order.
    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error>;

    /// Changes a user's own status; those who follow get a signal.
    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error>;

    /// Users' statuses, in the users' order.
    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<v1::Status>, Error>;

    /// The gateway gets a signal whenever one of these users' status changes, from now on. Idempotent.
    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error>;

    /// The gateway follows these users no more. Idempotent.
    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error>;
}
