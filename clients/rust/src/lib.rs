//! The Rust client of Stonechat: connects, stays connected, and tells what happens, each event once and in order.
//!
//! ```no_run
//! # async fn example() -> Result<(), stonechat_client::ClientError> {
//! use stonechat_client::{Client, Event, Options};
//!
//! let (client, mut events) = Client::connect(Options::new("http://127.0.0.1:4000", "alice's token"))?;
//! let conversation = client.create_direct("bob").await?;
//! client.send_text(&conversation, "hi").await?;
//! while let Some(event) = events.recv().await {
//!     if let Event::Event(frame) = event {
//!         println!("{}: {:?}", frame.conversation, frame.event);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! [`Files`] uploads and downloads. [`core`] is the state machine without I/O; [`Client`] is the shell around it.

mod client;
mod connection;
pub mod core;
mod driver;
mod error;
mod files;
mod options;

pub use client::{Client, Sent};
pub use driver::Event;
pub use error::ClientError;
pub use files::{FileInfo, Files, Progress};
pub use options::{Encoding, Options, TokenProvider};
pub use stonechat_proto::v1;
