//! Tenants and keys.

use stonechat_auth::NewKey;
use stonechat_errors::Error;
use stonechat_model::{KeyId, TenantId, limits, now_us};
use stonechat_proto::{
    internal::v1::{KeyKind, KeyRow, TenantRow},
    v1::{
        CreateKeyRequest, CreateTenantRequest, DisableKeyRequest, DisableKeyResponse, GetTenantRequest, Key,
        ListKeysRequest, ListKeysResponse, ListTenantsRequest, ListTenantsResponse, Tenant,
    },
};
use stonechat_rpc::Control;

use super::{Service, page_size, page_token};
use stonechat_operations::Caller;

fn tenant_id(text: &str) -> Result<TenantId, Error> {
    TenantId::parse(text).map_err(|e| Error::invalid(format!("tenant: {e}")))
}

fn tenant(id: &TenantId, row: TenantRow) -> Tenant {
    Tenant { id: id.to_string(), name: row.name, created_us: row.created_us }
}

fn key(id: &KeyId, row: KeyRow) -> Key {
    let kind = match row.kind() {
        KeyKind::Hs256 => "hs256",
        KeyKind::Eddsa => "eddsa",
        KeyKind::Server => "server",
        KeyKind::Unspecified => "",
    };
    Key {
        id: id.to_string(),
        kind: kind.to_owned(),
        name: row.name,
        created_us: row.created_us,
        disabled: row.disabled,
        secret: String::new(),
    }
}

impl Service {
    pub async fn create_tenant(&self, caller: &Caller, request: CreateTenantRequest) -> Result<Tenant, Error> {
        caller.operator()?;
        let id = tenant_id(&request.id)?;
        stonechat_commands::check_plain("name", &request.name, limits::NAME_BYTES)?;
        Ok(tenant(&id, self.keys.create_tenant(&id, &request.name, now_us()).await?))
    }

    pub async fn get_tenant(&self, caller: &Caller, request: GetTenantRequest) -> Result<Tenant, Error> {
        caller.operator()?;
        let id = tenant_id(&request.tenant)?;
        Ok(tenant(&id, self.keys.tenant(&id).await?))
    }

    pub async fn list_tenants(
        &self,
        caller: &Caller,
        request: ListTenantsRequest,
    ) -> Result<ListTenantsResponse, Error> {
        caller.operator()?;
        let size = page_size(request.page_size);
        let mut found = self.keys.tenants(page_token(&request.page_token)?, size + 1).await?;
        let next = if found.len() > size { found.pop().map(|(id, _)| id.to_string()) } else { None };
        let present = found.into_iter().filter(|(_, row)| row.deleted_us == 0);
        let tenants = present.map(|(id, row)| tenant(&id, row)).collect();
        Ok(ListTenantsResponse { tenants, next_page_token: next.unwrap_or_default() })
    }

    pub async fn create_key(&self, caller: &Caller, request: CreateKeyRequest) -> Result<Key, Error> {
        caller.operator()?;
        let id = tenant_id(&request.tenant)?;
        stonechat_commands::check_plain("name", &request.name, limits::NAME_BYTES)?;
        let NewKey { id: key_id, secret } = match request.kind.as_str() {
            "hs256" => self.keys.create_hs256(&id, &request.name, now_us()).await?,
            "eddsa" => self.keys.create_eddsa(&id, &request.public_key, &request.name, now_us()).await?,
            "server" => self.keys.create_server_key(&id, &request.name, now_us()).await?,
            _ => return Err(Error::invalid("kind must be hs256, eddsa or server")),
        };
        let row = self.keys.key(&id, &key_id).await?;
        Ok(Key { secret, ..key(&key_id, row) })
    }

    pub async fn list_keys(&self, caller: &Caller, request: ListKeysRequest) -> Result<ListKeysResponse, Error> {
        caller.operator()?;
        let found = self.keys.keys(&tenant_id(&request.tenant)?).await?;
        Ok(ListKeysResponse { keys: found.into_iter().map(|(id, row)| key(&id, row)).collect() })
    }

    pub async fn disable_key(&self, caller: &Caller, request: DisableKeyRequest) -> Result<DisableKeyResponse, Error> {
        caller.operator()?;
        let tenant = tenant_id(&request.tenant)?;
        let key = KeyId::parse(&request.key).map_err(|e| Error::invalid(format!("key: {e}")))?;
        self.keys.disable(&tenant, &key).await?;
        self.caller.link().control(Control::KeyChanged { tenant, key }).await;
        Ok(DisableKeyResponse {})
    }
}
