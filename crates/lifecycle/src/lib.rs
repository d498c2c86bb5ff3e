//! How a process begins and ends: listeners, connections, signals, tracked tasks, health.
//!
//! [`serve`] runs one listener for REST, WebSocket and gRPC alike, [`Shutdown`] turns signals into tokens,
//! [`Tasks`] keeps every spawned task until it has ended, [`Health`] answers `/livez` and `/readyz`.

mod connection;
mod health;
mod serve;
mod shutdown;
mod tasks;

pub use connection::Connection;
pub use health::{Health, Readiness};
pub use serve::{ServeLimits, serve, serve_tls};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
