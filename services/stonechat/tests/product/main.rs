//! The product as its users and its enemies meet it: every test runs the real binary.

mod api;
mod crash;
mod eviction;
mod hostile;
mod secrets;
mod slow;
mod support;
mod tokens;
mod walls;
