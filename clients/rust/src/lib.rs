//! The Rust client of Stonechat.

pub mod core;
