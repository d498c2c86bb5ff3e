//! The same request again: one execution, one answer.

use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::support::{http::Rest, server::Server, session::client_id, within};

async fn post(rest: &Rest, path: &str, key: &str, body: &Value) -> (u16, HeaderMap, Value) {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    rest.raw(Method::POST, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn many_at_once_with_one_idempotency_key_make_one_thing_and_get_its_answer() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let body = json!({"kind": "server", "name": "once"});
    let calls = (0..30).map(|_| post(&operator, "/v1/tenants/demo/keys", "make-it-once", &body));
    let answers = within("answers", futures::future::join_all(calls)).await;
    let first = answers.iter().filter(|(_, headers, _)| !headers.contains_key("idempotent-replayed")).count();
    assert_eq!(first, 1, "{answers:?}");
    for (status, headers, answer) in &answers {
        assert_eq!((*status, &answer["id"]), (201, &answers[0].2["id"]), "{answer}");
        // A secret is shown once.
        assert_eq!(answer.get("secret").is_some(), !headers.contains_key("idempotent-replayed"), "{answer}");
    }
}

#[tokio::test]
async fn an_idempotency_key_with_another_body_is_a_conflict() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    let (status, _, _) = post(&rest, "/v1/users", "k1", &json!({"id": "eve", "name": "Eve"})).await;
    assert_eq!(status, 201);
    let (status, _, answer) = post(&rest, "/v1/users", "k1", &json!({"id": "eve", "name": "Mallory"})).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{answer}");
    // What was refused may be asked again under its key.
    let (status, _, _) = post(&rest, "/v1/users", "k2", &json!({"id": "not an id"})).await;
    assert_eq!(status, 400);
    let (status, _, _) = post(&rest, "/v1/users", "k2", &json!({"id": "not an id"})).await;
    assert_eq!(status, 400);
    let (status, _, answer) = post(&rest, "/v1/users", &"k".repeat(300), &json!({"id": "eve"})).await;
    assert_eq!(status, 400, "{answer}");
    // Another caller's key is another key.
    let operator = Rest::operator(&server);
    let (status, _, answer) = post(&operator, "/v1/tenants", "k1", &json!({"id": "acme"})).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test]
async fn a_hundred_sends_at_once_with_one_client_id_are_one_message() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    let chat = json!({"id": "hundred", "kind": "group", "members": ["alice", "bob"]});
    assert_eq!(rest.post("/v1/conversations", chat).await.0, 201);
    let body = json!({"sender": "alice", "text": "once", "client_id": client_id()});
    let send = || rest.post("/v1/conversations/hundred/messages", body.clone());
    let answers = within("answers", futures::future::join_all((0..100).map(|_| send()))).await;
    for (status, answer) in &answers {
        assert_eq!((*status, &answer["seq"]), (201, &json!(2)), "{answer}");
    }
    let (_, page) = rest.get("/v1/conversations/hundred/messages").await;
    assert_eq!(page["last_seq"], 2, "{page}");
}
