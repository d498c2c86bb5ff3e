//! Tenants are walls: whatever is asked with another tenant's ids is answered as for ids that nobody has.

use hyper::Method;
use prost::Message as _;
use serde_json::{Value, json};
use stonechat_proto::v1::ServerFrame;

use crate::support::{
    descriptors::{Contracts, Names},
    grpc::Caller,
    http::Rest,
    server::Server,
    session::Session,
    tenant::OtherTenant,
    wire::{BINARY, CLOSE, PROTO, Wire},
};

const PACKAGE: &str = "stonechat.v1";
/// Texts that must never leave their tenant.
const SECRET_TEXT: &str = "nobody outside may read this";

/// Who asks with foreign ids, and who asks with unknown ones.
const ASKERS: [&str; 2] = ["mallory-one", "mallory-two"];

/// A conversation of the demo tenant with something in it, and alice online.
async fn furnish(server: &Server) -> (Session, String) {
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let chat = alice.group("board-of-directors", &["bob"]).await;
    for _ in 0..3 {
        assert_eq!(alice.send(&chat, SECRET_TEXT).await["type"], "ack");
    }
    (alice, chat)
}

/// The ids of the demo tenant, and ids that nobody has.
fn both(server: &Server, chat: &str, token: &str) -> [Names; 2] {
    let foreign = Names {
        tenant: server.started.tenant.clone(),
        user: "alice".to_owned(),
        conversation: chat.to_owned(),
        key: server.started.key_id.clone(),
        token: token.to_owned(),
    };
    let unknown = Names {
        tenant: "atlantis".to_owned(),
        user: "nemo".to_owned(),
        conversation: "meeting-on-the-moon".to_owned(),
        key: "key-that-nobody-has".to_owned(),
        token: token.to_owned(),
    };
    [foreign, unknown]
}

/// An answer without what differs from call to call, and with placeholders for the names.
fn normal(value: &Value, names: &Names) -> Value {
    match value {
        Value::Object(fields) => {
            let volatile = ["time", "created", "updated", "client_id", "last_seen", "token_expires", "user_log_seq"];
            let kept = fields.iter().filter(|(key, _)| !volatile.contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), normal(value, names))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| normal(item, names)).collect(),
        Value::String(text) => json!(plain(text, names)),
        other => other.clone(),
    }
}

fn plain(text: &str, names: &Names) -> String {
    if text.starts_with("direct:") {
        return "DIRECT".to_owned();
    }
    let text = ASKERS.iter().fold(text.to_owned(), |text, asker| text.replace(asker, "ASKER"));
    text.replace(&names.conversation, "CONVERSATION")
        .replace(&names.user, "USER")
        .replace(&names.tenant, "TENANT")
        .replace(&names.key, "KEY")
}

#[tokio::test]
async fn every_websocket_command_answers_for_foreign_ids_as_for_unknown_ones() {
    let server = Server::start().await;
    let (mut alice, chat) = furnish(&server).await;
    let other = OtherTenant::create(&server).await;
    let contracts = Contracts::new();
    let mut answers = Vec::new();
    for (names, user) in both(&server, &chat, "").into_iter().zip(ASKERS) {
        let token = other.token(user);
        let names = Names { token: token.clone(), ..names };
        answers.push(ask_everything(&server, &contracts, &names, &token).await);
    }
    let (unknown, foreign) = (answers.pop().expect("two"), answers.pop().expect("two"));
    assert!(foreign.len() > 40, "only {} commands were found in the descriptors", foreign.len());
    for (foreign, unknown) in foreign.iter().zip(&unknown) {
        assert_eq!(foreign, unknown);
    }
    assert_eq!(alice.send(&chat, "we are alone").await["seq"], 5);
}

