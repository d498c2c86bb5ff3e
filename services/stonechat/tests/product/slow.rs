//! Somebody who reads nothing is closed, and slows nobody; somebody who missed much catches up.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stonechat_model::limits;
use tokio::net::TcpSocket;

use crate::{
    data::{entry, import, until},
    support::{
        http::Rest,
        server::Server,
        session::Session,
        token::good,
        wire::{JSON, Wire},
        within,
    },
};

/// Enough to fill the session's queue and whatever the kernel holds for a socket.
const MESSAGES: usize = 150;
const SENDERS: usize = 4;
const TEXT_BYTES: usize = 16_000;
/// What an answer may take at most while somebody is slow.
const ANSWER: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_member_who_reads_nothing_is_closed_as_too_slow_and_slows_nobody() {
    let server = Server::start().await;
    let users: Vec<_> = (0..SENDERS).map(|n| format!("sender-{n}")).collect();
    let mut sessions = Vec::new();
    for user in &users {
        sessions.push(Session::open(server.address, &good(&server.started, user), "phone").await);
    }
    let mut members: Vec<_> = users.iter().map(String::as_str).collect();
    members.extend(["slow", "fast"]);
    let chat = sessions[0].group("busy", &members[1..]).await;

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(server.address).await.expect("connect");
    let wire = Wire::upgrade(stream, server.address, JSON, "").await.expect("an upgrade");
    let mut slow = Session::on(wire);
    slow.say(&json!({"type": "hello", "token": good(&server.started, "slow"), "device": "phone"})).await;
    assert_eq!(slow.until("synced").await["type"], "synced");
    let mut fast = Session::open(server.address, &good(&server.started, "fast"), "phone").await;
    let before = server.memory_bytes();

    let text = "x".repeat(TEXT_BYTES);
    let reader = async {
        for _ in 0..MESSAGES * SENDERS {
            fast.event(&chat, |event| event["type"] == "message").await;
        }
    };
    let senders = sessions.iter_mut().map(|session| async {
        for _ in 0..MESSAGES {
            let begun = Instant::now();
            let ack = session.send(&chat, &text).await;
            assert_eq!(ack["type"], "ack", "{ack}");
            assert!(begun.elapsed() < ANSWER, "an answer took {:?}", begun.elapsed());
        }
    });
    // It must not read before it was found too slow, and must be there when the server says why.
    let operator = Rest::new(&server, "");
    let closed = async {
        while !operator.get("/metrics").await.1.to_string().contains("closes_total{code=\\\"4008\\\"}") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slow.wire.close_code().await
    };
    let (code, ..) = futures::join!(closed, reader, futures::future::join_all(senders));
    assert_eq!(code, 4008);
    assert!(server.memory_bytes() < before + 128 * 1024 * 1024);
}

/// Conversations that somebody was away from, and what was said in each: more than may wait for a session.
const MISSED_IN: usize = 12;
const MISSED: u64 = 100;

#[tokio::test]
async fn whoever_missed_more_than_may_wait_catches_up() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    let text = "y".repeat(2_000);
    assert!(MISSED_IN * MISSED as usize * text.len() > 2 * limits::SESSION_QUEUE_BYTES);
    let members = json!([{"user": "ann", "role": "owner"}, {"user": "away", "role": "member"}]);
    let mut lines = Vec::new();
    for number in 0..MISSED_IN {
        let id = format!("missed-{number}");
        let created =
            json!({"type": "created", "seq": 1, "time": "2020-01-01T00:00:00Z", "kind": "group", "members": members});
        lines.push(entry(&id, created));
        lines.extend((2..MISSED + 2).map(|seq| {
            let time = "2020-01-01T00:00:01Z";
            entry(&id, json!({"type": "message", "seq": seq, "sender": "ann", "time": time, "text": text}))
        }));
    }
    let (status, body) = import(&rest, &lines).await;
    assert_eq!(status, 200, "{body}");
    let known = |body: &Value| body["conversations"].as_array().map(Vec::len) == Some(MISSED_IN);
    until(&rest, "/v1/conversations?sender=away", known).await;

    let mut session = Session::on(Wire::open(server.address, JSON).await);
    let cursors: Vec<Value> =
        (0..MISSED_IN).map(|number| json!({"conversation": format!("missed-{number}"), "seq": 1})).collect();
    let token = good(&server.started, "away");
    session.say(&json!({"type": "hello", "token": token, "device": "phone", "cursors": cursors})).await;
    let mut seen = BTreeSet::new();
    loop {
        let frame = within("the sync", session.next()).await.expect("the session goes on");
        assert_eq!(frame.get("close"), None, "after {} events", seen.len());
        for event in frame["events"].as_array().into_iter().flatten().filter(|_| frame["conversation"].is_string()) {
            seen.insert((frame["conversation"].to_string(), event["seq"].as_u64()));
        }
        if frame["type"] == "synced" {
            break;
        }
    }
    assert_eq!(seen.len(), MISSED_IN * MISSED as usize);
}
