//! Verifying credentials against the keys in the rows.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prost::Message;
use sha2::{Digest, Sha256};
use stonechat_errors::{Code, Error};
use stonechat_model::{DeviceId, KeyId, TenantId, TimeUs, UserId};
use stonechat_proto::internal::v1::{DeviceRevocation, KeyKind, KeyRow, TenantRow, UserRow};
use stonechat_quotas::Quotas;
use stonechat_rows::{Row, Rows, RowsError, tables};
use subtle::ConstantTimeEq as _;

use crate::{
    Scopes,
    token::{check_times, named_key, refused, verify},
};

/// How long a key is believed without looking again, in microseconds.
const CACHE_US: TimeUs = 5_000_000;
/// Keys that are remembered at once.
const CACHE_KEYS: usize = 10_000;

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
    /// When it expires: its own time, or that of its key.
    pub expires_us: TimeUs,
    /// What the tenant may use.
    pub quotas: Quotas,
}

/// Whom a valid server key acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCaller {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// What it may do.
    pub scopes: Scopes,
    /// What the tenant may use.
    pub quotas: Quotas,
}

/// A key that can be used: not disabled, of a tenant that is not suspended.
#[derive(Clone)]
struct Usable {
    tenant: TenantId,
    kind: KeyKind,
    material: Arc<[u8]>,
    scopes: Scopes,
    quotas: Quotas,
    /// From when on it is refused.
    ends_us: TimeUs,
    read_us: TimeUs,
}

/// What is remembered of keys.
#[derive(Default)]
struct Cache {
    keys: HashMap<KeyId, Usable>,
    /// How often something was forgotten: what was read before that is not remembered after it.
    forgotten: u64,
}

/// Verifies credentials against the keys in the rows; keys are cached for a short while.
pub struct Verifier {
    rows: Arc<dyn Rows>,
    cache: Mutex<Cache>,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about a credential");
    Error::unavailable("credentials cannot be checked now")
}

fn decode<T: Message + Default>(row: Row) -> Result<T, Error> {
    T::decode(row.value).map_err(|error| {
        tracing::error!(%error, table = row.key.table.name, "stored row is corrupt");
        Error::internal()
    })
}

