//! How a client connects.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{ClientError, core::Bootstrap};

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf in binary messages.
    Protobuf,
    /// JSON in text messages.
    Json,
}

impl Encoding {
    /// The subprotocol that asks for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Protobuf => "stonechat.v1.proto",
            Self::Json => "stonechat.v1.json",
        }
    }
}

/// Gives a token that is valid now; asked at every connect, and before the one in use expires.
pub type TokenProvider =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, ClientError>> + Send>> + Send + Sync>;

/// How a client connects.
#[derive(Clone)]
pub struct Options {
    /// The server: `http://host:port` or `https://host`.
    pub url: String,
    /// Gives tokens.
    pub token: TokenProvider,
    /// The device's id, the same at every start of this installation.
    pub device: String,
    /// How frames are written.
    pub encoding: Encoding,
    /// What is fetched of conversations that are new here.
    pub bootstrap: Bootstrap,
    /// Events that wait for the application; beyond it the client stops reading.
    pub events: usize,
}

impl Options {
    /// With one token for good, a device of a new id, and everything fetched.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        let token: String = token.into();
        Self::with_provider(url, Arc::new(move || Box::pin(std::future::ready(Ok(token.clone())))))
    }

    /// With tokens from a provider.
    pub fn with_provider(url: impl Into<String>, token: TokenProvider) -> Self {
        Self {
            url: url.into(),
            token,
            device: uuid::Uuid::new_v4().to_string(),
            encoding: Encoding::Protobuf,
            bootstrap: Bootstrap::Full,
            events: 1_024,
        }
    }
}
