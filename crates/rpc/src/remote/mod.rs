//! Services in other processes, over gRPC.
//!
//! Storage and presence are called over one stream for each pair of processes, which many calls share; nodes and
//! routers are joined by links. Whoever calls cannot tell whether the other one is in the same process.

mod budget;
mod calls;
mod circuit;
mod convert;
mod errors;
mod gather;
mod link_server;
mod links;
mod peers;
mod presence;
mod presence_server;
mod serving;
mod storage;
mod unanswered;

pub use link_server::LinkServer;
pub use links::RouterLinks;
pub use peers::Peers;
pub use presence::RemotePresence;
pub use presence_server::{PresenceServer, Sharing};
pub use storage::{RemoteRows, StorageServer};

/// The largest frame between roles.
const FRAME_BYTES: usize = stonechat_model::limits::PEER_FRAME_BYTES;
