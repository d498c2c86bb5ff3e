//! Requests to servers that tenants name.

use std::time::Duration;

use stonechat_config::Config;
use stonechat_outbound::{Outbound, Rules};
use stonechat_webhooks::Sender;

/// Sends as the configuration allows it.
pub fn sender(config: &Config) -> Sender {
    let settings = &config.webhooks;
    let rules = Rules::new(&settings.allowed_addresses, &settings.ports, settings.allow_http);
    // The configuration was checked: a range that is none allows nothing.
    let rules = rules.unwrap_or_else(|error| {
        tracing::error!(%error, "webhooks.allowed_addresses is not used");
        Rules::default()
    });
    Sender::new(Outbound::new(rules), Duration::from_millis(settings.timeout_ms))
}
