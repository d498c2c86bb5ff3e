//! Who calls.

use stonechat_auth::Verifier;
use stonechat_errors::{Code, Error};
use stonechat_model::{DeviceId, TenantId, TimeUs, UserId};
use subtle::ConstantTimeEq as _;

/// The device of calls that name none.
const DEVICE: &str = "api";

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The operator of the platform.
    Operator,
    /// A tenant, by a server key.
    Tenant(TenantId),
    /// A user, by a token.
    User(TenantId, UserId),
}

fn refused(why: &'static str) -> Error {
    Error::new(Code::Unauthenticated, why)
}

impl Caller {
    /// Finds out who calls from the `Authorization` value.
    pub async fn identify(
        authorization: Option<&str>,
        device: Option<&str>,
        operator_key: Option<&str>,
        verifier: &Verifier,
        now_us: TimeUs,
    ) -> Result<Self, Error> {
        let value = authorization.ok_or_else(|| refused("authorization is missing"))?;
        let credential = match value.split_once(' ') {
            Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => credential.trim(),
            _ => return Err(refused("authorization must be: Bearer and a credential")),
        };
        if operator_key.is_some_and(|key| bool::from(key.as_bytes().ct_eq(credential.as_bytes()))) {
            return Ok(Self::Operator);
        }
        if credential.starts_with("sk_") {
            let caller = verifier.server_key(credential, now_us).await?;
            return Ok(Self::Tenant(caller.tenant));
        }
        let device = DeviceId::parse(device.unwrap_or(DEVICE)).map_err(|e| Error::invalid(format!("device: {e}")))?;
        let claims = verifier.user_token(credential, &device, now_us).await?;
        Ok(Self::User(claims.tenant, claims.user))
    }

    /// Demands the operator.
    pub fn operator(&self) -> Result<(), Error> {
        match self {
            Self::Operator => Ok(()),
            Self::Tenant(_) | Self::User(..) => Err(Error::denied("this is for the operator")),
        }
    }

    /// Demands a tenant's server key.
    pub fn tenant(&self) -> Result<&TenantId, Error> {
        match self {
            Self::Tenant(tenant) => Ok(tenant),
            Self::Operator | Self::User(..) => Err(Error::denied("this takes a server key")),
        }
    }

    /// The tenant, and the user on whose behalf something is done: `sender` under a server key (empty: the tenant
    /// itself), the token's user otherwise.
    pub fn acting(&self, sender: &str) -> Result<(TenantId, Option<UserId>), Error> {
        match self {
            Self::Operator => Err(Error::denied("the operator does nothing in conversations")),
            Self::Tenant(tenant) if sender.is_empty() => Ok((tenant.clone(), None)),
            Self::Tenant(tenant) => {
                let user = UserId::parse(sender).map_err(|e| Error::invalid(format!("sender: {e}")))?;
                Ok((tenant.clone(), Some(user)))
            }
            Self::User(tenant, user) if sender.is_empty() || sender == user.as_str() => {
                Ok((tenant.clone(), Some(user.clone())))
            }
            Self::User(..) => Err(Error::denied("a user acts for nobody else")),
        }
    }

    /// As [`Caller::acting`], where somebody is needed.
    pub fn acting_user(&self, sender: &str) -> Result<(TenantId, UserId), Error> {
        let (tenant, user) = self.acting(sender)?;
        Ok((tenant, user.ok_or_else(|| Error::invalid("sender is missing"))?))
    }
}
