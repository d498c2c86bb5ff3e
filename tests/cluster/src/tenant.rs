//! A tenant to chat in, made as an operator would.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use stonechat_auth::sign_user_token;
use stonechat_model::{KeyId, UserId, now_us};
use stonechat_proto::v1::{CreateKeyRequest, CreateTenantRequest, Key, tenant_service_client::TenantServiceClient};
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Endpoint};

use crate::ClusterError;

/// How long tokens are good for.
const TOKEN: Duration = Duration::from_secs(7 * 86_400);

/// A tenant and its credentials.
#[derive(Debug, Clone, Serialize)]
pub struct Demo {
    /// The tenant.
    pub tenant: String,
    /// The key that signs user tokens.
    pub key_id: String,
    /// Its secret.
    pub key_secret: String,
    /// The key that acts for the tenant.
    pub server_key: String,
}

impl Demo {
    /// A token of a user.
    ///
    /// # Errors
    /// An id that is none.
    pub fn token(&self, user: &UserId) -> Result<String, ClusterError> {
        let failed = |reason: String| ClusterError::Tenant(reason);
        let key = KeyId::parse(&self.key_id).map_err(|error| failed(error.to_string()))?;
        let signed = sign_user_token(&key, self.key_secret.as_bytes(), user, None, now_us(), TOKEN);
        signed.map_err(|error| failed(error.to_string()))
    }
}

/// Makes the tenant `demo`, with keys, by the operator's API.
///
/// # Errors
/// The api does not answer, or refuses.
pub async fn demo_tenant(api: SocketAddr, operator_key: &str) -> Result<Demo, ClusterError> {
    let failed = |status: Status| ClusterError::Tenant(status.to_string());
    let channel = Endpoint::from_shared(format!("http://{api}")).map_err(|e| ClusterError::Tenant(e.to_string()))?;
    let channel = channel.connect().await.map_err(|e| ClusterError::Tenant(e.to_string()))?;
    let bearer = MetadataValue::try_from(format!("Bearer {operator_key}"));
    let bearer = bearer.map_err(|e| ClusterError::Tenant(e.to_string()))?;
    let mut tenants = TenantServiceClient::with_interceptor(channel, move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });
    let tenant = "demo".to_owned();
    let made = tenants.create_tenant(CreateTenantRequest { id: tenant.clone(), name: "Demo".to_owned() }).await;
    match made {
        Err(status) if status.code() != Code::AlreadyExists => return Err(failed(status)),
        _ => {}
    }
    let mut key = async |kind: &str| -> Result<Key, ClusterError> {
        let request = CreateKeyRequest { tenant: tenant.clone(), kind: kind.to_owned(), ..CreateKeyRequest::default() };
        Ok(tenants.create_key(request).await.map_err(failed)?.into_inner())
    };
    let (signing, server) = (key("hs256").await?, key("server").await?);
    Ok(Demo { tenant, key_id: signing.id, key_secret: signing.secret, server_key: server.secret })
}
