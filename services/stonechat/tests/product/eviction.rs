//! What somebody may no longer see stops at once.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{http::Rest, server::Server, session::Session, token::good};

/// From the answer to a revocation to the end of the sockets.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What is known of devices is written beside everything else.
const LISTED: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_removed_member_gets_nothing_more() {
    let server = Server::start().await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let mut bob = Session::open(server.address, server.token("bob"), "phone").await;
    let mut tablet = Session::open(server.address, server.token("bob"), "tablet").await;
    let chat = alice.group("board", &["bob"]).await;
    assert_eq!(alice.send(&chat, "before").await["type"], "ack");
    let removed = alice.command(&chat, json!({"remove_members": {"users": ["bob"]}})).await;
    assert_eq!(removed["type"], "ack", "{removed}");
    for n in 0..20 {
        assert_eq!(alice.send(&chat, &format!("secret {n}")).await["type"], "ack");
    }
    // A conversation that comes after shows that nothing came between.
    let later = alice.group("later", &["bob"]).await;
    assert_eq!(alice.send(&later, "the end").await["type"], "ack");
    for session in [&mut bob, &mut tablet] {
        let end = session
            .until_where(|frame| {
                assert!(!frame.to_string().contains("secret"), "a removed member got {frame}");
                frame["event"]["text"] == "the end"
            })
            .await;
        assert_eq!(end["event"]["text"], "the end", "{end}");
        for frame in [
            json!({"type": "history", "conversation": chat}),
            json!({"type": "read", "conversation": chat, "read_seq": 1}),
        ] {
            assert_eq!(session.ask(frame).await["code"], "not_found");
        }
        assert_eq!(session.send(&chat, "let me in").await["code"], "not_found");
    }
    let mut again = Session::hello(server.address, server.token("bob"), "laptop").await;
    let synced = again
        .until_where(|frame| {
            assert!(!frame.to_string().contains("secret"), "a removed member synced {frame}");
            frame["type"] == "synced"
        })
        .await;
    assert_eq!(synced["type"], "synced", "{synced}");
}

#[tokio::test]
async fn sockets_of_a_user_whose_tokens_were_revoked_close_at_once_and_stay_closed() {
    let server = Server::start().await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let old = good(&server.started, "bob");
    let mut sessions = Vec::new();
    for device in ["phone", "tablet"] {
        sessions.push(Session::open(server.address, &old, device).await);
    }
    let tenant = Rest::new(&server, &server.started.server_key);
    let (status, body) = tenant.post("/v1/users/bob/revoke", json!({})).await;
    assert!((200..300).contains(&status), "{status} {body}");
    closed_at_once(&mut sessions).await;
    let refused = Session::hello(server.address, &old, "phone").await.until("ready").await;
    assert_ne!(refused["type"], "ready");
    // Others do not notice.
    let chat = alice.group("alone", &["bob"]).await;
    assert_eq!(alice.send(&chat, "still here").await["type"], "ack");
}

