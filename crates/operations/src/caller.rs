//! Who calls.

use stonechat_auth::{Scopes, Verifier};
use stonechat_errors::{Code, Error};
use stonechat_model::{DeviceId, KeyId, TenantId, TimeUs, UserId};
use stonechat_quotas::Quotas;
use subtle::ConstantTimeEq as _;

use crate::Callers;

/// The device of calls that name none.
const DEVICE: &str = "api";

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The operator of the platform.
    Operator,
    /// A tenant, by a server key.
    Tenant(ServerKey),
    /// A user, by a token.
    User(TokenUser),
}

/// A tenant, by a server key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The key it came with.
    pub key: KeyId,
    /// What the key may do.
    pub scopes: Scopes,
    /// What the tenant may use.
    pub quotas: Quotas,
}

/// A user, by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUser {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The key that signed the token.
    pub key: KeyId,
    /// What the tenant may use.
    pub quotas: Quotas,
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
            return Ok(Self::Tenant(ServerKey {
                tenant: caller.tenant,
                key: caller.key,
                scopes: caller.scopes,
                quotas: caller.quotas,
            }));
        }
        let device = DeviceId::parse(device.unwrap_or(DEVICE)).map_err(|e| Error::invalid(format!("device: {e}")))?;
        let claims = verifier.user_token(credential, &device, now_us).await?;
        let (tenant, user) = (claims.tenant, claims.user);
        Ok(Self::User(TokenUser { tenant, user, key: claims.key, quotas: claims.quotas }))
    }

    /// Whether this caller may call what these may.
    pub fn check(&self, callers: Callers) -> Result<(), Error> {
        match self {
            Self::Operator if callers.operator => Ok(()),
            Self::Operator => Err(Error::denied("this is not for the operator")),
            Self::Tenant(key) => match callers.server {
                Some(scope) if key.scopes.has(scope) => Ok(()),
                Some(scope) => Err(Error::denied(format!("this takes a key with the scope {scope}"))),
                None => Err(Error::denied("this is for the operator")),
            },
            Self::User(_) if callers.user => Ok(()),
            Self::User(_) if callers.server.is_some() => Err(Error::denied("this takes a server key")),
            Self::User(_) => Err(Error::denied("this is for the operator")),
        }
    }

    /// The tenant that calls; none for the operator.
    pub fn tenant_id(&self) -> Option<&TenantId> {
        match self {
            Self::Operator => None,
            Self::Tenant(key) => Some(&key.tenant),
            Self::User(user) => Some(&user.tenant),
        }
    }

    /// What the caller's tenant may use; the defaults for the operator.
    pub fn quotas(&self) -> Quotas {
        match self {
            Self::Operator => Quotas::default(),
            Self::Tenant(key) => key.quotas,
            Self::User(user) => user.quotas,
        }
    }

    /// The key it came with, or that signed its token.
    pub fn key_id(&self) -> Option<&KeyId> {
        match self {
            Self::Operator => None,
            Self::Tenant(key) => Some(&key.key),
            Self::User(user) => Some(&user.key),
        }
    }

    /// Demands the operator.
    pub fn operator(&self) -> Result<(), Error> {
        match self {
            Self::Operator => Ok(()),
            Self::Tenant(_) | Self::User(_) => Err(Error::denied("this is for the operator")),
        }
    }

    /// Demands a tenant's server key.
    pub fn tenant(&self) -> Result<&TenantId, Error> {
        match self {
            Self::Tenant(key) => Ok(&key.tenant),
            Self::Operator | Self::User(_) => Err(Error::denied("this takes a server key")),
        }
    }

    /// The tenant that is administrated: the one that the operator names, or that of the server key itself. A key that
    /// names another tenant gets the answer for an unknown one.
    pub fn administrates(&self, named: &str) -> Result<TenantId, Error> {
        match self {
            Self::Operator => TenantId::parse(named).map_err(|e| Error::invalid(format!("tenant: {e}"))),
            Self::Tenant(key) if named.is_empty() || named == key.tenant.as_str() => Ok(key.tenant.clone()),
            Self::Tenant(_) => {
                TenantId::parse(named).map_err(|e| Error::invalid(format!("tenant: {e}")))?;
                Err(Error::not_found("tenant"))
            }
            Self::User(_) => Err(Error::denied("this takes a server key")),
        }
    }

    /// The tenant, and the user on whose behalf something is done: `sender` under a server key (empty: the tenant
    /// itself), the token's user otherwise.
    pub fn acting(&self, sender: &str) -> Result<(TenantId, Option<UserId>), Error> {
        match self {
            Self::Operator => Err(Error::denied("the operator does nothing in conversations")),
            Self::Tenant(key) if sender.is_empty() => Ok((key.tenant.clone(), None)),
            Self::Tenant(key) => {
                let user = UserId::parse(sender).map_err(|e| Error::invalid(format!("sender: {e}")))?;
                Ok((key.tenant.clone(), Some(user)))
            }
            Self::User(user) if sender.is_empty() || sender == user.user.as_str() => {
                Ok((user.tenant.clone(), Some(user.user.clone())))
            }
            Self::User(_) => Err(Error::denied("a user acts for nobody else")),
        }
    }

    /// As [`Caller::acting`], where somebody is needed.
    pub fn acting_user(&self, sender: &str) -> Result<(TenantId, UserId), Error> {
        let (tenant, user) = self.acting(sender)?;
        Ok((tenant, user.ok_or_else(|| Error::invalid("sender is missing"))?))
    }

    /// Who this is whatever key was used: what the caller's idempotency keys are kept under.
    pub fn identity(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Tenant(key) => format!("tenant {}", key.tenant),
            Self::User(user) => format!("user {} {}", user.tenant, user.user),
        }
    }
}
