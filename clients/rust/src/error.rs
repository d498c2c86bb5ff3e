//! What can go wrong.

use stonechat_proto::v1;

/// Why a request was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The server refused it.
    #[error("{}: {}", .0.code, .0.reason)]
    Refused(v1::Error),
    /// The server cannot be reached.
    #[error("server cannot be reached: {0}")]
    Unreachable(String),
    /// The server closed the session for good: the code, and why.
    #[error("session was closed for good ({0}): {1}")]
    Closed(u16, String),
    /// The URL is none of a server.
    #[error("bad url: {0}")]
    Url(String),
    /// A frame cannot be made or read.
    #[error("protocol: {0}")]
    Protocol(String),
    /// No token is to be had.
    #[error("token: {0}")]
    Token(String),
    /// A file of this machine cannot be read or written.
    #[error("file: {0}")]
    File(String),
    /// The client was closed.
    #[error("client was closed")]
    Stopped,
}

impl ClientError {
    /// Whether the same may be tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(error) => error.retryable,
            Self::Unreachable(_) => true,
            Self::Closed(..) | Self::Url(_) | Self::Protocol(_) | Self::Token(_) | Self::File(_) | Self::Stopped => {
                false
            }
        }
    }
}