#[tokio::test]
async fn devices_are_listed_and_disconnected() {
    let mut server = Server::start().await;
    let tenant = Rest::new(&server, &server.started.server_key);
    let mut phone = Session::open(server.address, server.token("bob"), "phone").await;
    let mut tablet = Session::open(server.address, server.token("bob"), "tablet").await;
    let mut laptop = Session::open(server.address, server.token("bob"), "laptop").await;
    assert_eq!(online(&tenant, "bob", 3).await, ["laptop", "phone", "tablet"]);
    let (status, page) = tenant.get("/v1/users/bob/devices?page_size=2").await;
    assert_eq!(
        (status, &page["next_page_token"], page["devices"].as_array().map(Vec::len)),
        (200, &json!("tablet"), Some(2))
    );
    let (_, rest) = tenant.get("/v1/users/bob/devices?page_size=2&page_token=tablet").await;
    assert_eq!((&rest["devices"][0]["device"], &rest["next_page_token"]), (&json!("tablet"), &json!(null)), "{rest}");
    // One device, by the user; what it came by still is good.
    let bob = Rest::new(&server, server.token("bob"));
    let (status, body) = bob.post("/v1/users/bob/disconnect", json!({"device": "tablet"})).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(tablet.until_where(|_| false).await["close"], 4503);
    assert_eq!(online(&tenant, "bob", 2).await, ["laptop", "phone"]);
    let seen = device(&tenant, "bob", "tablet").await;
    assert!(seen["last_seen"].as_str() >= seen["connected"].as_str(), "{seen}");
    let mut tablet = Session::open(server.address, server.token("bob"), "tablet").await;
    // All of them, by the tenant.
    let (status, body) = tenant.post("/v1/users/bob/disconnect", json!({})).await;
    assert_eq!(status, 200, "{body}");
    for session in [&mut phone, &mut tablet, &mut laptop] {
        assert_eq!(session.until_where(|_| false).await["close"], 4503);
    }
    assert!(online(&tenant, "bob", 0).await.is_empty());
    // Nobody else's.
    let alice = Rest::new(&server, server.token("alice"));
    assert_eq!(alice.get("/v1/users/bob/devices").await.0, 403);
    assert_eq!(alice.post("/v1/users/bob/disconnect", json!({})).await.0, 403);
    assert_eq!(tenant.post("/v1/users/bob/disconnect", json!({"device": "no id!"})).await.0, 400);
    // What a killed server could not say is not open.
    let _left = Session::open(server.address, server.token("bob"), "phone").await;
    assert_eq!(online(&tenant, "bob", 1).await, ["phone"]);
    server.kill_and_restart().await;
    let tenant = Rest::new(&server, &server.started.server_key);
    assert!(online(&tenant, "bob", 0).await.is_empty());
    assert_eq!(device(&tenant, "bob", "phone").await["last_seen"], json!(null));
    // An erased user has none.
    let (status, body) = tenant.call(Method::DELETE, "/v1/users/bob", None).await;
    assert!((200..300).contains(&status), "{status} {body}");
    assert_eq!(devices_when(&tenant, "bob", |devices| devices.is_empty()).await, Vec::<Value>::new());
}

/// A user's devices, once they are as they should be, or after a while.
async fn devices_when(tenant: &Rest, user: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let (status, body) = tenant.get(&format!("/v1/users/{user}/devices")).await;
        assert_eq!(status, 200, "{body}");
        let devices = body["devices"].as_array().cloned().unwrap_or_default();
        if fits(&devices) || begun.elapsed() > LISTED {
            return devices;
        }
        crate::support::look_again().await;
    }
}

/// The devices that are online, once they are so many.
async fn online(tenant: &Rest, user: &str, count: usize) -> Vec<String> {
    let is_online = |device: &&Value| device["online"] == true;
    let devices = devices_when(tenant, user, |devices| devices.iter().filter(is_online).count() == count).await;
    devices.iter().filter(is_online).filter_map(|device| Some(device["device"].as_str()?.to_owned())).collect()
}

async fn device(tenant: &Rest, user: &str, id: &str) -> Value {
    let devices = devices_when(tenant, user, |_| true).await;
    devices.into_iter().find(|device| device["device"] == id).unwrap_or_default()
}

#[tokio::test]
async fn sockets_of_a_deactivated_user_close_at_once() {
    let server = Server::start().await;
    let mut sessions = vec![Session::open(server.address, server.token("bob"), "phone").await];
    let tenant = Rest::new(&server, &server.started.server_key);
    let (status, body) = tenant.post("/v1/users/bob/deactivate", json!({})).await;
    assert!((200..300).contains(&status), "{status} {body}");
    closed_at_once(&mut sessions).await;
    let refused = Session::hello(server.address, server.token("bob"), "phone").await.until("ready").await;
    assert_ne!(refused["type"], "ready");
}

async fn closed_at_once(sessions: &mut [Session]) {
    let begun = Instant::now();
    for session in sessions {
        let last = session.until_where(|_| false).await;
        assert_eq!(last["close"], 4500, "{last}");
    }
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let server = Server::start().await;
    let now = crate::support::token::now_s();
    let mut claims = crate::support::token::claims(&server.started, "alice");
    // Clocks may differ a little: the server takes a token for somewhat longer than it says.
    claims["exp"] = json!(now - 26);
    claims["iat"] = json!(now - 3600);
    let header = json!({"alg": "HS256", "kid": server.started.key_id});
    let token = crate::support::token::signed(&header, &claims, server.started.key_secret.as_bytes());
    let mut session = Session::open(server.address, &token, "phone").await;
    let last = session.until_where(|_| false).await;
    assert_eq!(last["close"], 4500, "{last}");
}
