//! The hook that a tenant's messages pass before they are sent, as its server, its users and its enemies meet it.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::support::{
    http::Rest,
    server::Server,
    session::{Session, client_id},
    within,
};

/// A tenant's server that answers as the message's text says, and keeps what it was asked.
struct Receiver {
    asked: Mutex<Vec<(HeaderMap, Bytes)>>,
    news: Notify,
    /// Lets go of who waits.
    released: Semaphore,
}

async fn answer(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    receiver.asked.lock().push((headers, body));
    receiver.news.notify_waiters();
    match value["data"]["message"]["text"].as_str().unwrap_or_default() {
        "change" => Json(json!({"action": "change", "message": {"text": "changed"}})).into_response(),
        "refuse" => Json(json!({"action": "refuse", "reason": "not here"})).into_response(),
        "null" => "null".into_response(),
        "huge" => "x".repeat(10_000_000).into_response(),
        "deep" => format!(r#"{{"action":"allow","x":{}}}"#, "[".repeat(20_000)).into_response(),
        "moved" => (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response(),
        "invalid" => Json(json!({"action": "change", "message": {"text": "a".repeat(20_000)}})).into_response(),
        "fail" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "hang" => std::future::pending().await,
        "wait" => {
            let _released = receiver.released.acquire().await;
            Json(json!({"action": "allow"})).into_response()
        }
        _ => Json(json!({"action": "allow"})).into_response(),
    }
}

struct Scene {
    rest: Rest,
    receiver: Arc<Receiver>,
    url: String,
    server: Server,
}

impl Scene {
    async fn set() -> Self {
        let server = Server::start().await;
        let rest = Rest::new(&server, &server.started.server_key);
        let group = json!({"id": "team", "kind": "group", "members": ["alice", "bob"]});
        assert_eq!(rest.post("/v1/conversations", group).await.0, 201);
        let (asked, news) = (Mutex::default(), Notify::new());
        let receiver = Arc::new(Receiver { asked, news, released: Semaphore::new(0) });
        let app = Router::new().route("/before", post(answer)).with_state(Arc::clone(&receiver));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/before", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { rest, receiver, url, server }
    }

    async fn hook(&self, more: Value) -> Value {
        let mut wish = json!({"url": self.url, "timeout_ms": 3_000});
        wish.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let (status, hook) = self.rest.call(Method::PUT, "/v1/send_hook", Some(wish)).await;
        assert_eq!(status, 200, "{hook}");
        hook
    }

    async fn session(&self, user: &str) -> Session {
        Session::open(self.server.address, self.server.token(user), user).await
    }

    /// Waits until so many were asked for.
    async fn asked(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        within("questions", async {
            loop {
                let news = self.receiver.news.notified();
                let asked = self.receiver.asked.lock().clone();
                if asked.len() >= count {
                    return asked;
                }
                news.await;
            }
        })
        .await
    }

    async fn texts(&self) -> Vec<String> {
        let (status, page) = self.rest.get("/v1/conversations/team/messages").await;
        assert_eq!(status, 200, "{page}");
        let messages = page["messages"].as_array().expect("messages");
        messages.iter().filter_map(|message| message["text"].as_str()).map(str::to_owned).collect()
    }
}

fn command(id: u64, client_id: &str, text: &str) -> Value {
    json!({"type": "command", "id": id, "conversation": "team", "client_id": client_id, "send": {"text": text}})
}

#[tokio::test]
async fn a_hook_allows_changes_and_refuses_and_what_is_sent_again_is_the_same() {
    let scene = Scene::set().await;
    let hook = scene.hook(json!({})).await;
    let mut alice = scene.session("alice").await;
    let id = client_id();
    let first = alice.ask(command(0, &id, "change")).await;
    assert_eq!(first["type"], "ack", "{first}");
    // Whatever the hook says by now, the same is the same, and something else is not.
    let again = alice.ask(command(0, &id, "change")).await;
    assert_eq!((&again["type"], &again["seq"]), (&"ack".into(), &first["seq"]));
    let other = alice.ask(command(0, &id, "other")).await;
    assert_eq!(other["code"], "conflict", "{other}");
    assert_eq!(scene.asked(1).await.len(), 1, "what is sent already is asked for once");
    let refused = alice.send("team", "refuse").await;
    assert_eq!((&refused["code"], &refused["reason"]), (&"permission_denied".into(), &"not here".into()));
    assert_eq!(alice.send("team", "hi").await["type"], "ack");
    let edit = json!({"edit": {"target": first["seq"], "content": {"text": "refuse"}}});
    assert_eq!(alice.command("team", edit).await["code"], "permission_denied");
    assert_eq!(scene.texts().await, ["changed", "hi"]);

    let (headers, body) = scene.asked(1).await.remove(0);
    let verifier = standardwebhooks::Webhook::new(hook["secret"].as_str().expect("a secret")).expect("a secret");
    verifier.verify(&body, &headers).expect("a signature");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let data = json!({"conversation": "team", "sender": "alice", "client_id": id, "message": {"text": "change"}});
    assert_eq!((&body["type"], &body["data"]), (&"message.before_send".into(), &data));
}

#[tokio::test]
async fn a_hook_is_asked_by_rest_as_it_is_by_sockets_and_about_servers_where_it_is_wanted() {
    let scene = Scene::set().await;
    scene.hook(json!({})).await;
    let path = "/v1/conversations/team/messages";
    let by_alice = Rest::new(&scene.server, scene.server.token("alice"));
    assert_eq!(by_alice.post(path, json!({"text": "refuse"})).await.0, 403);
    let said = json!({"sender": "alice", "text": "refuse"});
    assert_eq!(scene.rest.post(path, said.clone()).await.0, 201, "the tenant's own server says what it wants");
    scene.hook(json!({"server_messages": true})).await;
    assert_eq!(scene.rest.post(path, said.clone()).await.0, 403);
    assert_eq!(scene.rest.call(Method::DELETE, "/v1/send_hook", None).await.0, 200);
    assert_eq!(scene.rest.get("/v1/send_hook").await.0, 404);
    assert_eq!(scene.rest.post(path, said).await.0, 201);
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_refusal_or_none_at_all_as_the_tenant_chose() {
    let scene = Scene::set().await;
    let hostile = ["null", "huge", "deep", "moved", "invalid", "fail", "hang"];
    let mut alice = scene.session("alice").await;
    scene.hook(json!({"timeout_ms": 300})).await;
    for text in hostile {
        let error = alice.send("team", text).await;
        assert_eq!((&error["code"], &error["retryable"]), (&"unavailable".into(), &true.into()), "{text}");
    }
    let asked = scene.receiver.asked.lock().len();
    assert_eq!(asked, 5, "after so many failures the hook rests");
    scene.hook(json!({"timeout_ms": 300, "fail_open": true})).await;
    // Where it is another process that asks the hook, it takes the change within two seconds.
    within("the change", async { while alice.send("team", hostile[0]).await["type"] != "ack" {} }).await;
    for text in &hostile[1..] {
        assert_eq!(alice.send("team", text).await["type"], "ack", "{text}");
    }
    assert_eq!(scene.texts().await, hostile);
}

#[tokio::test]
async fn a_slow_hook_holds_up_no_other_frame_and_keeps_the_order() {
    let scene = Scene::set().await;
    scene.hook(json!({})).await;
    let mut alice = scene.session("alice").await;
    alice.say(&command(1, &client_id(), "wait")).await;
    alice.say(&command(2, &client_id(), "quick")).await;
    scene.asked(2).await;
    alice.say(&json!({"type": "ping", "id": 3})).await;
    let first = alice.until_where(|frame| frame["id"].is_u64()).await;
    assert_eq!(first["type"], "pong", "{first}");
    scene.receiver.released.add_permits(1);
    for id in [1, 2] {
        let answer = alice.until_where(|frame| frame["type"] == "ack" || frame["type"] == "error").await;
        assert_eq!((&answer["type"], &answer["id"]), (&"ack".into(), &id.into()), "{answer}");
    }
    assert_eq!(scene.texts().await, ["wait", "quick"]);
}

#[tokio::test]
async fn a_hook_is_at_no_address_that_is_not_public() {
    let scene = Scene::set().await;
    for url in ["http://169.254.169.254/", "http://10.0.0.1/", "ftp://example.com/", "http://[fd00::1]/", "", "null"] {
        let (status, body) = scene.rest.call(Method::PUT, "/v1/send_hook", Some(json!({"url": url}))).await;
        assert_eq!(status, 400, "{url}: {body}");
    }
    let long = json!({"url": scene.url, "timeout_ms": 60_000});
    assert_eq!(scene.rest.call(Method::PUT, "/v1/send_hook", Some(long)).await.0, 400);
}
