//! Where users are and how: routes, interest, leases of gateways, status; in memory.
//!
//! What a gateway registered lives as long as its lease. Nothing here is durable: after a restart gateways
//! register again, and users' own texts are asked for again by their clients.

mod memory;
mod state;

pub use memory::{MemoryPresence, PresenceConfig};
