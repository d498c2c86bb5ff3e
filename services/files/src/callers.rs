//! Who calls what streams bytes; through the same gate as every operation.

use axum::http::{HeaderMap, header};
use stonechat_errors::{Code, Error};
use stonechat_filing::Reader;
use stonechat_model::{TenantId, UserId};
use stonechat_operations::{Caller, Http, Operation};

use crate::{Shared, headers::text};

/// Taking bytes.
pub(crate) static TAKING: Operation = Operation::new("FileService", "Upload", Http::Post, "/v1/uploads", 201);
/// Giving bytes.
pub(crate) static GIVING: Operation = Operation::new("FileService", "Download", Http::Get, "/v1/files/{file}", 200);

/// A caller who was let in.
pub(crate) struct Admitted {
    pub tenant: TenantId,
    pub reader: Reader,
    /// How many bytes of files the tenant may have.
    pub quota: u64,
}

impl Admitted {
    /// The user for whom something is uploaded: under a server key the one that is named, or nobody.
    pub fn owner(&self, named: &str) -> Result<Option<UserId>, Error> {
        match &self.reader {
            Reader::User(user) if named.is_empty() || named == user.as_str() => Ok(Some(user.clone())),
            Reader::User(_) => Err(Error::denied("a user acts for nobody else")),
            Reader::Tenant if named.is_empty() => Ok(None),
            Reader::Tenant => UserId::parse(named).map(Some).map_err(|e| Error::invalid(format!("owner: {e}"))),
        }
    }
}

/// Lets a caller in, or says why not.
pub(crate) async fn admit(shared: &Shared, operation: &Operation, headers: &HeaderMap) -> Result<Admitted, Error> {
    let authorization = text(headers, header::AUTHORIZATION.as_str());
    let caller = shared.gate.identify(authorization, text(headers, "stonechat-device")).await?;
    shared.gate.admit(operation, &caller).1?;
    let quota = caller.quotas().storage_bytes;
    match caller {
        Caller::Operator => Err(Error::new(Code::PermissionDenied, "this is not for the operator")),
        Caller::Tenant(key) => Ok(Admitted { tenant: key.tenant, reader: Reader::Tenant, quota }),
        Caller::User(user) => Ok(Admitted { tenant: user.tenant, reader: Reader::User(user.user), quota }),
    }
}
