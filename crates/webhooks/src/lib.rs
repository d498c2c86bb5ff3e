//! Webhooks by the Standard Webhooks specification: what is sent, how it is signed, and when it is tried again.
//!
//! What happened comes to a tenant's [feed] once, as places of events; each webhook has a lane through each partition
//! of it ([`Lane`], a pure core). The body of a delivery is made when it is sent, from the event itself, so that what
//! was erased meanwhile is not told.
//!
//! The specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

pub mod event;
pub mod feed;
pub mod hook;
mod lane;
mod outcome;
mod pull;
mod send;
mod sign;
mod store;

pub use lane::{Attempt, Entry, Held, Lane, LaneRules, Next, Verdict};
pub use outcome::{Outcome, retry_after};
pub use pull::{Cursor, Pull};
pub use send::{Sender, Sending, Sent};
pub use sign::{SecretError, SigningKey, headers};
pub use store::{Change, NewWebhook, Webhooks, delivery_put, lane_put};
