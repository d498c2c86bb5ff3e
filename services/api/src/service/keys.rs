//! Keys of tenants: for the operator, and for a server key that may administrate its own tenant.

use stonechat_auth::{NewKey, Scope, Scopes};
use stonechat_errors::Error;
use stonechat_model::{KeyId, TenantId, limits, now_us};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{KeyKind, KeyRow},
    v1::{
        CreateKeyRequest, DisableKeyRequest, DisableKeyResponse, Key, ListKeysRequest, ListKeysResponse,
        RotateKeyRequest,
    },
};
use stonechat_rpc::Control;

use super::Service;

/// How long a rotated key is good where nothing is said.
const OVERLAP_S: u32 = 86_400;

fn key(id: &KeyId, row: KeyRow) -> Key {
    let kind = match row.kind() {
        KeyKind::Hs256 => "hs256",
        KeyKind::Eddsa => "eddsa",
        KeyKind::Server => "server",
        KeyKind::Unspecified => "",
    };
    let scopes = match row.kind() {
        KeyKind::Server => Scopes::of_names(row.scopes.iter().map(String::as_str)).names(),
        _ => Vec::new(),
    };
    Key {
        id: id.to_string(),
        kind: kind.to_owned(),
        name: row.name,
        created_us: row.created_us,
        disabled: row.disabled,
        secret: String::new(),
        scopes,
        ends_us: row.ends_us,
    }
}

fn key_id(text: &str) -> Result<KeyId, Error> {
    KeyId::parse(text).map_err(|e| Error::invalid(format!("key: {e}")))
}

/// The scopes of a new key: no more than its maker has.
fn scopes(caller: &Caller, names: &[String]) -> Result<Scopes, Error> {
    if let Some(unknown) = names.iter().find(|name| Scope::from_name(name).is_none()) {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        return Err(Error::invalid(format!(
            "scopes: {:?} is none of {known}",
            unknown.chars().take(32).collect::<String>()
        )));
    }
    let asked = Scopes::of_names(names.iter().map(String::as_str));
    match caller {
        Caller::Tenant(own) if Scope::ALL.iter().any(|scope| asked.has(*scope) && !own.scopes.has(*scope)) => {
            Err(Error::denied("a key makes no key that may more than itself"))
        }
        _ => Ok(asked),
    }
}

impl Service {
    pub async fn create_key(&self, caller: &Caller, request: CreateKeyRequest) -> Result<Key, Error> {
        let id = caller.administrates(&request.tenant)?;
        stonechat_commands::check_plain("name", &request.name, limits::NAME_BYTES)?;
        if request.kind != "server" && !request.scopes.is_empty() {
            return Err(Error::invalid("only server keys have scopes"));
        }
        let scopes = scopes(caller, &request.scopes)?;
        let new = match request.kind.as_str() {
            "hs256" => self.keys.create_hs256(&id, &request.name, now_us()).await?,
            "eddsa" => self.keys.create_eddsa(&id, &request.public_key, &request.name, now_us()).await?,
            "server" => self.keys.create_scoped_key(&id, scopes, &request.name, now_us()).await?,
            _ => return Err(Error::invalid("kind must be hs256, eddsa or server")),
        };
        self.shown_once(&id, new).await
    }

    async fn shown_once(&self, tenant: &TenantId, new: NewKey) -> Result<Key, Error> {
        let row = self.keys.key(tenant, &new.id).await?;
        Ok(Key { secret: new.secret, ..key(&new.id, row) })
    }

    pub async fn list_keys(&self, caller: &Caller, request: ListKeysRequest) -> Result<ListKeysResponse, Error> {
        let found = self.keys.keys(&caller.administrates(&request.tenant)?).await?;
        Ok(ListKeysResponse { keys: found.into_iter().map(|(id, row)| key(&id, row)).collect() })
    }

    pub async fn disable_key(&self, caller: &Caller, request: DisableKeyRequest) -> Result<DisableKeyResponse, Error> {
        let tenant = caller.administrates(&request.tenant)?;
        let key = key_id(&request.key)?;
        self.keys.disable(&tenant, &key).await?;
        self.caller.link().control(Control::KeyChanged { tenant, key }).await;
        Ok(DisableKeyResponse {})
    }

    pub async fn rotate_key(&self, caller: &Caller, request: RotateKeyRequest) -> Result<Key, Error> {
        let tenant = caller.administrates(&request.tenant)?;
        let old = key_id(&request.key)?;
        if request.overlap_s > limits::KEY_OVERLAP_S {
            return Err(Error::invalid(format!("overlap_s is at most {}", limits::KEY_OVERLAP_S)));
        }
        let row = self.keys.key(&tenant, &old).await?;
        // A key that signs tokens may everything, by them.
        scopes(caller, &row.scopes)?;
        let overlap_s = if request.overlap_s == 0 { OVERLAP_S } else { request.overlap_s };
        let now_us = now_us();
        let ends_us = now_us + i64::from(overlap_s) * 1_000_000;
        let new = self.keys.rotate(&tenant, &old, &request.public_key, ends_us, now_us).await?;
        // Nodes learn the old key's end, by which its sessions end as well.
        self.tell_changed(&tenant).await;
        self.shown_once(&tenant, new).await
    }
}
