//! User tokens: signing, and taking apart with a known key.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use stonechat_errors::{Code, Error};
use stonechat_model::{DeviceId, KeyId, TimeUs, UserId, limits};
use stonechat_proto::internal::v1::KeyKind;

/// The audience of every user token.
pub const AUDIENCE: &str = "stonechat";
/// How far clocks may differ, in seconds.
pub const LEEWAY_S: i64 = 30;

const SECOND_US: i64 = 1_000_000;

/// The claims as they stand in a token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RawClaims {
    pub iss: String,
    pub sub: String,
    pub aud: Audience,
    pub iat: i64,
    pub exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// One audience or several (RFC 7519, section 4.1.3).
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn is_ours(&self) -> bool {
        match self {
            Self::One(audience) => audience == AUDIENCE,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
        }
    }
}

/// The one answer to a token that is not valid; `why` is for the developer and tells nothing of other tenants.
pub(crate) fn refused(why: &'static str) -> Error {
    Error::new(Code::Unauthenticated, why)
}

/// Signs a user token with an HS256 key, whose secret is the bytes of its text.
pub fn sign_user_token(
    key_id: &KeyId,
    secret: &[u8],
    user: &UserId,
    device: Option<&DeviceId>,
    issued_us: TimeUs,
    ttl: Duration,
) -> Result<String, Error> {
    let iat = issued_us / SECOND_US;
    let claims = RawClaims {
        iss: key_id.to_string(),
        sub: user.to_string(),
        aud: Audience::One(AUDIENCE.to_owned()),
        iat,
        exp: iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
        nbf: None,
        device: device.map(ToString::to_string),
    };
    let signed = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret));
    signed.map_err(|error| Error::invalid(format!("sign token: {error}")))
}

/// The key that a token says it was signed with. Nothing else of the token is believed yet.
pub(crate) fn named_key(token: &str) -> Result<KeyId, Error> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    if token.len() > limits::TOKEN_BYTES {
        return Err(refused("token is too long"));
    }
    let header = decode_header(token).map_err(|_| refused("token cannot be read"))?;
    let foreign_keys = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
    if foreign_keys {
        return Err(refused("token brings its own key"));
    }
    // RFC 7515, section 4.1.11: whoever does not understand such an extension refuses the token.
    if header.crit.is_some() {
        return Err(refused("token asks for an unknown extension"));
    }
    let issuer: Issuer =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| refused("token cannot be read"))?;
    let key = KeyId::parse(&issuer.iss).map_err(|_| refused("token names no key"))?;
    match header.kid {
        Some(kid) if kid != issuer.iss => Err(refused("token names two keys")),
        _ => Ok(key),
    }
}

/// Takes a token apart, after checking its signature with this key. Times are checked by the caller.
pub(crate) fn verify(token: &str, kind: KeyKind, material: &[u8]) -> Result<RawClaims, Error> {
    let (algorithm, key) = match kind {
        KeyKind::Hs256 => (Algorithm::HS256, DecodingKey::from_secret(material)),
        KeyKind::Eddsa => (Algorithm::EdDSA, DecodingKey::from_ed_der(material)),
        KeyKind::Server | KeyKind::Unspecified => return Err(refused("token names no key for tokens")),
    };
    let mut validation = Validation::new(algorithm);
    // Times are checked against the caller's clock, the audience below.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let token = decode::<RawClaims>(token, &key, &validation).map_err(|_| refused("token is not valid"))?;
    if token.claims.aud.is_ours() { Ok(token.claims) } else { Err(refused("token is for another audience")) }
}

/// Checks a token's times; gives when it was issued and when it expires.
pub(crate) fn check_times(claims: &RawClaims, now_us: TimeUs) -> Result<(TimeUs, TimeUs), Error> {
    let now_s = now_us / SECOND_US;
    if claims.exp <= now_s.saturating_sub(LEEWAY_S) {
        return Err(refused("token has expired"));
    }
    if claims.nbf.unwrap_or(i64::MIN) > now_s + LEEWAY_S || claims.iat > now_s + LEEWAY_S {
        return Err(refused("token is not valid yet"));
    }
    Ok((claims.iat.saturating_mul(SECOND_US), claims.exp.saturating_mul(SECOND_US)))
}
