//! What a device needs of a client, and what a storm needs of a server.

use std::time::Duration;

use async_trait::async_trait;
use stonechat_chaos_checker::ClientKey;
use stonechat_model::{ConversationId, UserId};
use stonechat_proto::v1;

/// Something happened to a device.
#[derive(Debug)]
pub enum Incident {
    /// A connection came up.
    Connected,
    /// The connection was lost.
    Disconnected,
    /// A command was answered.
    Acked {
        /// Its client id.
        client: ClientKey,
        /// The event's seq.
        seq: u64,
    },
    /// A command was refused for good.
    Refused {
        /// Its client id.
        client: ClientKey,
        /// The code of the refusal.
        code: String,
    },
    /// A file is there that was to be uploaded.
    Uploaded {
        /// Its id.
        file: String,
        /// A hash of its bytes, as [`crate::content_of`] makes it.
        content: u64,
    },
    /// An event is to be shown.
    Event {
        /// The conversation's id; empty for the user log.
        conversation: String,
        /// The event.
        event: Box<v1::Event>,
    },
}

/// A client of one device: it reconnects, repeats what was not answered and fills gaps by itself.
#[async_trait]
pub trait Link: Send {
    /// Hands over a command; gives the client id that it goes out with however often.
    fn send(&mut self, conversation: &ConversationId, action: v1::Action) -> ClientKey;

    /// Uploads a file, however often that has to be begun again; [`Incident::Uploaded`] says that it is there. Says
    /// whether files are kept in this world.
    fn upload(&mut self, _bytes: Vec<u8>) -> bool {
        false
    }

    /// Fetches a file; `None` where it cannot be had.
    async fn fetch(&mut self, _file: &str) -> Option<Vec<u8>> {
        None
    }

    /// What happens next. May be dropped while it waits, without losing anything.
    async fn next(&mut self) -> Incident;
}

/// The world in which a storm rages.
#[async_trait]
pub trait World: Send {
    /// Opens a client for a device of a user, which knows nothing yet.
    fn link(&self, user: &UserId, device: &str) -> Result<Box<dyn Link>, WorldError>;

    /// Starts the server; it is not ready yet.
    fn start(&mut self) -> Result<(), WorldError>;

    /// Waits until it is ready; gives the time since its start.
    async fn ready(&mut self) -> Result<Duration, WorldError>;

    /// Does it harm: kills it, at once and without a word, or whatever else may happen to it.
    async fn kill(&mut self) -> Result<(), WorldError>;

    /// What harm was done last.
    fn harm(&self) -> String {
        "kill -9".to_owned()
    }

    /// Whether the server has ended although nobody killed it.
    fn has_ended(&mut self) -> bool;
}

/// Why a storm cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorldError(pub String);
