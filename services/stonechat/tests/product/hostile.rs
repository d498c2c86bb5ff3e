//! Hostile input: a clear error or close code, bounded memory, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};
use stonechat_model::limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    server::Server,
    session::Session,
    wire::{BINARY, CLOSE, JSON, LAST, PING, PONG, PROTO, TEXT, Wire},
    within,
};

/// What a server may say to a broken frame: RFC 6455's protocol error, not UTF-8, too big, and our bad frame.
const BROKEN: [u16; 4] = [1002, 1007, 1009, 4501];
/// How much the server's memory may grow under an attack of these sizes.
const GROWTH_BYTES: u64 = 64 * 1024 * 1024;

/// Two people whose talk must go on whatever others do.
struct Bystanders {
    alice: Session,
    bob: Session,
    chat: String,
}

impl Bystanders {
    async fn new(server: &Server) -> Self {
        let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
        let bob = Session::open(server.address, server.token("bob"), "phone").await;
        let chat = alice.group("bystanders", &["bob"]).await;
        Self { alice, bob, chat }
    }

    async fn still_talk(&mut self, why: &str) {
        let ack = self.alice.send(&self.chat, why).await;
        assert_eq!(ack["type"], "ack", "after {why}: {ack}");
        let event = self.bob.event(&self.chat, |event| event["text"] == why).await;
        assert_eq!(event["seq"], ack["seq"]);
    }
}

async fn authenticated(server: &Server, protocol: &str) -> Wire {
    let mut wire = Wire::open(server.address, protocol).await;
    let token = server.token("alice");
    if protocol == JSON {
        let hello = json!({"type": "hello", "token": token, "device": "enemy"}).to_string();
        wire.frame(TEXT, hello.as_bytes()).await.expect("hello");
    } else {
        let hello =
            stonechat_proto::v1::Hello { token: token.to_owned(), device: "enemy".to_owned(), ..Default::default() };
        let frame =
            stonechat_proto::v1::ClientFrame { kind: Some(stonechat_proto::v1::client_frame::Kind::Hello(hello)) };
        wire.frame(BINARY, &prost::Message::encode_to_vec(&frame)).await.expect("hello");
    }
    let (first, _) = wire.next().await.expect("an answer to hello");
    assert!(first == TEXT || first == BINARY, "answer to hello was frame {first:#x}");
    wire
}

#[tokio::test]
async fn a_broken_frame_closes_its_own_socket_with_a_code() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let big = vec![b'x'; 70_000];
    let attacks: [(&str, &str, u8, &[u8]); 12] = [
        ("oversize frame", JSON, TEXT, &big),
        ("oversize protobuf", PROTO, BINARY, &big),
        ("bad UTF-8", JSON, TEXT, b"{\"type\":\"ping\xff\"}"),
        ("reserved bits", JSON, TEXT | 0x40, b"{}"),
        ("reserved opcode", JSON, 0x83, b""),
        ("reserved control opcode", JSON, 0x8b, b""),
        ("oversize ping", JSON, PING, &big[..126]),
        ("fragmented ping", JSON, PING & !LAST, b"x"),
        ("continuation of nothing", JSON, LAST, b"x"),
        ("binary in JSON", JSON, BINARY, b"\x4a\x00"),
        ("text in protobuf", PROTO, TEXT, b"{\"type\":\"ping\"}"),
        ("garbage protobuf", PROTO, BINARY, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (name, protocol, first, payload) in attacks {
        let mut wire = authenticated(&server, protocol).await;
        wire.frame(first, payload).await.expect("write");
        let code = wire.close_code().await;
        assert!(BROKEN.contains(&code), "{name}: closed with {code}");
        bystanders.still_talk(name).await;
    }
    let mut wire = authenticated(&server, JSON).await;
    wire.unmasked(TEXT, b"{\"type\":\"ping\"}").await.expect("write");
    let code = wire.close_code().await;
    assert!(BROKEN.contains(&code), "unmasked: closed with {code}");
    let mut wire = authenticated(&server, JSON).await;
    wire.frame(CLOSE, &[0x03]).await.expect("write");
    wire.close_code().await;
    wire.end().await;
    bystanders.still_talk("a close frame with half a code").await;
}

#[tokio::test]
async fn a_message_in_endless_fragments_is_cut_off_at_the_frame_limit() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let before = server.memory_bytes();
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = authenticated(&server, JSON).await;
        wire.frame(TEXT & !LAST, b"{").await.expect("write");
        // The server must go on reading after its close frame, or what it said would be lost with a reset.
        for _ in 0..64 {
            if wire.frame(0, &[b' '; 16 * 1024]).await.is_err() {
                break;
            }
        }
        wires.push(wire);
    }
    for wire in &mut wires {
        let code = wire.close_code().await;
        assert!(BROKEN.contains(&code), "closed with {code}");
    }
    assert!(server.memory_bytes() < before + GROWTH_BYTES);
    bystanders.still_talk("endless fragments").await;
}

