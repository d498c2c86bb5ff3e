//! User tokens by hand: RFC 7515 pieces put together as an attacker would.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::server::Started;

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The claims of a good token.
pub fn claims(started: &Started, user: &str) -> Value {
    json!({
        "iss": started.key_id, "sub": user, "aud": "stonechat",
        "iat": now_s() - 1, "exp": now_s() + 3600,
    })
}

/// A token of these parts, signed with HMAC-SHA-256 whatever its header says.
pub fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("sign");
    format!("{message}.{signature}")
}

/// Header and claims, without the last dot.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A good token of any user of the demo tenant.
pub fn good(started: &Started, user: &str) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": started.key_id});
    signed(&header, &claims(started, user), started.key_secret.as_bytes())
}
