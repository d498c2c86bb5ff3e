//! How webhooks are delivered.

use std::{sync::Arc, time::Duration};

use stonechat_model::limits;
use stonechat_webhooks::LaneRules;

/// Failures in a row after which a lane tries one event at a time.
const BREAK_AFTER: u32 = 5;

/// How webhooks are delivered.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// The pauses after attempts that failed.
    pub schedule: Arc<[Duration]>,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            schedule: limits::WEBHOOK_RETRY_SCHEDULE_S.iter().map(|seconds| Duration::from_secs(*seconds)).collect(),
        }
    }
}

impl WebhooksConfig {
    pub(crate) fn lane_rules(&self) -> LaneRules {
        LaneRules {
            window: limits::WEBHOOK_WINDOW,
            in_flight: limits::WEBHOOK_IN_FLIGHT,
            parked: limits::WEBHOOK_PARKED,
            schedule: Arc::clone(&self.schedule),
            break_after: BREAK_AFTER,
            failing: Duration::from_secs(limits::WEBHOOK_FAILING_DAYS * 86_400),
        }
    }
}