#[tokio::test]
async fn unfinished_messages_of_many_sockets_hold_little_memory() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let before = server.memory_bytes();
    let mut wires = Vec::new();
    for _ in 0..200 {
        let mut wire = Wire::open(server.address, JSON).await;
        // The header announces the most that a length can say; little of it comes.
        let mut head = vec![TEXT, 0x80 | 127];
        head.extend_from_slice(&(i64::MAX as u64).to_be_bytes());
        head.extend_from_slice(&[0; 4 + 1024]);
        wire.raw(&head).await.expect("write");
        wires.push(wire);
    }
    for wire in &mut wires {
        let code = wire.close_code().await;
        assert!(BROKEN.contains(&code), "closed with {code}");
    }
    assert!(server.memory_bytes() < before + GROWTH_BYTES);
    bystanders.still_talk("announced lengths").await;
}

#[tokio::test]
async fn after_its_close_frame_the_server_reads_on_until_the_stream_ends() {
    let server = Server::start().await;
    let mut wire = authenticated(&server, JSON).await;
    wire.frame(TEXT, b"this is no frame").await.expect("write");
    assert!(BROKEN.contains(&wire.close_code().await));
    for _ in 0..200 {
        wire.frame(TEXT, &[b'x'; 8 * 1024]).await.expect("the server reads on");
        crate::support::look_again().await;
    }
    wire.frame(CLOSE, &1000_u16.to_be_bytes()).await.expect("the server reads on");
    within("end of the stream", wire.end()).await;
}

#[tokio::test]
async fn ten_thousand_pings_cost_the_others_nothing() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let before = server.memory_bytes();
    let mut wire = authenticated(&server, JSON).await;
    let (mut pongs, mut code) = (0, None);
    for burst in 0..100 {
        for _ in 0..100 {
            if wire.frame(PING, b"are you there").await.is_err() {
                break;
            }
        }
        if burst % 10 == 0 {
            bystanders.still_talk("pings").await;
        }
    }
    let _ = wire.frame(TEXT, b"{\"type\":\"ping\",\"id\":7}").await;
    while let Some((first, payload)) = wire.next().await {
        match first {
            PONG => pongs += 1,
            CLOSE => code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]])),
            // The answer to the frame that was sent after all pings.
            _ if String::from_utf8_lossy(&payload).contains("\"pong\"") => break,
            _ => {}
        }
    }
    assert!(pongs > 0 || code == Some(4013), "{pongs} pongs, close code {code:?}");
    assert!(server.memory_bytes() < before + GROWTH_BYTES);
    bystanders.still_talk("ten thousand pings").await;
}

