//! The one catalogue of errors, and how it looks over gRPC, HTTP and WebSocket.

mod code;
mod render;

pub use code::Code;

use std::{borrow::Cow, time::Duration};

/// What went wrong, as a caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Error {
    /// The code of the catalogue.
    pub code: Code,
    /// What was wrong, for the developer: lower case, no full stop, never a secret.
    pub reason: Cow<'static, str>,
    /// How long to wait before the same is tried again.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error of a code.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), retry_after: None }
    }

    /// Says how long to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether the same may be tried again unchanged.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }

    /// The answer for every id that the caller's tenant does not have, and for what the caller may not see.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, format!("{what} not found"))
    }

    /// An argument is not as it should be.
    pub fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, reason)
    }

    /// The caller may not do this.
    pub fn denied(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::PermissionDenied, reason)
    }

    /// A part of the service does not answer now.
    pub fn unavailable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, reason)
    }

    /// Something broke here; the reason stays in the log.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "internal error")
    }
}
