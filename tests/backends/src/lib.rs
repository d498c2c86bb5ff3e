//! Real servers on loopback, for tests: what the cluster's backends are in production.
//!
//! `make backends` fetches them. Everything that was started ends, and every folder goes, when its value is dropped
//! or its process ends, however that happens.

pub mod cassandra;
pub mod certificate;
pub mod clamd;
pub mod haproxy;
pub mod kafka;
pub mod proxy;
pub mod redis;
pub mod s3;
pub mod server;