#[tokio::test]
async fn json_that_is_nested_too_deep_is_refused_by_every_door() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for text in [
        deep(30_000),
        "{\"type\":".repeat(6_000),
        format!(
            "{{\"type\":\"command\",\"id\":1,\"send\":{{\"custom\":{{\"type\":\"x\",\"data\":{}}}}}}}",
            deep(20_000)
        ),
    ] {
        let mut wire = authenticated(&server, JSON).await;
        wire.frame(TEXT, text.as_bytes()).await.expect("write");
        let code = wire.close_code().await;
        assert_eq!(code, 4501);
    }
    let data = deep(1_000);
    let refused = bystanders
        .alice
        .command(&bystanders.chat, json!({"send": {"custom": {"type": "x", "data": Value::String(data)}}}))
        .await;
    // A string that holds deep JSON is a string; what matters is that nobody falls over it.
    assert!(refused["type"] == "ack" || refused["type"] == "error", "{refused}");
    bystanders.still_talk("deep JSON").await;
}

#[tokio::test]
async fn seqs_beyond_every_log_are_answered_and_harm_nothing() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let chat = bystanders.chat.clone();
    for seq in [1_u64 << 53, i64::MAX as u64, 1 << 63, u64::MAX] {
        for frame in [
            json!({"type": "read", "conversation": chat, "read_seq": seq}),
            json!({"type": "read", "conversation": chat, "delivered_seq": seq}),
            json!({"type": "history", "conversation": chat, "after": seq}),
            json!({"type": "history", "conversation": chat, "before": seq}),
            json!({"type": "history", "conversation": chat, "around": seq}),
            json!({"type": "sync", "cursors": [{"conversation": chat, "seq": seq}], "user_log_seq": seq}),
        ] {
            let answer = bystanders.bob.ask(frame.clone()).await;
            assert!(
                ["error", "page", "ack", "synced"].iter().any(|kind| answer["type"] == *kind),
                "{frame} was answered {answer}"
            );
            if frame["type"] == "read" {
                assert_eq!(answer["code"], "invalid_argument", "{frame} was answered {answer}");
            }
        }
        for action in [
            json!({"edit": {"target": seq, "content": {"text": "x"}}}),
            json!({"recall": {"target": seq}}),
            json!({"react": {"target": seq, "emoji": "👍"}}),
            json!({"pin": {"target": seq}}),
            json!({"send": {"text": "x", "reply_to": seq}}),
            json!({"hide_message": {"seq": seq}}),
        ] {
            let answer = bystanders.bob.command(&chat, action.clone()).await;
            assert_eq!(answer["type"], "error", "{action} was answered {answer}");
        }
    }
    bystanders.still_talk("seqs out of this world").await;
}

#[tokio::test]
async fn control_and_bidirectional_characters_in_names_are_refused() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let chat = bystanders.chat.clone();
    for evil in ["a\0b", "a\u{202e}b", "a\u{2066}b", "a\nb", "\u{1b}[31m"] {
        let settings = json!({"update_settings": {"settings": {"name": evil}}});
        for (conversation, action) in [
            (chat.as_str(), settings),
            (evil, json!({"create": {"kind": "group", "members": ["bob"]}})),
            ("", json!({"create": {"kind": "group", "members": [evil]}})),
            ("", json!({"update_profile": {"name": evil}})),
            (evil, json!({"send": {"text": "x"}})),
        ] {
            let answer = bystanders.alice.command(conversation, action.clone()).await;
            let code = answer["code"].as_str().unwrap_or("none");
            assert!(["invalid_argument", "not_found"].contains(&code), "{evil:?} {action} was answered {answer}");
        }
        let mut session = Session::hello(server.address, server.token("alice"), evil).await;
        let answer = session.next().await.expect("an answer");
        assert!(answer["type"] == "error" || answer.get("close").is_some(), "{evil:?} was answered {answer}");
        assert_ne!(answer["type"], "ready");
    }
    bystanders.still_talk("evil names").await;
}

