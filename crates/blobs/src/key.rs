//! Keys of blobs, and how they look as paths.

use std::{fmt, sync::Arc};

use stonechat_model::{TenantId, limits};

use crate::BlobError;

/// Where a blob is: a tenant, and a name of lower-case letters, digits, `-` and `_`. So a name is never a path, a hidden
/// file, a device or, in letters of another case, another name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobKey {
    tenant: TenantId,
    name: Arc<str>,
}

/// Characters of a name that make the name of its folder. Of a UUIDv7 in hexadecimal digits they are the time to 17
/// minutes: folders stay small, few are open for writing, and their order is that of the names.
const FOLDER_CHARS: usize = 7;

impl BlobKey {
    /// The key of a tenant's blob.
    ///
    /// # Errors
    /// [`BlobError::InvalidName`].
    pub fn new(tenant: &TenantId, name: &str) -> Result<Self, BlobError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > limits::BLOB_NAME_BYTES || !name.bytes().all(fits) {
            return Err(BlobError::InvalidName);
        }
        Ok(Self { tenant: tenant.clone(), name: name.into() })
    }

    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of the name within its tenant's. Folders are in the order of the names in them.
    pub(crate) fn folder(&self) -> &str {
        self.name.get(..FOLDER_CHARS).unwrap_or(&self.name)
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// A tenant's id as the name of a folder or the prefix of an object: lower-case letters, digits, `-` and `_` as they are,
/// the rest as `=` and its code. So `..` is no folder above, and ids that differ in case alone stay apart where file
/// systems hold them for the same.
pub(crate) fn tenant_folder(tenant: &TenantId) -> String {
    let mut folder = String::with_capacity(tenant.as_str().len());
    for byte in tenant.as_str().bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_' {
            folder.push(char::from(byte));
        } else {
            folder.push_str(&format!("={byte:02x}"));
        }
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[test]
    fn a_name_is_never_a_path() {
        let acme = tenant("acme");
        let long = "a".repeat(limits::BLOB_NAME_BYTES + 1);
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a.b", "A", "a b", "a\0b", "ä", "a\r\n", &long]
        {
            assert_eq!(BlobKey::new(&acme, bad), Err(BlobError::InvalidName), "{bad:?}");
        }
        let longest = "a".repeat(limits::BLOB_NAME_BYTES);
        for good in ["a", "-", "_", "0193f2a1b2c3", &longest] {
            assert!(BlobKey::new(&acme, good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn tenants_folders_are_apart_and_stay_where_they_are() {
        assert_eq!(tenant_folder(&tenant("acme-1_x")), "acme-1_x");
        assert_eq!(tenant_folder(&tenant("..")), "=2e=2e");
        assert_eq!(tenant_folder(&tenant("Acme")), "=41cme");
        assert_eq!(tenant_folder(&tenant("a:b@c")), "a=3ab=40c");
    }

    #[test]
    fn folders_are_in_the_order_of_names() {
        let acme = tenant("acme");
        let mut keys: Vec<BlobKey> = ["b", "abcdefg", "abcdefgh", "abcdef", "abcdefz", "a-", "a_", "abcdefg-"]
            .iter()
            .map(|name| BlobKey::new(&acme, name).unwrap())
            .collect();
        keys.sort();
        assert!(keys.is_sorted_by_key(|key| key.folder().to_owned()), "{keys:?}");
    }
}
