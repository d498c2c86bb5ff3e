//! Logs, metrics and traces of a process.
//!
//! [`init`] sets all three up once; [`traceparent_of`] and [`set_parent`] carry a trace's context through
//! frames and log records; [`Usage`] is what a process has used of the machine by its own accounting.
//!
//! Spans on the way of a message are made at level DEBUG in targets that begin with `stonechat`: without an
//! OTLP endpoint nobody listens to them and they cost next to nothing.

mod context;
mod error;
mod init;
mod metrics;
mod process;

pub use context::{set_parent, traceparent_of};
pub use error::TelemetryError;
pub use init::{Guard, Settings, init};
pub use metrics::Metrics;
pub use process::Usage;
