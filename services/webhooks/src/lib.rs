//! Delivers tenants' webhooks: a consumer of the event stream, and what follows at a pace of its own.
//!
//! A partition of the event stream is read by one process. It writes what happened into the feeds of tenants that have
//! webhooks (`partition`), and runs a lane for each of their webhooks through that partition (`lane`). A lane
//! reads the feed, not the stream: one that is slow or gets nowhere holds up nothing but itself.

mod config;
mod directory;
mod lane;
mod partition;
mod run;

pub use config::WebhooksConfig;
pub use run::{Dependencies, run};
