//! What must hold at the end of a run.

pub mod clients;
pub mod conversation;
pub mod files;
pub mod reference;
pub mod truth;
pub mod user_log;
