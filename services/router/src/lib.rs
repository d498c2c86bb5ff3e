//! The router: appends commands to the command log, decides them in the order of the log, and tells everybody.
//!
//! [`machine`] is the pure state machine. [`Owner`] takes the commands of one partition through it: load, decide,
//! write, deliver, publish, commit. [`RouterService`] is the front that nodes hand commands to. [`Fanout`] follows
//! the event stream and keeps user logs and receipts up with what happened.

mod fanout;
mod front;
pub mod machine;
mod owner;
mod rules;
mod run;
mod troubles;

pub use fanout::{Fanout, FanoutDependencies};
pub use front::RouterService;
pub use owner::{Owner, OwnerDependencies, OwnerError};
pub use rules::Rules;
pub use run::{Dependencies, run};
