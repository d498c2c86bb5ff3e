//! Master keys, which wrap the keys of tenants. They come from a file and are nowhere else.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use stonechat_model::{TenantId, limits};
use stonechat_proto::internal::v1::FileKeyRow;

use super::format::KEY_BYTES;
use crate::BlobError;

/// Bytes of a master key's digest that name it in rows and logs.
const NAME_BYTES: usize = 8;

/// The master keys: the first wraps, all unwrap.
pub struct MasterKeys(Vec<MasterKey>);

struct MasterKey {
    name: String,
    key: LessSafeKey,
}

impl MasterKeys {
    /// Reads a file: a key on each line, 64 hexadecimal digits, the present one first, older ones after it. Empty lines
    /// and such that begin with `#` are none.
    ///
    /// # Errors
    /// [`BlobError::Setup`] when the file cannot be read or a line is no key. It names the line and never shows it.
    pub fn load(path: &Path) -> Result<Self, BlobError> {
        let failed = |reason: String| BlobError::Setup(format!("master keys in {}: {reason}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        if fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0) {
            tracing::warn!(file = %path.display(), "file of master keys may be read by others than its owner");
        }
        Self::parse(&text).map_err(failed)
    }

    /// Reads a file; makes it, with a key by chance and for its owner alone, where there is none.
    ///
    /// # Errors
    /// As [`MasterKeys::load`], or when the file cannot be written.
    pub fn load_or_make(path: &Path) -> Result<Self, BlobError> {
        if !path.exists() {
            let failed = |error: io::Error| BlobError::Setup(format!("make master key {}: {error}", path.display()));
            make(path).map_err(failed)?;
            tracing::warn!(
                file = %path.display(),
                "made a master key for files; without it no file can be read: keep a copy apart from the data"
            );
        }
        Self::load(path)
    }

    /// Reads the text of a file; the reason, where it is wrong, shows no key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = decode_hex(line).ok_or_else(|| format!("line {number} is not 64 hexadecimal digits"))?;
            if bytes.iter().all(|byte| *byte == bytes[0]) {
                return Err(format!("line {number} is no key made by chance"));
            }
            let key = MasterKey::new(&bytes).map_err(|error| error.to_string())?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(format!("line {number} is there twice"));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("there is none; make one with `openssl rand -hex 32`".to_owned()),
            count if count > limits::MASTER_KEYS => Err(format!("more than {}", limits::MASTER_KEYS)),
            _ => Ok(Self(keys)),
        }
    }

    /// The name of the key that wraps.
    pub fn current(&self) -> &str {
        self.0.first().map_or("", |key| &key.name)
    }

    /// Wraps a key of a tenant with the present master key; gives the row without its time.
    pub(super) fn wrap(&self, tenant: &TenantId, version: u64, key: &[u8; KEY_BYTES]) -> Result<FileKeyRow, BlobError> {
        let master = self.0.first().ok_or_else(|| BlobError::Setup("no master key".to_owned()))?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| BlobError::Setup("no random numbers".to_owned()))?;
        let mut wrapped = key.to_vec();
        let (bound, value) = (bound(tenant, version), Nonce::assume_unique_for_key(nonce));
        master
            .key
            .seal_in_place_append_tag(value, Aad::from(bound), &mut wrapped)
            .map_err(|_| BlobError::Setup("wrap key".to_owned()))?;
        Ok(FileKeyRow { master: master.name.clone(), nonce: nonce.to_vec(), wrapped, created_us: 0 })
    }

    /// Unwraps a key of a tenant.
    pub(super) fn unwrap(
        &self,
        tenant: &TenantId,
        version: u64,
        row: &FileKeyRow,
    ) -> Result<[u8; KEY_BYTES], BlobError> {
        let wrong = BlobError::Corrupt("wrapped key");
        let master = self.0.iter().find(|key| key.name == row.master);
        let master = master.ok_or_else(|| BlobError::MasterKeyMissing(row.master.clone()))?;
        let nonce = Nonce::try_assume_unique_for_key(&row.nonce).map_err(|_| wrong.clone())?;
        let mut bytes = row.wrapped.clone();
        let opened = master.key.open_in_place(nonce, Aad::from(bound(tenant, version)), &mut bytes);
        let opened = opened.map_err(|_| wrong.clone())?;
        <[u8; KEY_BYTES]>::try_from(&*opened).map_err(|_| wrong)
    }
}

impl MasterKey {
    fn new(bytes: &[u8; KEY_BYTES]) -> Result<Self, BlobError> {
        let wrong = || BlobError::Setup("master key".to_owned());
        let derived = Salt::new(HKDF_SHA256, b"").extract(bytes);
        let key = derived.expand(&[b"stonechat master key 1 wrap"], &AES_256_GCM).map_err(|_| wrong())?;
        let name = digest(&SHA256, &[b"stonechat master key 1 name\0", &bytes[..]].concat());
        let name = name.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, key: LessSafeKey::new(UnboundKey::from(key)) })
    }
}

/// What a wrapped key is bound to.
fn bound(tenant: &TenantId, version: u64) -> Vec<u8> {
    [b"stonechat file key 1\0", tenant.as_str().as_bytes(), b"\0", &version.to_be_bytes()].concat()
}

fn decode_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Written beside its place first: a crash leaves no half of it.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TWO: &str = "f0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn the_first_key_wraps_and_every_key_unwraps() {
        let old = MasterKeys::parse(ONE).unwrap();
        let row = old.wrap(&acme(), 3, &[9; 32]).unwrap();
        let both = MasterKeys::parse(&format!("# rotated\n{TWO}\n\n{ONE}\n")).unwrap();
        assert_ne!(both.current(), row.master);
        assert_eq!(both.unwrap(&acme(), 3, &row).unwrap(), [9; 32]);
        let new = MasterKeys::parse(TWO).unwrap();
        assert_eq!(new.unwrap(&acme(), 3, &row), Err(BlobError::MasterKeyMissing(row.master)));
    }

    #[test]
    fn a_wrapped_key_is_of_its_tenant_and_version() {
        let keys = MasterKeys::parse(ONE).unwrap();
        let row = keys.wrap(&acme(), 3, &[9; 32]).unwrap();
        assert!(keys.unwrap(&acme(), 4, &row).is_err());
        assert!(keys.unwrap(&TenantId::parse("umbrella").unwrap(), 3, &row).is_err());
        let changed = FileKeyRow { wrapped: row.wrapped.iter().map(|byte| byte ^ 1).collect(), ..row };
        assert!(keys.unwrap(&acme(), 3, &changed).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let zeros = "0".repeat(64);
        for bad in [
            "",
            "# nothing",
            "abc",
            &ONE[1..],
            &format!("{ONE}0"),
            &zeros,
            &format!("{ONE}\n{ONE}"),
            "+0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ] {
            let reason = MasterKeys::parse(bad).err().unwrap();
            assert!(!reason.contains("112233"), "{reason}");
        }
    }

    #[test]
    fn a_made_key_is_for_its_owner_alone_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.keys");
        let made = MasterKeys::load_or_make(&path).unwrap().current().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKeys::load_or_make(&path).unwrap().current(), made);
        assert_eq!(MasterKeys::load(&path).unwrap().current(), made);
        assert!(matches!(MasterKeys::load(&folder.path().join("none")), Err(BlobError::Setup(_))));
    }
}
