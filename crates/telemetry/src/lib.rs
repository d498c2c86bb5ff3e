//! Logs, metrics and traces of a process.
//!
//! [`init`] sets all three up once; [`begin`], [`step`] and [`traceparent_of`] carry a trace through frames and log
//! records; [`Usage`] is what a process has used of the machine by its own accounting; [`Trouble`] keeps what fails again and
//! again from filling the log.
//!
//! Spans on the way of a message are made at level DEBUG in targets that begin with `stonechat`: without an
//! OTLP endpoint nobody listens to them and they cost next to nothing.

mod context;
mod error;
mod init;
mod metrics;
mod process;
mod trouble;

pub use context::{begin, set_parent, step, traceparent_of};
pub use error::TelemetryError;
pub use init::{Guard, Settings, init};
pub use metrics::Metrics;
pub use process::Usage;
pub use trouble::{Over, Trouble};
