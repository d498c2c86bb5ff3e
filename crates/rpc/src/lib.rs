//! How roles call each other: one interface per service, whether the other is in this process or not.
//!
//! A node that holds sessions or waits for outcomes (a gateway, an api) hands commands to a router by
//! [`RouterLink`] and gets outcomes, events and signals at its [`Inbox`]. Where users are is asked of
//! [`Presence`]. [`remote`] is each of them, and the rows, in another process over gRPC.

mod caller;
mod link;
mod presence;
pub mod remote;

pub use caller::{CommandCaller, Started};
pub use link::{Audience, Control, Delivery, Done, Inbox, Inboxes, Outcome, RouterLink, SignalDelivery, TypingRequest};
pub use presence::{Presence, StatusUpdate, Target, TargetQuery};
