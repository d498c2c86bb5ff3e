//! Where users are and how: routes, interest, leases of gateways, status; in memory, or in Redis.
//!
//! What a gateway registered lives as long as its lease. Nothing here is durable: after a restart gateways
//! register again, and users' own texts are asked for again by their clients.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod memory;
#[cfg(feature = "cluster")]
pub mod redis;
mod state;

pub use memory::{MemoryPresence, PresenceConfig};
