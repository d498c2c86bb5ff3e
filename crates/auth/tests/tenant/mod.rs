//! A tenant with a key, on rows in a temporary folder.

use std::sync::Arc;

use prost::Message as _;
use stonechat_auth::{Claims, Keys, Verifier};
use stonechat_errors::{Code, Error};
use stonechat_model::{DeviceId, KeyId, TenantId, TimeUs};
use stonechat_proto::internal::v1::TenantRow;
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Put, Rows, tables};
use tempfile::TempDir;

/// The time of these tests, in seconds since 1970.
pub const NOW_S: i64 = 1_800_000_000;
/// The same in microseconds.
pub const NOW_US: TimeUs = NOW_S * 1_000_000;

/// A tenant with an HS256 key.
pub struct Tenant {
    pub id: TenantId,
    pub key: KeyId,
    pub secret: String,
    pub keys: Keys,
    pub verifier: Arc<Verifier>,
    pub rows: Arc<dyn Rows>,
    folder: Arc<TempDir>,
}

impl Tenant {
    /// A tenant "acme", alone in its folder.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        let verifier = Arc::new(Verifier::new(Arc::clone(&rows)));
        Self::named("acme", rows, verifier, Arc::new(folder)).await
    }

    /// Another tenant in the same rows.
    pub async fn beside(&self, id: &str) -> Self {
        Self::named(id, Arc::clone(&self.rows), Arc::clone(&self.verifier), Arc::clone(&self.folder)).await
    }

    async fn named(id: &str, rows: Arc<dyn Rows>, verifier: Arc<Verifier>, folder: Arc<TempDir>) -> Self {
        let id = TenantId::parse(id).unwrap();
        let keys = Keys::new(Arc::clone(&rows));
        keys.create_tenant(&id, "", NOW_US).await.unwrap();
        let key = keys.create_hs256(&id, "tokens", NOW_US).await.unwrap();
        Self { id, key: key.id, secret: key.secret, keys, verifier, rows, folder }
    }

    /// The bytes that sign.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// Verifies for the device "phone".
    pub async fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.verifier.user_token(token, &DeviceId::parse("phone").unwrap(), NOW_US).await
    }

    /// Demands that a token is refused.
    pub async fn refuses(&self, what: &str, token: &str) {
        match self.verify(token).await {
            Ok(claims) => panic!("{what}: believed as {claims:?}"),
            Err(error) => assert_eq!(error.code, Code::Unauthenticated, "{what}: {error}"),
        }
    }

    /// Suspends the tenant.
    pub async fn suspend(&self) {
        let row = TenantRow { suspended: true, ..TenantRow::default() };
        let key = tables::tenant(&self.id);
        let put = Put { key, value: row.encode_to_vec().into(), version: 2, ttl: None };
        assert!(self.rows.compare_and_set(put, Some(1)).await.unwrap());
    }
}
