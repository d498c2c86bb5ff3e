//! Tenants' REST and gRPC.

use std::{sync::Arc, time::Duration};

use stonechat_auth::Verifier;
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Presence};

/// How the api behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The operator's key; without one the operator API answers nobody.
    pub operator_key: Option<String>,
    /// How long a request waits for its command's outcome.
    pub command_timeout: Duration,
}

/// What the api works with.
pub struct Dependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Submits commands.
    pub caller: Arc<CommandCaller>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// Verifies credentials.
    pub verifier: Arc<Verifier>,
}

/// REST and gRPC on one port.
pub fn router(_config: ApiConfig, _dependencies: Dependencies) -> axum::Router {
    axum::Router::new()
}
