//! Webhooks as a tenant's receiver meets them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{http::Rest, server::Server, within};

/// What a receiver got: the path, the headers, the body.
#[derive(Debug, Clone)]
pub struct Got {
    path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A tenant's receiver.
#[derive(Default)]
pub struct Receiver {
    got: Mutex<Vec<Got>>,
    news: Notify,
}

/// Behaves as the path says, and keeps what comes.
async fn receive(
    State(receiver): State<Arc<Receiver>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let before = {
        let mut got = receiver.got.lock();
        let before = got.iter().filter(|one| one.path == path).count();
        got.push(Got { path: path.clone(), headers, body });
        before
    };
    receiver.news.notify_waiters();
    match path.as_str() {
        "gone" => StatusCode::GONE.into_response(),
        "hang" => std::future::pending().await,
        "later" if before == 0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response(),
        "moved" => (StatusCode::FOUND, [("location", "/ok")]).into_response(),
        "fail" => (StatusCode::INTERNAL_SERVER_ERROR, "not today").into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

impl Receiver {
    /// One on a free port of this machine; gives its URL.
    pub async fn start() -> (Arc<Self>, String) {
        let receiver = Arc::new(Self::default());
        let app = Router::new().route("/{path}", post(receive)).with_state(Arc::clone(&receiver));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn on(&self, path: &str) -> Vec<Got> {
        self.got.lock().iter().filter(|one| one.path == path).cloned().collect()
    }

    /// Waits until so many came on a path.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Got> {
        within(path, async {
            loop {
                let news = self.news.notified();
                let got = self.on(path);
                if got.len() >= count {
                    return got;
                }
                news.await;
            }
        })
        .await
    }
}

fn seq(got: &Got) -> u64 {
    let body: Value = serde_json::from_slice(&got.body).expect("JSON");
    body["data"]["event"]["seq"].as_u64().expect("a seq")
}

struct Scene {
    rest: Rest,
    receiver: Arc<Receiver>,
    url: String,
    _server: Server,
}

impl Scene {
    async fn set() -> Self {
        // Two attempts, so that what fails is given up soon.
        let server = Server::start_with(&[("STONECHAT_WEBHOOKS__RETRY_SCHEDULE_S", "1")]).await;
        let rest = Rest::new(&server, &server.started.server_key);
        let (receiver, url) = Receiver::start().await;
        let group = json!({"id": "team", "kind": "group", "members": ["alice", "bob"]});
        assert_eq!(rest.post("/v1/conversations", group).await.0, 201);
        Self { rest, receiver, url, _server: server }
    }

    async fn webhook(&self, path: &str) -> Value {
        let wish = json!({"url": format!("{}/{path}", self.url), "events": ["message.created"]});
        let (status, webhook) = self.rest.post("/v1/webhooks", wish).await;
        assert_eq!(status, 201, "{webhook}");
        webhook
    }

    async fn say(&self, count: usize) {
        for _ in 0..count {
            let said = json!({"sender": "alice", "text": "hi"});
            assert_eq!(self.rest.post("/v1/conversations/team/messages", said).await.0, 201);
        }
    }

    /// Asks until the answer fits.
    async fn until(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(path, async {
            loop {
                let (status, body) = self.rest.get(path).await;
                assert_eq!(status, 200, "{body}");
                if fits(&body) {
                    return body;
                }
                crate::support::look_again().await;
            }
        })
        .await
    }
}

fn path_of(webhook: &Value, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", webhook["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn what_happens_comes_signed_and_in_order_and_is_logged() {
    let scene = Scene::set().await;
    let webhook = scene.webhook("ok").await;
    let verifier = standardwebhooks::Webhook::new(webhook["secret"].as_str().expect("a secret")).expect("a secret");
    scene.say(5).await;
    let got = scene.receiver.wait("ok", 5).await;
    assert_eq!(got.iter().map(seq).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    for one in &got {
        verifier.verify(&one.body, &one.headers).expect("the reference library verifies it");
        let altered = [&one.body[..], b" "].concat();
        assert!(verifier.verify(&altered, &one.headers).is_err());
    }
    let five = |body: &Value| body["deliveries"].as_array().is_some_and(|all| all.len() == 5);
    let log = scene.until(&path_of(&webhook, "/deliveries"), five).await;
    assert_eq!(log["deliveries"][0]["status"], 204);
    let (_, shown) = scene.rest.get(&path_of(&webhook, "")).await;
    assert_eq!((&shown["secret"], &shown["enabled"]), (&Value::Null, &true.into()));

    // A new secret signs along with the old one, and a replay has the id of the first delivery.
    let (status, rotated) = scene.rest.post(&path_of(&webhook, "/rotate"), json!({})).await;
    assert_eq!(status, 200, "{rotated}");
    let again = json!({"conversation": "team", "seq": 3});
    let (status, replayed) = scene.rest.post(&path_of(&webhook, "/replay_event"), again).await;
    assert_eq!((status, &replayed["delivered"]), (200, &true.into()), "{replayed}");
    let got = scene.receiver.wait("ok", 6).await;
    let ids: Vec<_> = [&got[1], &got[5]].iter().map(|one| one.headers["webhook-id"].clone()).collect();
    assert_eq!(ids[0], ids[1]);
    let new = standardwebhooks::Webhook::new(rotated["secret"].as_str().expect("a secret")).expect("a secret");
    assert!(
        verifier.verify(&got[5].body, &got[5].headers).is_ok() && new.verify(&got[5].body, &got[5].headers).is_ok()
    );
}

#[tokio::test]
async fn a_receiver_that_is_gone_disables_its_webhook() {
    let scene = Scene::set().await;
    let webhook = scene.webhook("gone").await;
    scene.say(3).await;
    let disabled = scene.until(&path_of(&webhook, ""), |body| body["enabled"] == false).await;
    assert_eq!(disabled["disabled_reason"], "the receiver answered 410 Gone");
    // It may have come twice, as everything may, but nothing came after it.
    let gone = scene.receiver.on("gone");
    assert!(gone.iter().all(|one| one.headers["webhook-id"] == gone[0].headers["webhook-id"]), "{gone:?}");
    // Enabled for another address it goes on where it ended.
    let change = json!({"url": format!("{}/ok", scene.url), "enabled": true});
    let (status, body) = scene.rest.call(Method::PATCH, &path_of(&webhook, ""), Some(change)).await;
    assert_eq!(status, 200, "{body}");
    let got = scene.receiver.wait("ok", 3).await;
    assert_eq!(got.iter().map(seq).collect::<Vec<_>>(), [2, 3, 4]);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let scene = Scene::set().await;
    scene.webhook("later").await;
    let begun = std::time::Instant::now();
    scene.say(2).await;
    let got = scene.receiver.wait("later", 3).await;
    assert_eq!(got.iter().map(seq).collect::<Vec<_>>(), [2, 2, 3]);
    assert_eq!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "it came again too soon");
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let scene = Scene::set().await;
    scene.webhook("hang").await;
    scene.webhook("ok").await;
    scene.say(20).await;
    assert_eq!(scene.receiver.wait("ok", 20).await.len(), 20);
    assert_eq!(scene.receiver.on("hang").len(), 1);
}

#[tokio::test]
async fn what_is_never_taken_becomes_a_dead_letter_and_the_next_goes() {
    let scene = Scene::set().await;
    let webhook = scene.webhook("fail").await;
    let moved = scene.webhook("moved").await;
    scene.say(2).await;
    for webhook in [&webhook, &moved] {
        let two = |body: &Value| body["dead_letters"].as_array().is_some_and(|all| all.len() == 2);
        let dead = scene.until(&path_of(webhook, "/dead_letters"), two).await;
        assert_eq!((&dead["dead_letters"][0]["seq"], &dead["dead_letters"][0]["attempts"]), (&2.into(), &2.into()));
    }
    assert!(scene.receiver.on("ok").is_empty(), "a redirect was followed");
    let (_, log) = scene.rest.get(&path_of(&webhook, "/deliveries?failed=true")).await;
    assert_eq!(log["deliveries"][0]["answer"], "not today");
}

#[tokio::test]
async fn the_events_of_a_time_are_delivered_again() {
    let scene = Scene::set().await;
    let webhook = scene.webhook("ok").await;
    scene.say(4).await;
    scene.receiver.wait("ok", 4).await;
    let since = json!({"since": "2020-01-01T00:00:00Z"});
    let (status, replay) = scene.rest.post(&path_of(&webhook, "/replay"), since).await;
    assert_eq!(status, 202, "{replay}");
    let got = scene.receiver.wait("ok", 8).await;
    assert_eq!(got[4..].iter().map(seq).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[tokio::test]
async fn webhooks_go_to_no_address_that_is_not_public() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    for url in [
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://127.1/",
        "http://user@127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://127.0.0.1/#x",
        "",
    ] {
        let (status, body) = rest.post("/v1/webhooks", json!({"url": url})).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("invalid_argument")), "{url}: {body}");
    }
    // A name is taken, and refused when it is resolved: outside of development this machine is no public address.
    let environment = [("STONECHAT_WEBHOOKS__ALLOWED_ADDRESSES", "203.0.113.0/24")];
    let strict = Server::start_with(&environment).await;
    let rest = Rest::new(&strict, &strict.started.server_key);
    let (status, webhook) = rest.post("/v1/webhooks", json!({"url": "http://metadata.invalid/"})).await;
    assert_eq!(status, 201, "{webhook}");
    let (status, tested) = rest.post(&path_of(&webhook, "/test"), json!({})).await;
    assert_eq!(
        (status, &tested["delivered"], &tested["error"]),
        (200, &false.into(), &"name cannot be resolved".into())
    );
}
