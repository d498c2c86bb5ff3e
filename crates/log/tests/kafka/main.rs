//! The logs on a real Kafka.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod faults;
mod measure;
mod members;
mod owners;
mod setup;
mod world;