/// Sends one of every frame; gives the answers.
async fn ask_everything(server: &Server, contracts: &Contracts, names: &Names, token: &str) -> Vec<(String, Value)> {
    let mut wire = Wire::open(server.address, PROTO).await;
    let hello = stonechat_proto::v1::Hello { token: token.to_owned(), device: "x".to_owned(), ..Default::default() };
    let hello = stonechat_proto::v1::client_frame::Kind::Hello(hello);
    wire.frame(BINARY, &stonechat_proto::v1::ClientFrame { kind: Some(hello) }.encode_to_vec()).await.expect("hello");
    while frame(&mut wire).await["type"] != "synced" {}
    let mut answers = Vec::new();
    for (name, request) in contracts.requests(".stonechat.v1.ClientFrame", names) {
        // A second hello ends the session, typing has no answer.
        if name.starts_with("hello") || name.starts_with("typing") {
            continue;
        }
        wire.frame(BINARY, &request).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let answer = loop {
            let frame = frame(&mut wire).await;
            assert!(!frame.to_string().contains(SECRET_TEXT), "{name} leaked {frame}");
            assert!(frame.get("close").is_none(), "{name} closed the session: {frame}");
            if frame["id"] == 1 && ["ack", "error", "page", "synced", "pong"].iter().any(|kind| frame["type"] == *kind)
            {
                break frame;
            }
            assert_ne!(frame["availability"], "online", "{name} leaked {frame}");
        };
        // A page of events holds times; what matters is who sees how many of what.
        answers.push((name, normal(&answer, names)));
    }
    answers
}

async fn frame(wire: &mut Wire) -> Value {
    match wire.next().await {
        Some((BINARY, bytes)) => {
            serde_json::to_value(ServerFrame::decode(bytes.as_slice()).expect("a frame")).expect("JSON")
        }
        Some((CLOSE, payload)) => json!({"close": payload}),
        Some(_) => Value::Null,
        None => json!({"close": []}),
    }
}

#[tokio::test]
async fn every_rpc_answers_for_foreign_ids_as_for_unknown_ones() {
    let server = Server::start().await;
    let (mut alice, chat) = furnish(&server).await;
    let other = OtherTenant::create(&server).await;
    let contracts = Contracts::new();
    let mut rpcs = contracts.rpcs(PACKAGE);
    assert!(!rpcs.is_empty(), "no public services in the descriptors");
    // Its work goes on after its answer, so what comes after it would be answered one way or the other.
    rpcs.sort_by_key(|rpc| rpc.path.ends_with("/EraseUser"));
    for credential in [other.server_key.clone(), other.token("mallory")] {
        let mut answers = Vec::new();
        for names in both(&server, &chat, "x") {
            let mut caller = Caller::new(&server, &credential).await;
            let mut of = Vec::new();
            for rpc in rpcs.iter().filter(|rpc| !rpc.client_streaming) {
                for (variant, request) in contracts.requests(&rpc.request, &names) {
                    let answer = caller.call(&rpc.path, request).await;
                    let seen = match answer {
                        Ok(bytes) => {
                            let text = String::from_utf8_lossy(&bytes);
                            assert!(!text.contains(SECRET_TEXT), "{} leaked {text}", rpc.path);
                            "ok".to_owned()
                        }
                        Err((code, message)) => format!("{code:?} {}", plain(&message, &names)),
                    };
                    of.push((rpc.path.clone(), variant, seen));
                }
            }
            answers.push(of);
        }
        for (foreign, unknown) in answers[0].iter().zip(&answers[1]) {
            assert_eq!(foreign, unknown);
        }
    }
    assert_eq!(alice.send(&chat, "we are alone").await["seq"], 5);
}

