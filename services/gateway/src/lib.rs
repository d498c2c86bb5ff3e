//! The gateway: client connections over WebSocket, their sessions, what is delivered to them.
//!
//! [`Session`] is what one connection says, [`Hub`] what holds all sessions together and takes deliveries; neither
//! knows sockets, tasks or clocks. [`Gateway`] is the shell around them.

mod close;
mod config;
mod encoding;
mod hub;
mod outbox;
mod rules;
mod run;
mod session;
mod socket;
mod upgrade;

pub use close::Close;
pub use config::GatewayConfig;
pub use encoding::Encoding;
pub use hub::{Attached, HookAccess, Hub, HubDependencies, Sleep, Work};
pub use outbox::{Next, Outbox};
pub use rules::Rules;
pub use run::{Dependencies, Gateway};
pub use session::Session;
