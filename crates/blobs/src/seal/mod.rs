//! Encryption at rest: pieces by a key of their tenant, that key by a master key.

mod format;
mod master;
mod plain;
mod sealer;
mod tenant_keys;

pub use master::MasterKeys;
pub use plain::{Plain, Spare};
pub use sealer::Sealer;

pub(crate) use format::{Header, Layout};
