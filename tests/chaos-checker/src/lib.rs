//! Judges recorded histories of chat clients: was every answered send kept, once, in one order, on every device?
//!
//! It knows nothing but what the devices wrote down ([`History`]) and shares no code with the server or the
//! client: this crate depends on nothing. [`check`] is the whole of it.

mod check;
mod files;
mod history;
mod order;
mod report;

pub use check::check;
pub use history::{ClientKey, Conversation, Device, Entry, FileKey, History, NO_CONTENT, Observed};
pub use report::{Fault, Finding, Report};
