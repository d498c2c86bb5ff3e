//! Credentials: user tokens (JWT, RFC 7519), server keys, and where their keys are kept.
//!
//! A tenant signs user tokens offline: `iss` is the key's id, `sub` the user, `aud` "stonechat", `iat` and `exp`
//! are required, `nbf` is respected, `device` may name the only device the token is good for. Which algorithm
//! verifies a token follows from the key, never from the token.

mod keys;
mod scope;
mod secret;
mod token;
mod verifier;

pub use keys::{Keys, NewKey};
pub use scope::{Scope, Scopes};
pub use secret::{WeakSecret, check_secret, generate_secret};
pub use token::{AUDIENCE, LEEWAY_S, sign_user_token};
pub use verifier::{Claims, ServerCaller, Verifier};
