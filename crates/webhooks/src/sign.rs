//! Secrets and signatures, as the specification has them.

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::TryRngCore as _;
use stonechat_errors::Error;
use stonechat_proto::internal::v1::{WebhookSecret, WebhookSecretKind};

/// What secrets of v1 begin with.
const SECRET_PREFIX: &str = "whsec_";
/// What private keys of v1a begin with.
const PRIVATE_PREFIX: &str = "whsk_";
/// What public keys of v1a begin with.
const PUBLIC_PREFIX: &str = "whpk_";
/// The shortest secret of v1 in bytes.
const SECRET_MIN: usize = 24;
/// The longest.
const SECRET_MAX: usize = 64;
/// A secret that is made here.
const SECRET_MADE: usize = 32;
/// The seed of an Ed25519 pair.
const SEED: usize = 32;
/// The seed and the public key, as private keys of v1a are written.
const PRIVATE: usize = 64;

/// Why a text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It has another form.
    #[error("secret must be whsec_ and the base64 of {SECRET_MIN} to {SECRET_MAX} bytes")]
    Form,
    /// It repeats itself.
    #[error("secret can be guessed; make one with: openssl rand -base64 32")]
    Weak,
}

/// What a webhook signs with.
pub enum SigningKey {
    /// v1: HMAC-SHA256.
    Hmac(Vec<u8>),
    /// v1a: Ed25519.
    Ed25519 {
        /// The seed of the pair.
        seed: [u8; SEED],
        /// The pair.
        pair: Box<Ed25519KeyPair>,
    },
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Error::internal()
    })?;
    Ok(bytes)
}

impl SigningKey {
    /// Makes a secret of v1.
    pub fn generate_hmac() -> Result<Self, Error> {
        Ok(Self::Hmac(random::<SECRET_MADE>()?.to_vec()))
    }

    /// Makes a pair of v1a.
    pub fn generate_ed25519() -> Result<Self, Error> {
        Self::from_seed(random::<SEED>()?).ok_or_else(Error::internal)
    }

    fn from_seed(seed: [u8; SEED]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self::Ed25519 { seed, pair: Box::new(pair) })
    }

    /// Takes a secret as a tenant writes it: `whsec_...`, or `whsk_...` of v1a.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(text) = text.strip_prefix(PRIVATE_PREFIX) {
            let bytes = STANDARD.decode(text).map_err(|_| SecretError::Form)?;
            let (seed, public) = bytes.split_first_chunk::<SEED>().ok_or(SecretError::Form)?;
            let key = Self::from_seed(*seed).ok_or(SecretError::Form)?;
            let is_whole = bytes.len() == PRIVATE && key.public_bytes() == Some(public);
            return if is_whole { Ok(key) } else { Err(SecretError::Form) };
        }
        let text = text.strip_prefix(SECRET_PREFIX).ok_or(SecretError::Form)?;
        let bytes = STANDARD.decode(text).map_err(|_| SecretError::Form)?;
        if !(SECRET_MIN..=SECRET_MAX).contains(&bytes.len()) {
            return Err(SecretError::Form);
        }
        let different = bytes.iter().collect::<std::collections::HashSet<_>>().len();
        if different < SECRET_MIN / 3 { Err(SecretError::Weak) } else { Ok(Self::Hmac(bytes)) }
    }

    fn public_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Hmac(_) => None,
            Self::Ed25519 { pair, .. } => Some(pair.public_key().as_ref()),
        }
    }

    /// The secret as it is shown when it is made: `whsec_...`, or `whsk_...` of v1a.
    pub fn secret_text(&self) -> String {
        match self {
            Self::Hmac(bytes) => format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes)),
            Self::Ed25519 { seed, pair } => {
                let whole = [&seed[..], pair.public_key().as_ref()].concat();
                format!("{PRIVATE_PREFIX}{}", STANDARD.encode(whole))
            }
        }
    }

    /// Of v1a, the public key as it is shown: `whpk_...`.
    pub fn public_text(&self) -> Option<String> {
        self.public_bytes().map(|bytes| format!("{PUBLIC_PREFIX}{}", STANDARD.encode(bytes)))
    }

    /// The version of its signatures.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Hmac(_) => "v1",
            Self::Ed25519 { .. } => "v1a",
        }
    }

    /// As a row keeps it.
    pub fn to_row(&self, now_us: i64) -> WebhookSecret {
        let (kind, material) = match self {
            Self::Hmac(bytes) => (WebhookSecretKind::Hmac, bytes.clone()),
            Self::Ed25519 { seed, .. } => (WebhookSecretKind::Ed25519, seed.to_vec()),
        };
        WebhookSecret { kind: kind.into(), material, created_us: now_us, expires_us: 0 }
    }

    /// What a row keeps; `None` where it is no key.
    pub fn from_row(row: &WebhookSecret) -> Option<Self> {
        match row.kind() {
            WebhookSecretKind::Hmac => Some(Self::Hmac(row.material.clone())),
            WebhookSecretKind::Ed25519 => Self::from_seed(row.material.as_slice().try_into().ok()?),
            WebhookSecretKind::Unspecified => None,
        }
    }

    /// The signature of a delivery, as it stands in the header.
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let content = [id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", body].concat();
        let signature = match self {
            Self::Hmac(secret) => {
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &content);
                STANDARD.encode(tag.as_ref())
            }
            Self::Ed25519 { pair, .. } => STANDARD.encode(pair.sign(&content).as_ref()),
        };
        format!("{},{signature}", self.version())
    }
}

