//! Where tenants and their keys are kept.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prost::Message as _;
use sha2::{Digest, Sha256};
use stonechat_errors::{Code, Error};
use stonechat_model::{KeyId, TenantId, TimeUs, limits};
use stonechat_proto::internal::v1::{KeyKind, KeyRow, TenantKeyRow, TenantRow};
use stonechat_rows::{Key, Put, Row, Rows, RowsError, tables};

use crate::{Scopes, generate_secret};

/// An Ed25519 public key in bytes (RFC 8032).
const EDDSA_KEY_BYTES: usize = 32;
/// What goes before an Ed25519 public key in its PEM form's DER (RFC 8410).
const EDDSA_DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that was just made. Its secret is shown this once.
#[derive(Clone)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Its secret; empty for an EdDSA key, whose private part stays with the tenant.
    pub secret: String,
}

/// Tenants and keys in the rows, changed by compare-and-set.
#[derive(Clone)]
pub struct Keys {
    rows: Arc<dyn Rows>,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about keys");
    Error::unavailable("rows do not answer")
}

fn corrupt(error: prost::DecodeError) -> Error {
    tracing::error!(%error, "stored key is corrupt");
    Error::internal()
}

impl Keys {
    /// The keys in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, tenant: &TenantId, name: &str, now_us: TimeUs) -> Result<TenantRow, Error> {
        let row = TenantRow { name: name.to_owned(), created_us: now_us, ..TenantRow::default() };
        if self.set(tables::tenant(tenant), row.encode_to_vec(), None).await? {
            return Ok(row);
        }
        Err(Error::new(Code::AlreadyExists, "tenant id is taken"))
    }

    /// A tenant.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<TenantRow, Error> {
        let unknown = || Error::not_found("tenant");
        let row = self.read(tables::tenant(tenant)).await?.ok_or_else(unknown)?;
        let row = TenantRow::decode(row.value).map_err(corrupt)?;
        if row.deleted_us == 0 { Ok(row) } else { Err(unknown()) }
    }

    /// Says that a tenant is deleted: its credentials are refused from now on, and its id is never used again. Whoever
    /// calls tells the nodes, and deletes what it has.
    pub async fn delete_tenant(&self, tenant: &TenantId, now_us: TimeUs) -> Result<(), Error> {
        loop {
            let row = self.read(tables::tenant(tenant)).await?.ok_or_else(|| Error::not_found("tenant"))?;
            let version = row.version;
            let present = TenantRow::decode(row.value).map_err(corrupt)?;
            if present.deleted_us > 0 {
                return Ok(());
            }
            let deleted = TenantRow {
                created_us: present.created_us,
                suspended: true,
                deleted_us: now_us,
                ..TenantRow::default()
            };
            if self.set(tables::tenant(tenant), deleted.encode_to_vec(), Some(version)).await? {
                return Ok(());
            }
        }
    }

    /// Changes a tenant's row; gives it as it stands then. Whoever calls tells the nodes.
    pub async fn change_tenant(&self, tenant: &TenantId, change: impl Fn(&mut TenantRow)) -> Result<TenantRow, Error> {
        loop {
            let row = self.read(tables::tenant(tenant)).await?.ok_or_else(|| Error::not_found("tenant"))?;
            let version = row.version;
            let before = TenantRow::decode(row.value).map_err(corrupt)?;
            if before.deleted_us > 0 {
                return Err(Error::not_found("tenant"));
            }
            let mut after = before.clone();
            change(&mut after);
            if after == before || self.set(tables::tenant(tenant), after.encode_to_vec(), Some(version)).await? {
                return Ok(after);
            }
        }
    }

    /// A page of tenants from one on, those that were deleted among them, in the order of their ids.
    pub async fn tenants(&self, from: Option<&str>, limit: usize) -> Result<Vec<(TenantId, TenantRow)>, Error> {
        let rows = self.rows.range(tables::tenants(from, limit)).await.map_err(unavailable)?;
        let tenant = |row: Row| {
            let id = TenantId::parse(row.key.text(1)).map_err(|_| Error::internal())?;
            Ok((id, TenantRow::decode(row.value).map_err(corrupt)?))
        };
        rows.into_iter().map(tenant).collect()
    }

    /// Makes a key that signs user tokens with HS256. The secret's bytes are those of its text.
    pub async fn create_hs256(&self, tenant: &TenantId, name: &str, now_us: TimeUs) -> Result<NewKey, Error> {
        let secret = generate_secret()?;
        let row = key_row(tenant, KeyKind::Hs256, secret.as_bytes(), name, now_us);
        let id = self.create(&row, None).await?;
        Ok(NewKey { id, secret })
    }

    /// Registers the public key of a pair that signs user tokens with EdDSA (Ed25519): PEM, or base64 of its 32 bytes.
    pub async fn create_eddsa(
        &self,
        tenant: &TenantId,
        public_key: &str,
        name: &str,
        now_us: TimeUs,
    ) -> Result<NewKey, Error> {
        let row = key_row(tenant, KeyKind::Eddsa, &ed25519_public_key(public_key)?, name, now_us);
        let id = self.create(&row, None).await?;
        Ok(NewKey { id, secret: String::new() })
    }

    /// Makes a server key, which acts for the tenant in everything.
    pub async fn create_server_key(&self, tenant: &TenantId, name: &str, now_us: TimeUs) -> Result<NewKey, Error> {
        self.create_scoped_key(tenant, Scopes::ALL, name, now_us).await
    }

    /// Makes a server key, which acts for the tenant within its scopes.
    pub async fn create_scoped_key(
        &self,
        tenant: &TenantId,
        scopes: Scopes,
        name: &str,
        now_us: TimeUs,
    ) -> Result<NewKey, Error> {
        let id = new_id()?;
        let secret = format!("sk_{id}_{}", generate_secret()?);
        let row = key_row(tenant, KeyKind::Server, &Sha256::digest(&secret), name, now_us);
        let row = KeyRow { scopes: scopes.names(), ..row };
        let id = self.create(&row, Some(id)).await?;
        Ok(NewKey { id, secret })
    }

    /// A tenant's key.
    pub async fn key(&self, tenant: &TenantId, id: &KeyId) -> Result<KeyRow, Error> {
        let (row, _) = self.versioned(tenant, id).await?;
        Ok(row)
    }

    /// A tenant's keys, in the order of their ids.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<(KeyId, KeyRow)>, Error> {
        self.tenant(tenant).await?;
        let range = tables::tenant_keys(tenant, None, limits::RANGE_ROWS);
        let listed = self.rows.range(range).await.map_err(unavailable)?;
        let mut keys = Vec::with_capacity(listed.len());
        for row in listed {
            let id = KeyId::parse(row.key.text(1)).map_err(|_| Error::internal())?;
            // A key is listed before it is made, so a crash between the two leaves an entry without a key.
            match self.key(tenant, &id).await {
                Ok(row) => keys.push((id, row)),
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    /// Disables a key for good. Whoever calls tells the nodes.
    pub async fn disable(&self, tenant: &TenantId, id: &KeyId) -> Result<(), Error> {
        loop {
            let (mut row, version) = self.versioned(tenant, id).await?;
            if row.disabled {
                return Ok(());
            }
            row.disabled = true;
            if self.set(tables::key(id), row.encode_to_vec(), Some(version)).await? {
                return Ok(());
            }
        }
    }

    /// Makes a key in the place of another: of its kind, with its name and scopes. The old one is good until `ends_us`,
    /// or until it ended anyway. `public_key` is the new one of an EdDSA key. Whoever calls tells the nodes.
    pub async fn rotate(
        &self,
        tenant: &TenantId,
        id: &KeyId,
        public_key: &str,
        ends_us: TimeUs,
        now_us: TimeUs,
    ) -> Result<NewKey, Error> {
        let (old, _) = self.versioned(tenant, id).await?;
        let is_over = old.disabled || (old.ends_us != 0 && old.ends_us <= now_us);
        if is_over {
            return Err(Error::new(Code::FailedPrecondition, "the key is good no more; make a new one"));
        }
        let scopes = Scopes::of_names(old.scopes.iter().map(String::as_str));
        let new = match old.kind() {
            KeyKind::Hs256 => self.create_hs256(tenant, &old.name, now_us).await?,
            KeyKind::Eddsa => self.create_eddsa(tenant, public_key, &old.name, now_us).await?,
            KeyKind::Server => self.create_scoped_key(tenant, scopes, &old.name, now_us).await?,
            KeyKind::Unspecified => return Err(Error::internal()),
        };
        loop {
            let (mut row, version) = self.versioned(tenant, id).await?;
            if row.ends_us == 0 || row.ends_us > ends_us {
                row.ends_us = ends_us;
            }
            if self.set(tables::key(id), row.encode_to_vec(), Some(version)).await? {
                return Ok(new);
            }
        }
    }

    async fn create(&self, row: &KeyRow, id: Option<KeyId>) -> Result<KeyId, Error> {
        let tenant = TenantId::parse(&row.tenant).map_err(|e| Error::invalid(e.to_string()))?;
        self.tenant(&tenant).await?;
        let range = tables::tenant_keys(&tenant, None, limits::TENANT_KEYS);
        if self.rows.range(range).await.map_err(unavailable)?.len() >= limits::TENANT_KEYS {
            return Err(Error::new(Code::LimitExceeded, format!("a tenant has at most {} keys", limits::TENANT_KEYS)));
        }
        let id = match id {
            Some(id) => id,
            None => new_id()?,
        };
        let entry = TenantKeyRow { kind: row.kind };
        self.set(tables::tenant_key(&tenant, &id), entry.encode_to_vec(), None).await?;
        if self.set(tables::key(&id), row.encode_to_vec(), None).await? {
            return Ok(id);
        }
        Err(Error::internal())
    }

    async fn versioned(&self, tenant: &TenantId, id: &KeyId) -> Result<(KeyRow, u64), Error> {
        let unknown = || Error::not_found("key");
        let row = self.read(tables::key(id)).await?.ok_or_else(unknown)?;
        let version = row.version;
        let row = KeyRow::decode(row.value).map_err(corrupt)?;
        if row.tenant == tenant.as_str() { Ok((row, version)) } else { Err(unknown()) }
    }

    async fn read(&self, key: Key) -> Result<Option<Row>, Error> {
        Ok(self.rows.get(&[key]).await.map_err(unavailable)?.into_iter().flatten().next())
    }

    async fn set(&self, key: Key, value: Vec<u8>, expected: Option<u64>) -> Result<bool, Error> {
        let put = Put { key, value: value.into(), version: expected.unwrap_or(0) + 1, ttl: None };
        self.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }
}

fn key_row(tenant: &TenantId, kind: KeyKind, material: &[u8], name: &str, now_us: TimeUs) -> KeyRow {
    KeyRow {
        tenant: tenant.to_string(),
        kind: kind.into(),
        material: material.to_vec(),
        created_us: now_us,
        disabled: false,
        name: name.to_owned(),
        scopes: Vec::new(),
        ends_us: 0,
    }
}

/// An id that nobody guesses; without `_`, which ends it in a server key.
fn new_id() -> Result<KeyId, Error> {
    let text = generate_secret()?.replace(['_', '-'], "x").to_ascii_lowercase();
    KeyId::parse(&format!("k{}", &text[..20])).map_err(|_| Error::internal())
}

fn ed25519_public_key(text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::invalid("public key is neither PEM nor base64 of an Ed25519 public key");
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let standard = body.replace('-', "+").replace('_', "/");
    let bytes = STANDARD_NO_PAD.decode(standard.trim_end_matches('='));
    let bytes = bytes.map_err(|_| wrong())?;
    let key = bytes.strip_prefix(&EDDSA_DER_PREFIX[..]).unwrap_or(&bytes);
    if key.len() != EDDSA_KEY_BYTES {
        return Err(wrong());
    }
    Ok(key.to_vec())
}
