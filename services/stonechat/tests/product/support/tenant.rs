//! A second tenant.

use serde_json::json;

use super::{
    http::Rest,
    server::{Server, Started},
    token::good,
};

/// A tenant beside the demo tenant.
pub struct OtherTenant {
    pub id: String,
    pub server_key: String,
    started: Started,
}

impl OtherTenant {
    /// Makes it as the operator does.
    pub async fn create(server: &Server) -> Self {
        let operator = Rest::operator(server);
        let id = format!("other{:016x}", rand::random::<u64>());
        let (status, body) = operator.post("/v1/tenants", json!({"id": id, "name": "Other"})).await;
        assert!((200..300).contains(&status), "create tenant: {status} {body}");
        let mut started = server.started.clone();
        let keys = format!("/v1/tenants/{id}/keys");
        let (status, key) = operator.post(&keys, json!({"kind": "hs256", "name": "tokens"})).await;
        assert!((200..300).contains(&status), "create key: {status} {key}");
        let text = |name: &str| key[name].as_str().unwrap_or_else(|| panic!("no {name} in {key}")).to_owned();
        (started.tenant, started.key_id, started.key_secret) = (id.clone(), text("id"), text("secret"));
        let (status, key) = operator.post(&keys, json!({"kind": "server", "name": "server"})).await;
        assert!((200..300).contains(&status), "create server key: {status} {key}");
        Self { id, server_key: key["secret"].as_str().expect("a secret").to_owned(), started }
    }

    /// A token of one of its users.
    pub fn token(&self, user: &str) -> String {
        good(&self.started, user)
    }
}