/// The three headers of a delivery, signed with each of the keys.
pub fn headers(keys: &[SigningKey], id: &str, timestamp_s: i64, body: &[u8]) -> HeaderMap {
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp_s, body)).collect();
    let values = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp_s.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ];
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    };
    values.into_iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use standardwebhooks::Webhook;

    use super::*;

    fn now_s() -> i64 {
        stonechat_model::now_us() / 1_000_000
    }

    #[test]
    fn the_reference_library_verifies_what_is_signed_and_nothing_that_was_altered() {
        let key = SigningKey::generate_hmac().unwrap();
        let theirs = Webhook::new(&key.secret_text()).unwrap();
        let signed = headers(&[key], "evt_1", now_s(), b"{\"type\":\"message.created\"}");
        assert!(theirs.verify(b"{\"type\":\"message.created\"}", &signed).is_ok());
        assert!(theirs.verify(b"{\"type\":\"message.createe\"}", &signed).is_err());
        for (name, value) in [("webhook-id", "evt_2"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")] {
            let mut altered = signed.clone();
            altered.insert(name, HeaderValue::from_static(value));
            assert!(theirs.verify(b"{\"type\":\"message.created\"}", &altered).is_err(), "{name}");
        }
        let other = Webhook::new(&SigningKey::generate_hmac().unwrap().secret_text()).unwrap();
        assert!(other.verify(b"{\"type\":\"message.created\"}", &signed).is_err());
    }

    #[test]
    fn while_secrets_are_rotated_either_verifies() {
        let (old, new) = (SigningKey::generate_hmac().unwrap(), SigningKey::generate_hmac().unwrap());
        let verifiers = [old.secret_text(), new.secret_text()].map(|text| Webhook::new(&text).unwrap());
        let signed = headers(&[new, SigningKey::generate_ed25519().unwrap(), old], "evt_1", now_s(), b"{}");
        assert_eq!(signed["webhook-signature"].to_str().unwrap().split(' ').count(), 3);
        assert!(verifiers.iter().all(|verifier| verifier.verify(b"{}", &signed).is_ok()));
    }

    #[test]
    fn the_public_key_verifies_what_the_pair_signed() {
        let key = SigningKey::generate_ed25519().unwrap();
        let public = STANDARD.decode(key.public_text().unwrap().strip_prefix("whpk_").unwrap()).unwrap();
        let again = SigningKey::parse(&key.secret_text()).unwrap();
        assert_eq!(again.public_text(), key.public_text());
        let signed = headers(&[again], "evt_1", 1_700_000_000, b"{}");
        let signature = signed["webhook-signature"].to_str().unwrap().strip_prefix("v1a,").unwrap();
        let signature = STANDARD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, public);
        assert!(public.verify(b"evt_1.1700000000.{}", &signature).is_ok());
        assert!(public.verify(b"evt_1.1700000000.{ }", &signature).is_err());
    }

    #[test]
    fn a_secret_is_of_24_to_64_bytes() {
        let text = |length: u8| format!("whsec_{}", STANDARD.encode((0..length).collect::<Vec<u8>>()));
        for length in [0, 23, 65] {
            assert!(matches!(SigningKey::parse(&text(length)), Err(SecretError::Form)), "{length}");
        }
        for length in [24, 64] {
            let key = SigningKey::parse(&text(length)).unwrap();
            assert_eq!(key.secret_text(), text(length));
            let row = key.to_row(1);
            assert_eq!(SigningKey::from_row(&row).unwrap().secret_text(), text(length));
        }
        for text in ["", "whsec_", "whsec_!!", "whpk_AAAA", "whsk_AAAA", "secret"] {
            assert!(matches!(SigningKey::parse(text), Err(SecretError::Form)), "{text}");
        }
        let weak = format!("whsec_{}", STANDARD.encode([7; 32]));
        assert!(matches!(SigningKey::parse(&weak), Err(SecretError::Weak)));
    }
}
