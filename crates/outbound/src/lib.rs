//! HTTP requests to addresses that tenants name: what an attacker may choose, and so nothing that may be believed.
//!
//! An address is checked when a connection is made, after its name was resolved, and the connection goes to the very
//! address that was checked (`guard`). Redirects are not followed: whoever moves changes the URL. Answers are read
//! up to a bound, within a time.

mod client;
mod guard;
mod target;

pub use client::{Answer, Outbound, OutboundError, Request};
pub use guard::{Forbidden, Rules, RulesError};
pub use target::{Target, TargetError};
