//! Somebody who reads nothing is closed, and slows nobody.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;

use crate::support::{
    http::Rest,
    server::Server,
    session::Session,
    token::good,
    wire::{JSON, Wire},
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