impl Verifier {
    /// Verifies against the keys in these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows, cache: Mutex::default() }
    }

    /// Verifies a user token: signature, key, times, audience, and that neither the user nor the token was revoked.
    pub async fn user_token(&self, token: &str, device: &DeviceId, now_us: TimeUs) -> Result<Claims, Error> {
        let key_id = named_key(token)?;
        let key = self.key(&key_id, now_us).await?.ok_or_else(|| refused("token is not valid"))?;
        let raw = verify(token, key.kind, &key.material)?;
        let (issued_us, expires_us) = check_times(&raw, now_us)?;
        let user = UserId::parse(&raw.sub).map_err(|_| refused("token names no user"))?;
        let only_device = match &raw.device {
            Some(text) => Some(DeviceId::parse(text).map_err(|_| refused("token names no device"))?),
            None => None,
        };
        if only_device.as_ref().is_some_and(|only| only != device) {
            return Err(refused("token is for another device"));
        }
        self.check_user(&key.tenant, &user, device, issued_us, None).await?;
        let (expires_us, quotas) = (expires_us.min(key.ends_us), key.quotas);
        Ok(Claims { tenant: key.tenant, user, key: key_id, device: only_device, issued_us, expires_us, quotas })
    }

    /// Verifies that what a session came by, verified before, still is good: its key, its user, its token; and that
    /// the session, which began at a time, was not closed since: that is refused with [`Code::PermissionDenied`]. Gives
    /// what holds of it now: its key may end earlier than it did, and quotas change.
    pub async fn still_valid(
        &self,
        claims: &Claims,
        device: &DeviceId,
        opened_us: TimeUs,
        now_us: TimeUs,
    ) -> Result<Claims, Error> {
        let key = match self.key(&claims.key, now_us).await? {
            Some(key) if key.tenant == claims.tenant => key,
            _ => return Err(refused("token is not valid")),
        };
        self.check_user(&claims.tenant, &claims.user, device, claims.issued_us, Some(opened_us)).await?;
        Ok(Claims { expires_us: claims.expires_us.min(key.ends_us), quotas: key.quotas, ..claims.clone() })
    }

    /// Verifies a server key.
    pub async fn server_key(&self, key: &str, now_us: TimeUs) -> Result<ServerCaller, Error> {
        let wrong = || refused("server key is not valid");
        let (id, _) = key.strip_prefix("sk_").and_then(|rest| rest.split_once('_')).ok_or_else(wrong)?;
        let id = KeyId::parse(id).map_err(|_| wrong())?;
        let known = self.key(&id, now_us).await?.ok_or_else(wrong)?;
        let hash = Sha256::digest(key);
        if known.kind == KeyKind::Server && bool::from(hash.as_slice().ct_eq(&known.material)) {
            return Ok(ServerCaller { tenant: known.tenant, key: id, scopes: known.scopes, quotas: known.quotas });
        }
        Err(wrong())
    }

    /// Forgets what is cached of a key.
    pub fn forget_key(&self, key: &KeyId) {
        let mut cache = self.cache.lock();
        cache.forgotten += 1;
        cache.keys.remove(key);
    }

    /// Forgets what is cached of a tenant.
    pub fn forget_tenant(&self, tenant: &TenantId) {
        let mut cache = self.cache.lock();
        cache.forgotten += 1;
        cache.keys.retain(|_, key| key.tenant != *tenant);
    }

    /// A key that can be used.
    async fn key(&self, id: &KeyId, now_us: TimeUs) -> Result<Option<Usable>, Error> {
        let forgotten = {
            let mut cache = self.cache.lock();
            if let Some(known) = cache.keys.get(id)
                && (known.read_us..known.read_us + CACHE_US).contains(&now_us)
                && now_us < known.ends_us
            {
                return Ok(Some(known.clone()));
            }
            cache.keys.remove(id);
            cache.forgotten
        };
        let Some(row) = self.read(tables::key(id)).await? else { return Ok(None) };
        let key: KeyRow = decode(row)?;
        let kind = key.kind();
        let Ok(tenant) = TenantId::parse(&key.tenant) else { return Ok(None) };
        let Some(row) = self.read(tables::tenant(&tenant)).await? else { return Ok(None) };
        let of_tenant: TenantRow = decode(row)?;
        let ends_us = if key.ends_us == 0 { TimeUs::MAX } else { key.ends_us };
        if key.disabled || of_tenant.suspended || ends_us <= now_us {
            return Ok(None);
        }
        let quotas = Quotas::of_row(of_tenant.quotas.as_ref());
        let scopes = Scopes::of_names(key.scopes.iter().map(String::as_str));
        let usable = Usable { tenant, kind, material: key.material.into(), scopes, quotas, ends_us, read_us: now_us };
        let mut cache = self.cache.lock();
        if cache.forgotten == forgotten {
            if cache.keys.len() >= CACHE_KEYS {
                cache.keys.clear();
            }
            cache.keys.insert(id.clone(), usable.clone());
        }
        Ok(Some(usable))
    }

    async fn read(&self, key: stonechat_rows::Key) -> Result<Option<Row>, Error> {
        Ok(self.rows.get(&[key]).await.map_err(unavailable)?.into_iter().flatten().next())
    }

    /// Refuses a deactivated user and a token that was revoked.
    async fn check_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
        device: &DeviceId,
        issued_us: TimeUs,
        opened_us: Option<TimeUs>,
    ) -> Result<(), Error> {
        let Some(row) = self.read(tables::user(tenant, user)).await? else { return Ok(()) };
        let user: UserRow = decode(row)?;
        if user.deactivated {
            return Err(Error::new(Code::Unauthenticated, "user is deactivated"));
        }
        if issued_us < cutoff_us(user.revoked_before_us, &user.revoked_devices, device) {
            return Err(refused("token was revoked"));
        }
        match opened_us {
            Some(opened_us) if opened_us < cutoff_us(user.closed_before_us, &user.closed_devices, device) => {
                Err(Error::denied("session was closed"))
            }
            _ => Ok(()),
        }
    }
}

/// Before when what a device had is good no more.
fn cutoff_us(all_us: TimeUs, devices: &[DeviceRevocation], device: &DeviceId) -> TimeUs {
    let of_device = devices.iter().filter(|cutoff| cutoff.device == device.as_str());
    of_device.map(|cutoff| cutoff.before_us).fold(all_us, TimeUs::max)
}
