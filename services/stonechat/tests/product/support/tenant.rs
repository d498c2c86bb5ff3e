//! Tenants beside the demo tenant.

use serde_json::{Value, json};

use super::{
    http::Rest,
    server::{Server, Started},
    token::good,
};

/// Makes a tenant with keys as the operator does; gives what it is reached with at these URLs.
pub async fn make(operator: &Rest, id: String, (url, grpc_url): (&str, &str)) -> Started {
    let create = async |path: &str, wish: Value| {
        let (status, made) = operator.post(path, wish).await;
        assert!((200..300).contains(&status), "{path}: {status} {made}");
        made
    };
    create("/v1/tenants", json!({"id": id, "name": "Other"})).await;
    let keys = format!("/v1/tenants/{id}/keys");
    let signing = create(&keys, json!({"kind": "hs256", "name": "tokens"})).await;
    let server = create(&keys, json!({"kind": "server", "name": "server"})).await;
    let text = |key: &Value, name: &str| key[name].as_str().unwrap_or_else(|| panic!("no {name} in {key}")).to_owned();
    Started {
        url: url.to_owned(),
        grpc_url: grpc_url.to_owned(),
        tenant: id,
        key_id: text(&signing, "id"),
        key_secret: text(&signing, "secret"),
        server_key: text(&server, "secret"),
        users: Vec::new(),
    }
}

/// A tenant beside the demo tenant.
pub struct OtherTenant {
    pub id: String,
    pub server_key: String,
    started: Started,
}

impl OtherTenant {
    /// Makes it as the operator does.
    pub async fn create(server: &Server) -> Self {
        let id = format!("other{:016x}", rand::random::<u64>());
        let urls = (server.started.url.as_str(), server.started.grpc_url.as_str());
        let started = make(&Rest::operator(server), id.clone(), urls).await;
        Self { id, server_key: started.server_key.clone(), started }
    }

    /// A token of one of its users.
    pub fn token(&self, user: &str) -> String {
        good(&self.started, user)
    }
}
