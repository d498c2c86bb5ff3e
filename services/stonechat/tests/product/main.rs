//! The product as its users and its enemies meet it: every test runs the real binary.
#![expect(clippy::large_futures, reason = "a test has a stack to itself")]

mod api;
mod attachments;
mod attacks;
mod command_line;
mod crash;
mod data;
mod direct;
mod documents;
mod eviction;
mod files;
mod hooks;
mod hostile;
mod hostile_files;
mod idempotency;
mod operator;
mod pull;
mod quotas;
mod retention;
mod rewrap;
mod scan;
mod secrets;
mod slow;
mod support;
mod tokens;
mod traces;
mod uploads;
mod walls;
mod webhooks;
