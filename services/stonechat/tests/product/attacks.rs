//! Attacks on the API that no other file is about.

use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::support::{http::Rest, server::Server, session::Session, tenant::OtherTenant};

#[tokio::test]
async fn headers_that_name_a_tenant_or_user_change_nothing() {
    let server = Server::start().await;
    let other = OtherTenant::create(&server).await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let chat = alice.group("private", &["bob"]).await;
    let path = format!("/v1/conversations/{chat}/messages");
    for (name, value) in [
        ("x-tenant", "demo"),
        ("x-tenant-id", "demo"),
        ("stonechat-tenant", "demo"),
        ("tenant", "demo"),
        ("x-user", "alice"),
        ("x-forwarded-user", "alice"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=demo"),
        ("x-forwarded-host", "demo"),
        ("x-original-url", "/v1/tenants"),
        ("x-rewrite-url", "/v1/tenants"),
        ("x-http-method-override", "DELETE"),
    ] {
        for credential in [other.server_key.clone(), other.token("mallory")] {
            let caller = Rest::new(&server, &credential);
            let (status, _, answer) = caller.raw(Method::GET, &path, &[(name, value)], "").await;
            assert_eq!((status, answer["code"].as_str()), (404, Some("not_found")), "{name}: {answer}");
        }
        let nobody = Rest::new(&server, "");
        let (status, _, answer) = nobody.raw(Method::GET, "/v1/tenants", &[(name, value)], "").await;
        assert_eq!(status, 401, "{name}: {answer}");
    }
}

#[tokio::test]
async fn guessing_tells_nothing_of_what_there_is() {
    let server = Server::start().await;
    let (id, _) = server.started.server_key.strip_prefix("sk_").and_then(|rest| rest.split_once('_')).expect("a key");
    let (known, unknown) =
        (format!("sk_{id}_{}", "A".repeat(43)), format!("sk_kzzzzzzzzzzzzzzzzzzzz_{}", "A".repeat(43)));
    let ask = async |credential: &str| {
        let (status, headers, answer) = Rest::new(&server, credential).raw(Method::GET, "/v1/users", &[], "").await;
        (status, plain(&headers), answer)
    };
    let wrong = ask(&known).await;
    assert_eq!(wrong.0, 401);
    assert_eq!(wrong, ask(&unknown).await);
    let other = OtherTenant::create(&server).await;
    let foreign = Rest::new(&server, &other.server_key);
    for path in [
        "tenants/TENANT",
        "tenants/TENANT/keys",
        "tenants/TENANT/quotas",
        "tenants/TENANT/usage",
        "tenants/TENANT/audit",
    ] {
        let there = foreign.get(&format!("/v1/{}", path.replace("TENANT", "demo"))).await;
        let nowhere = foreign.get(&format!("/v1/{}", path.replace("TENANT", "atlantis"))).await;
        assert_eq!(there.0, 404, "{path}");
        assert_eq!(there, nowhere, "{path}");
    }
}

/// The names of headers, without what differs from call to call.
fn plain(headers: &HeaderMap) -> Vec<String> {
    headers.keys().map(ToString::to_string).filter(|name| name != "date").collect()
}

#[tokio::test]
async fn a_disabled_key_is_refused_at_once_by_every_door() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let (status, key) = operator.post("/v1/tenants/demo/keys", json!({"kind": "server"})).await;
    assert_eq!(status, 201, "{key}");
    let secret = key["secret"].as_str().expect("a secret");
    let rest = Rest::new(&server, secret);
    let mut grpc = crate::support::grpc::Caller::new(&server, secret).await;
    let list = "/stonechat.v1.UserService/ListUsers";
    assert_eq!(rest.get("/v1/users").await.0, 200);
    assert!(grpc.call(list, Vec::new()).await.is_ok());
    let path = format!("/v1/tenants/demo/keys/{}", key["id"].as_str().expect("an id"));
    assert_eq!(operator.call(Method::DELETE, &path, None).await.0, 200);
    assert_eq!(rest.get("/v1/users").await.0, 401);
    let (code, _) = grpc.call(list, Vec::new()).await.expect_err("the key is disabled");
    assert_eq!(code, tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_call_ends_with_its_deadline() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "1n")];
    let (status, headers, _): (u16, HeaderMap, Value) =
        rest.raw(Method::POST, "/stonechat.v1.UserService/ListUsers", &headers, vec![0, 0, 0, 0, 0]).await;
    assert_eq!(status, 200);
    assert_eq!(headers["grpc-status"], "4", "{headers:?}");
}
