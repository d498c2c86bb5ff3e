//! What a secret must be.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::TryRngCore as _;
use stonechat_errors::Error;

/// The shortest secret in bytes: as long as the output of HS256's hash (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;
/// The fewest different bytes of a secret; a random one of 32 has far more.
const DIFFERENT_BYTES: usize = 10;
/// Parts of secrets that stand in examples.
const WELL_KNOWN: &[&str] =
    &["secret", "password", "changeme", "change-me", "change_me", "example", "default", "stonechat", "12345678"];

/// Why a text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// It is empty.
    #[error("secret is empty")]
    Empty,
    /// It is too short.
    #[error("secret is shorter than {SECRET_BYTES} bytes")]
    Short,
    /// It is one that everybody knows, or built like one.
    #[error("secret is well known or repeats itself; make one with: openssl rand -hex 32")]
    WellKnown,
}

/// Checks that a text can be a secret.
pub fn check_secret(text: &str) -> Result<(), WeakSecret> {
    if text.is_empty() {
        return Err(WeakSecret::Empty);
    }
    if text.len() < SECRET_BYTES {
        return Err(WeakSecret::Short);
    }
    let lower = text.to_ascii_lowercase();
    let mut seen = [false; 256];
    text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    if different < DIFFERENT_BYTES || WELL_KNOWN.iter().any(|known| lower.contains(known)) {
        return Err(WeakSecret::WellKnown);
    }
    Ok(())
}

/// Makes a secret: 32 random bytes as base64url text.
pub fn generate_secret() -> Result<String, Error> {
    let mut bytes = [0; SECRET_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Error::internal()
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_is_taken_for_one() {
        assert_eq!(check_secret(""), Err(WeakSecret::Empty));
        assert_eq!(check_secret("short"), Err(WeakSecret::Short));
        for text in ["a".repeat(40), "abcabcabc".repeat(8), format!("my-SECRET-{}", "xyz0123456789qwertzu".repeat(2))] {
            assert_eq!(check_secret(&text), Err(WeakSecret::WellKnown), "{text}");
        }
        assert_eq!(check_secret(&generate_secret().unwrap()), Ok(()));
        assert_ne!(generate_secret().unwrap(), generate_secret().unwrap());
    }
}
