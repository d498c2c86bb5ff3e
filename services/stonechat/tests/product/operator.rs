//! What the operator does with tenants, and what tenants' servers do with their own keys.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{http::Rest, server::Server, session::Session, tenant::OtherTenant, token::good};

/// From the answer to a suspension to the end of the sockets.
const AT_ONCE: Duration = Duration::from_secs(1);

fn expect((status, body): (u16, Value), wanted: u16) -> Value {
    assert_eq!(status, wanted, "{body}");
    body
}

fn code((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

#[tokio::test]
async fn a_suspended_tenants_sockets_close_and_its_credentials_are_refused_at_once() {
    let server = Server::start().await;
    let other = OtherTenant::create(&server).await;
    let operator = Rest::operator(&server);
    let backend = Rest::new(&server, &other.server_key);
    expect(backend.get("/v1/users").await, 200);
    let mut carol = Session::open(server.address, &other.token("carol"), "phone").await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let suspended = expect(operator.post(&format!("/v1/tenants/{}/suspend", other.id), json!({})).await, 200);
    assert_eq!(suspended["suspended"], true);
    let answered = Instant::now();
    assert_eq!(carol.until_where(|_| false).await["close"], 4500);
    assert!(answered.elapsed() < AT_ONCE, "it took {:?}", answered.elapsed());
    assert_eq!(code(backend.get("/v1/users").await), (401, "unauthenticated".to_owned()));
    let mut again = Session::hello(server.address, &other.token("carol"), "phone").await;
    assert_eq!(again.until_where(|_| false).await["close"], 4500);
    // Others do not notice.
    assert_eq!(alice.group("still-here", &["bob"]).await, "still-here");
    let resumed = expect(operator.post(&format!("/v1/tenants/{}/resume", other.id), json!({})).await, 200);
    assert_eq!(resumed["suspended"], false);
    expect(backend.get("/v1/users").await, 200);
    Session::open(server.address, &other.token("carol"), "phone").await;
}

#[tokio::test]
async fn a_change_of_a_tenant_leaves_its_sockets_open() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let changed = operator.call(Method::PATCH, "/v1/tenants/demo", Some(json!({"message_retention_days": 30}))).await;
    assert_eq!(expect(changed, 200)["message_retention_days"], 30);
    expect(operator.call(Method::PATCH, "/v1/tenants/demo/quotas", Some(json!({"users": 10}))).await, 200);
    assert_eq!(expect(operator.get("/v1/tenants/demo").await, 200)["name"], "Demo");
    assert_eq!(alice.group("still-here", &["bob"]).await, "still-here");
}

#[tokio::test]
async fn a_rotated_key_is_good_beside_the_new_one_until_its_time_is_over() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let old_id = server.started.key_id.clone();
    let path = format!("/v1/tenants/demo/keys/{old_id}/rotate");
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let new = expect(operator.post(&path, json!({"overlap_s": 5})).await, 201);
    assert_eq!(text(&new, "kind"), "hs256");
    let mut started = server.started.clone();
    (started.key_id, started.key_secret) = (text(&new, "id"), text(&new, "secret"));
    // Both are good.
    Session::open(server.address, &good(&started, "bob"), "phone").await;
    Session::open(server.address, &good(&server.started, "bob"), "phone").await;
    let listed = expect(operator.get("/v1/tenants/demo/keys").await, 200);
    let keys = listed["keys"].as_array().expect("keys");
    let old = keys.iter().find(|key| key["id"] == old_id.as_str()).expect("the old key");
    assert!(old["ends"].is_string() && !listed.to_string().contains(&started.key_secret), "{listed}");
    // The old key's sessions end with it.
    assert_eq!(alice.until_where(|_| false).await["close"], 4500);
    let mut late = Session::hello(server.address, &good(&server.started, "bob"), "phone").await;
    assert_eq!(late.until_where(|_| false).await["close"], 4500);
    Session::open(server.address, &good(&started, "bob"), "phone").await;
    assert_eq!(code(operator.post(&path, json!({})).await), (422, "failed_precondition".to_owned()));
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_makes_none_that_may_more() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let make = |scopes: Value| operator.post("/v1/tenants/demo/keys", json!({"kind": "server", "scopes": scopes}));
    let reader = text(&expect(make(json!(["read"])).await, 201), "secret");
    let admin = text(&expect(make(json!(["admin"])).await, 201), "secret");
    assert_eq!(code(make(json!(["root"])).await).0, 400);
    let (reader, admin) = (Rest::new(&server, &reader), Rest::new(&server, &admin));
    expect(reader.get("/v1/users").await, 200);
    assert_eq!(code(reader.post("/v1/users", json!({"id": "eve"})).await), (403, "permission_denied".to_owned()));
    assert_eq!(code(reader.get("/v1/tenants/demo/keys").await), (403, "permission_denied".to_owned()));
    expect(admin.get("/v1/tenants/demo/keys").await, 200);
    assert_eq!(code(admin.get("/v1/users").await).0, 403);
    let more = admin.post("/v1/tenants/demo/keys", json!({"kind": "server", "scopes": ["read", "admin"]})).await;
    assert_eq!(code(more), (403, "permission_denied".to_owned()));
    let all = admin.post("/v1/tenants/demo/keys", json!({"kind": "server"})).await;
    assert_eq!(code(all), (403, "permission_denied".to_owned()));
    let own = expect(admin.post("/v1/tenants/demo/keys", json!({"kind": "server", "scopes": ["admin"]})).await, 201);
    let path = format!("/v1/tenants/demo/keys/{}", text(&own, "id"));
    expect(admin.call(Method::DELETE, &path, None).await, 200);
    for path in ["/v1/tenants", "/v1/tenants/demo/suspend"] {
        assert_eq!(code(admin.post(path, json!({"id": "mine"})).await).0, 403, "{path}");
    }
}

