//! Close codes: 4000 to 4499 mean "reconnect", 4500 to 4999 "do not".

use std::borrow::Cow;

/// Why a session is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code.
    pub code: u16,
    /// For the developer.
    pub reason: Cow<'static, str>,
}

impl Close {
    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// The server goes away; reconnect.
    pub const GOING_AWAY: Self = Self::fixed(4001, "going away");
    /// A newer session of the user took this one's place.
    pub const REPLACED: Self = Self::fixed(4001, "too many sessions of this user");
    /// The client did not read fast enough; reconnect and sync.
    pub const TOO_SLOW: Self = Self::fixed(4008, "too slow");
    /// The client was silent for too long.
    pub const NO_HEARTBEAT: Self = Self::fixed(4012, "no heartbeat");
    /// No hello came in time.
    pub const NO_HELLO: Self = Self::fixed(4012, "no hello in time");
    /// The token expired.
    pub const EXPIRED: Self = Self::fixed(4500, "token has expired");
    /// The token, its key or its user was revoked.
    pub const REVOKED: Self = Self::fixed(4500, "credential was revoked");
    /// The tenant, or the user on another device, closed the session; its credential still is good.
    pub const DISCONNECTED: Self = Self::fixed(4503, "session was closed by the tenant or the user");
    /// The client offered no protocol of ours.
    pub const WRONG_VERSION: Self = Self::fixed(4512, "no known subprotocol was offered");
    /// The client's close was answered.
    pub const NORMAL: Self = Self::fixed(1000, "");

    /// The token was refused.
    pub fn bad_token(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 4500, reason: reason.into() }
    }

    /// A frame was not as it should be.
    pub fn bad_frame(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 4501, reason: reason.into() }
    }

    /// There are too many of something; reconnect later.
    pub fn rate(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 4013, reason: reason.into() }
    }

    /// Something here does not answer now; reconnect.
    pub fn try_again(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 4001, reason: reason.into() }
    }
}
