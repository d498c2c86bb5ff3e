//! How a gateway behaves.

use std::time::Duration;

use stonechat_model::{GatewayId, limits};

/// Below it a write more costs less than the wait.
const GATHER_SESSIONS: usize = 64;

/// How a gateway behaves.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Its name among all nodes.
    pub id: GatewayId,
    /// Origins of browser pages that may connect; `*` is every one, and pages of the same host always may.
    pub allowed_origins: Vec<String>,
    /// From the connection to a valid hello.
    pub hello_timeout: Duration,
    /// Silence after which a session is closed.
    pub heartbeat: Duration,
    /// Commands of a session per second, on average.
    pub commands_per_s: u32,
    /// Commands of a session at once.
    pub commands_burst: u32,
    /// Bytes that wait for a session before it is closed as too slow.
    pub session_queue_bytes: usize,
    /// Sessions of one user; the oldest is closed beyond it.
    pub sessions_per_user: usize,
    /// Sessions that register and catch up at once; more wait for their turn.
    pub syncs_at_once: usize,
    /// Sessions of a channel whose writes are gathered, at least.
    pub gather_sessions: usize,
}

impl GatewayConfig {
    /// The defaults of the table of limits.
    pub fn new(id: GatewayId) -> Self {
        Self {
            id,
            allowed_origins: Vec::new(),
            hello_timeout: Duration::from_secs(limits::HELLO_TIMEOUT_S),
            heartbeat: Duration::from_secs(limits::HEARTBEAT_S),
            commands_per_s: limits::SESSION_COMMANDS_PER_S,
            commands_burst: limits::SESSION_COMMANDS_BURST,
            session_queue_bytes: limits::SESSION_QUEUE_BYTES,
            sessions_per_user: limits::SESSIONS_PER_USER,
            syncs_at_once: limits::SYNCS_AT_ONCE,
            gather_sessions: GATHER_SESSIONS,
        }
    }
}