/// Every path of the REST API that names something, with a body that fits.
fn paths() -> Vec<(Method, &'static str, Value)> {
    let sender = || json!({"sender": "USER"});
    vec![
        (Method::GET, "/v1/tenants/TENANT", Value::Null),
        (Method::GET, "/v1/tenants/TENANT/keys", Value::Null),
        (Method::POST, "/v1/tenants/TENANT/keys", json!({"kind": "hs256", "name": "x"})),
        (Method::DELETE, "/v1/tenants/TENANT/keys/KEY", Value::Null),
        (Method::GET, "/v1/users/USER/erasure", Value::Null),
        (Method::GET, "/v1/tenants/TENANT/deletion", Value::Null),
        (Method::DELETE, "/v1/tenants/TENANT", Value::Null),
        (Method::GET, "/v1/export?user=USER", Value::Null),
        (Method::GET, "/v1/unread?sender=USER", Value::Null),
        (Method::GET, "/v1/conversations/CONVERSATION/messages/2", Value::Null),
        (Method::GET, "/v1/conversations/CONVERSATION/messages/2/readers?sender=USER", Value::Null),
        (Method::GET, "/v1/conversations/CONVERSATION/pinned", Value::Null),
        (Method::GET, "/v1/users/USER", Value::Null),
        (Method::POST, "/v1/users/USER/revoke", json!({})),
        (Method::POST, "/v1/users/USER/deactivate", json!({})),
        (Method::POST, "/v1/users/USER/activate", json!({})),
        (Method::GET, "/v1/conversations/CONVERSATION", Value::Null),
        (Method::GET, "/v1/conversations/CONVERSATION?sender=USER", Value::Null),
        (Method::PATCH, "/v1/conversations/CONVERSATION", json!({"sender": "USER", "settings": {"name": "x"}})),
        (Method::GET, "/v1/conversations/CONVERSATION/members", Value::Null),
        (Method::POST, "/v1/conversations/CONVERSATION/members", json!({"users": ["USER", "mallory"]})),
        (Method::DELETE, "/v1/conversations/CONVERSATION/members", json!({"users": ["USER"]})),
        (Method::PATCH, "/v1/conversations/CONVERSATION/members/USER", json!({"role": "admin"})),
        (Method::POST, "/v1/conversations/CONVERSATION/members/USER/mute", json!({"until": "2030-01-01T00:00:00Z"})),
        (Method::GET, "/v1/conversations/CONVERSATION/messages", Value::Null),
        (Method::GET, "/v1/conversations/CONVERSATION/messages?sender=USER&around=2", Value::Null),
        (Method::POST, "/v1/conversations/CONVERSATION/messages", json!({"sender": "USER", "text": "let me in"})),
        (Method::PATCH, "/v1/conversations/CONVERSATION/messages/2", json!({"sender": "USER", "text": "changed"})),
        (Method::DELETE, "/v1/conversations/CONVERSATION/messages/2", sender()),
        (Method::PUT, "/v1/conversations/CONVERSATION/messages/2/pin", sender()),
        (Method::DELETE, "/v1/conversations/CONVERSATION/messages/2/pin", sender()),
        (Method::POST, "/v1/conversations/CONVERSATION/read", json!({"sender": "USER", "read_seq": 2})),
        (Method::POST, "/v1/conversations/CONVERSATION/leave", sender()),
        (Method::POST, "/v1/conversations/CONVERSATION/transfer", json!({"sender": "USER", "to": "mallory"})),
        (Method::POST, "/v1/conversations/CONVERSATION/upgrade", sender()),
        (Method::POST, "/v1/conversations/CONVERSATION/dismiss", sender()),
    ]
}

fn named(template: &str, names: &Names) -> String {
    let text = template.replace("CONVERSATION", &names.conversation).replace("USER", &names.user);
    text.replace("TENANT", &names.tenant).replace("KEY", &names.key)
}

#[tokio::test]
async fn every_rest_path_answers_for_foreign_ids_as_for_unknown_ones() {
    let server = Server::start().await;
    let (mut alice, chat) = furnish(&server).await;
    let other = OtherTenant::create(&server).await;
    let [foreign, unknown] = both(&server, &chat, "");
    for credential in [other.server_key.clone(), other.token("mallory")] {
        let caller = Rest::new(&server, &credential);
        for (method, path, body) in paths() {
            let mut answers = Vec::new();
            for names in [&foreign, &unknown] {
                let body =
                    (!body.is_null()).then(|| serde_json::from_str(&named(&body.to_string(), names)).expect("JSON"));
                let (status, answer) = caller.call(method.clone(), &named(path, names), body).await;
                assert!(!answer.to_string().contains(SECRET_TEXT), "{method} {path} leaked {answer}");
                if path.contains("CONVERSATION") {
                    assert!([403, 404].contains(&status), "{method} {path}: {status} {answer}");
                }
                answers.push((status, normal(&answer, names)));
            }
            assert_eq!(answers[0], answers[1], "{method} {path}");
        }
    }
    assert_eq!(alice.send(&chat, "we are alone").await["seq"], 5);
}