#[tokio::test]
async fn what_was_done_is_written_down_without_secrets_and_each_tenant_sees_its_own() {
    let server = Server::start().await;
    let other = OtherTenant::create(&server).await;
    let operator = Rest::operator(&server);
    let made = expect(operator.post("/v1/tenants/demo/keys", json!({"kind": "server", "name": "x"})).await, 201);
    let demo = Rest::new(&server, &text(&made, "secret"));
    let spoofed =
        [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9"), ("content-type", "application/json")];
    let (status, _, refused) = demo.raw(Method::POST, "/v1/tenants/demo/suspend", &spoofed, "{}").await;
    assert_eq!(status, 403, "{refused}");
    let page = expect(demo.get("/v1/tenants/demo/audit").await, 200);
    let entries = page["entries"].as_array().expect("entries");
    let find = |operation: &str| entries.iter().find(|entry| entry["operation"] == operation);
    let refused = find("TenantService/SuspendTenant").expect("the refused suspension");
    assert_eq!((&refused["outcome"], &refused["key"]), (&json!("permission_denied"), &made["id"]), "{refused}");
    assert_eq!(refused["source"], "127.0.0.1", "a header is believed: {refused}");
    let created = find("TenantService/CreateKey").expect("the new key");
    assert_eq!((&created["actor"], &created["outcome"]), (&json!("operator"), &json!("ok")), "{created}");
    assert!(!page.to_string().contains(&text(&made, "secret")) && !page.to_string().contains("other"), "{page}");
    // The newest first, page by page.
    let first = expect(operator.get("/v1/audit?page_size=2").await, 200);
    let next = text(&first, "next_page_token");
    let second = expect(operator.get(&format!("/v1/audit?page_size=100&page_token={next}")).await, 200);
    let times: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["entries"].as_array().expect("entries"))
        .map(|entry| entry["time"].as_str().expect("a time"))
        .collect();
    assert!(times.len() >= 5 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let foreign = Rest::new(&server, &other.server_key);
    assert_eq!(code(foreign.get("/v1/tenants/demo/audit").await), (404, "not_found".to_owned()));
}
