//! What somebody may no longer see stops at once.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{http::Rest, server::Server, session::Session, token::good};

/// From the answer to a revocation to the end of the sockets.
const AT_ONCE: Duration = Duration::from_secs(1);

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
