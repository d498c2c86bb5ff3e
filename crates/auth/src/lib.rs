//! Credentials: user tokens (JWT), server keys, and where their keys are kept.

use std::sync::Arc;

use stonechat_errors::Error;
use stonechat_model::{DeviceId, KeyId, TenantId, TimeUs, UserId};
use stonechat_rows::Rows;

/// What a valid user token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The tenant of the key that signed it.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The key that signed it.
    pub key: KeyId,
    /// The only device it is good for, if it names one.
    pub device: Option<DeviceId>,
    /// When it was issued.
    pub issued_us: TimeUs,
    /// When it expires.
    pub expires_us: TimeUs,
}

/// Whom a valid server key acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCaller {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
}

/// Verifies credentials against the keys in the rows; keys are cached for a short while.
pub struct Verifier {
    #[expect(dead_code, reason = "placeholder")]
    rows: Arc<dyn Rows>,
}

#[expect(unused_variables, clippy::unused_async, reason = "placeholder")]
impl Verifier {
    /// Verifies against the keys in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Verifies a user token: signature, key, times, audience, and that neither the user nor the token was revoked.
    pub async fn user_token(&self, token: &str, device: &DeviceId, now_us: TimeUs) -> Result<Claims, Error> {
        Err(Error::internal())
    }

    /// Verifies a server key.
    pub async fn server_key(&self, key: &str, now_us: TimeUs) -> Result<ServerCaller, Error> {
        Err(Error::internal())
    }

    /// Forgets what is cached of a key.
    pub fn forget_key(&self, key: &KeyId) {}

    /// Forgets what is cached of a tenant.
    pub fn forget_tenant(&self, tenant: &TenantId) {}
}