#[tokio::test]
async fn a_time_that_json_cannot_write_is_refused_in_protobuf() {
    use stonechat_proto::v1::{Action, Command, MemberMuted, ServerFrame, action, client_frame, server_frame};
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let mut wire = authenticated(&server, PROTO).await;
    for until_us in [i64::MAX, i64::MIN, -1] {
        let mute = action::Kind::MuteMember(MemberMuted { user: "bob".to_owned(), until_us });
        let command = Command {
            id: 77,
            conversation: bystanders.chat.clone(),
            client_id: uuid::Uuid::now_v7().to_string(),
            action: Some(Action { kind: Some(mute) }),
            traceparent: String::new(),
        };
        let frame = stonechat_proto::v1::ClientFrame { kind: Some(client_frame::Kind::Command(command)) };
        wire.frame(BINARY, &prost::Message::encode_to_vec(&frame)).await.expect("write");
        let answer = loop {
            let (_, bytes) = wire.next().await.expect("an answer");
            let frame: ServerFrame = prost::Message::decode(bytes.as_slice()).expect("a frame");
            match frame.kind {
                Some(server_frame::Kind::Error(error)) if error.id == 77 => break error.code,
                Some(server_frame::Kind::Ack(ack)) if ack.id == 77 => break "ack".to_owned(),
                _ => {}
            }
        };
        assert_eq!(answer, "invalid_argument", "muted until {until_us}");
    }
    bystanders.still_talk("a mute for good").await;
}

#[tokio::test]
async fn a_socket_that_does_not_say_hello_first_is_closed() {
    let server = Server::start().await;
    for frame in [r#"{"type":"ping","id":1}"#, r#"{"type":"sync","id":1}"#, "{}", "[]", "null", "", "hello"] {
        let mut wire = Wire::open(server.address, JSON).await;
        wire.frame(TEXT, frame.as_bytes()).await.expect("write");
        let code = wire.close_code().await;
        assert!((4500..5000).contains(&code), "{frame:?}: closed with {code}");
    }
    let mut silent = Wire::open(server.address, JSON).await;
    let code = silent.close_code().await;
    assert!((4000..5000).contains(&code), "silence: closed with {code}");
}

#[tokio::test]
async fn a_second_hello_is_refused() {
    let server = Server::start().await;
    let mut session = Session::open(server.address, server.token("alice"), "phone").await;
    let hello = json!({"type": "hello", "token": server.token("bob"), "device": "phone"});
    session.say(&hello).await;
    let answer = session.until("ready").await;
    assert!(answer["type"] == "error" || answer["close"] == 4501, "{answer}");
}

#[tokio::test]
async fn a_subprotocol_that_nobody_knows_is_refused() {
    let server = Server::start().await;
    for protocol in ["chat", "stonechat.v2.json", "STONECHAT.V1.JSON", ""] {
        match Wire::open_with(server.address, protocol, "").await {
            Err(refused) => assert_eq!(refused.status, 400, "{protocol:?}"),
            Ok(mut wire) => assert_eq!(wire.close_code().await, 4512, "{protocol:?}"),
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let server = Server::start().await;
    let refused = Wire::open_with(server.address, JSON, "Origin: https://evil.example\r\n").await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(403));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off() {
    let server = Server::start().await;
    let mut bystanders = Bystanders::new(&server).await;
    let mut slow = TcpStream::connect(server.address).await.expect("connect");
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.expect("write");
    let cut_off = async {
        let mut answer = [0; 1024];
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = tick.tick() => if slow.write_all(b"z").await.is_err() { break },
                read = slow.read(&mut answer) => if read.unwrap_or(0) == 0 { break },
            }
        }
    };
    within("end of the slow handshake", cut_off).await;
    bystanders.still_talk("slow handshake").await;
}

/// RFC 6455, section 7.1.1: the server ends the stream first, and clients wait for that.
#[tokio::test]
async fn a_closed_connection_ends_without_the_client_doing_more() {
    let server = Server::start().await;
    let mut wire = Wire::open(server.address, JSON).await;
    wire.frame(CLOSE, &1000_u16.to_be_bytes()).await.expect("written");
    assert_eq!(wire.close_code().await, 1000);
    let ended = timeout(Duration::from_secs(limits::CLOSE_TIMEOUT_S - 2), wire.end()).await;
    assert!(ended.is_ok(), "the server waits for the client, which waits for the server");
}
