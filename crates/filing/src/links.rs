//! Links that fetch a file without a credential, for browsers.
//!
//! A link names the tenant and the user on whose behalf it was made, and both are asked again when it is used: it gives
//! nothing that the user may not have then.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use stonechat_errors::{Code, Error};
use stonechat_model::{FileId, TenantId, TimeUs, UserId, now_us};
use stonechat_proto::internal::v1::{TenantRow, UserRow};
use stonechat_rows::tables;
use stonechat_views::file_path;

use crate::{Files, Reader};

/// Which form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The file.
    Whole,
    /// The smaller thumbnail.
    Small,
    /// The larger thumbnail.
    Large,
}

impl Variant {
    /// Reads the name of a thumbnail; empty for the file.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::Whole),
            "small" => Some(Self::Small),
            "large" => Some(Self::Large),
            _ => None,
        }
    }

    /// The path of a file's form.
    pub fn path(self, file: &FileId) -> String {
        let thumbnail = match self {
            Self::Whole => None,
            Self::Small => Some("small"),
            Self::Large => Some("large"),
        };
        file_path(file, thumbnail)
    }
}

/// What a link says beside its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The tenant.
    pub tenant: String,
    /// The user on whose behalf it was made; empty for the tenant.
    pub user: String,
    /// When it expires, in seconds since 1970.
    pub expires_s: u64,
    /// The signature.
    pub signature: String,
}

fn message(file: &FileId, variant: Variant, tenant: &str, user: &str, expires_s: u64) -> String {
    // No part holds a line break.
    format!("stonechat-file-link-1\n{tenant}\n{user}\n{expires_s}\n{}", variant.path(file))
}

impl Files {
    /// Makes a link; gives its path and query.
    pub async fn link(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        file: &FileId,
        variant: Variant,
        expires_us: TimeUs,
    ) -> Result<String, Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.counted.link_key(tenant).await?);
        let user = user.map_or("", UserId::as_str);
        let expires_s = u64::try_from(expires_us / 1_000_000).unwrap_or(0);
        let tag = hmac::sign(&key, message(file, variant, tenant.as_str(), user, expires_s).as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
        // Ids hold nothing that a query would have to escape.
        let path = variant.path(file);
        let of_user = if user.is_empty() { String::new() } else { format!("&user={user}") };
        Ok(format!("{path}?tenant={tenant}{of_user}&expires={expires_s}&signature={signature}"))
    }

    /// Whom a link acts for. One that was altered, has expired, or is of nobody any more is refused alike.
    pub async fn linked(&self, file: &FileId, variant: Variant, link: &Link) -> Result<(TenantId, Reader), Error> {
        let refused = || Error::new(Code::PermissionDenied, "the link is not valid or has expired");
        let tenant = TenantId::parse(&link.tenant).map_err(|_| refused())?;
        let now_s = u64::try_from(now_us() / 1_000_000).unwrap_or(0);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(&link.signature).map_err(|_| refused())?;
        if link.expires_s <= now_s {
            return Err(refused());
        }
        // Nothing is made for a tenant that is not there.
        let found = self.records.read::<TenantRow>(tables::tenant(&tenant)).await?.ok_or_else(refused)?;
        if found.row.suspended || found.row.deleted_us != 0 {
            return Err(refused());
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.counted.link_key(&tenant).await?);
        let signed = message(file, variant, &link.tenant, &link.user, link.expires_s);
        hmac::verify(&key, signed.as_bytes(), &signature).map_err(|_| refused())?;
        if link.user.is_empty() {
            return Ok((tenant, Reader::Tenant));
        }
        let user = UserId::parse(&link.user).map_err(|_| refused())?;
        let row = self.records.read::<UserRow>(tables::user(&tenant, &user)).await?;
        match row {
            Some(found) if found.row.deactivated => Err(refused()),
            _ => Ok((tenant, Reader::User(user))),
        }
    }
}
