//! Forged, stale and misdirected tokens are refused at every door.

use serde_json::{Value, json};

use crate::support::{
    http::Rest,
    server::Server,
    session::Session,
    token::{claims, good, now_s, signed, unsigned},
    wire::{CLOSE, JSON, TEXT, Wire},
};

/// Says hello with a token; gives the close code, 0 when the session opened.
async fn hello(server: &Server, token: &str) -> u16 {
    let mut wire = Wire::open(server.address, JSON).await;
    let hello = json!({"type": "hello", "token": token, "device": "phone"}).to_string();
    wire.frame(TEXT, hello.as_bytes()).await.expect("write");
    while let Some((first, payload)) = wire.next().await {
        if first == TEXT && String::from_utf8_lossy(&payload).contains("\"ready\"") {
            return 0;
        }
        if first == CLOSE {
            return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
        }
    }
    1006
}

/// A token must be refused over WebSocket, as refresh of an open session, and over REST.
async fn refused_everywhere(server: &Server, name: &str, token: &str) {
    assert_eq!(hello(server, token).await, 4500, "{name}: hello");
    let mut session = Session::open(server.address, &good(&server.started, "alice"), "phone").await;
    let answer = session.ask(json!({"type": "refresh", "token": token})).await;
    assert!(answer["code"] == "unauthenticated" || answer["close"] == 4500, "{name}: refresh gave {answer}");
    if token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty() {
        let (status, body) = Rest::new(server, token).get("/v1/conversations").await;
        assert_eq!(status, 401, "{name}: REST gave {body}");
    }
}

fn with(mut value: Value, key: &str, to: Value) -> Value {
    value[key] = to;
    value
}

fn without(mut value: Value, key: &str) -> Value {
    value.as_object_mut().expect("an object").remove(key);
    value
}

#[tokio::test]
async fn a_good_token_opens_a_session() {
    let server = Server::start().await;
    assert_eq!(hello(&server, &good(&server.started, "alice")).await, 0);
    assert_eq!(hello(&server, server.token("alice")).await, 0);
}

#[tokio::test]
async fn a_token_with_a_trick_in_its_header_is_refused() {
    let server = Server::start().await;
    let (started, secret) = (&server.started, server.started.key_secret.as_bytes());
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": started.key_id});
    let good = claims(started, "alice");
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(header.clone(), "alg", alg.into());
        refused_everywhere(&server, alg, &format!("{}.", unsigned(&header, &good))).await;
        refused_everywhere(&server, alg, &unsigned(&header, &good)).await;
        refused_everywhere(&server, alg, &signed(&header, &good, secret)).await;
    }
    // The right bytes under the name of another algorithm.
    for alg in ["RS256", "ES256", "EdDSA", "PS256", "HS384", "HS512", "hs256"] {
        refused_everywhere(&server, alg, &signed(&with(header.clone(), "alg", alg.into()), &good, secret)).await;
    }
    for kid in ["../../../../dev/null", "' or '1'='1", "\u{0}", "~", "", "a/b", "unknown"] {
        let kid_header = with(header.clone(), "kid", kid.into());
        for secret in [&b""[..], b"\0", b"secret", started.key_id.as_bytes()] {
            refused_everywhere(&server, kid, &signed(&kid_header, &good, secret)).await;
        }
        // Nor may the header name another key than the one that issued and signed.
        let issuer = with(good.clone(), "iss", kid.into());
        refused_everywhere(&server, kid, &signed(&kid_header, &issuer, secret)).await;
    }
}

#[tokio::test]
async fn a_header_that_brings_its_own_key_is_not_believed() {
    let server = Server::start().await;
    let started = &server.started;
    let own = b"a key of the attacker's own, long enough";
    let good = claims(started, "alice");
    let jwk = json!({"kty": "oct", "k": "YSBrZXkgb2YgdGhlIGF0dGFja2VyJ3Mgb3duLCBsb25nIGVub3VnaA"});
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("http://127.0.0.1:1/keys.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = with(json!({"alg": "HS256", "typ": "JWT", "kid": started.key_id}), name, value);
        refused_everywhere(&server, name, &signed(&header, &good, own)).await;
    }
    // RFC 7515, 4.1.11: an extension that must be understood and is not.
    let header = json!({"alg": "HS256", "kid": started.key_id, "crit": ["exp2"], "exp2": 1});
    refused_everywhere(&server, "crit", &signed(&header, &good, started.key_secret.as_bytes())).await;
}

#[tokio::test]
async fn a_token_with_wrong_claims_is_refused() {
    let server = Server::start().await;
    let (started, secret) = (&server.started, server.started.key_secret.as_bytes());
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": started.key_id});
    let good = claims(started, "alice");
    let hour = 3600;
    for (name, claims) in [
        ("expired", with(good.clone(), "exp", (now_s() - hour).into())),
        ("expires never", without(good.clone(), "exp")),
        ("expires in words", with(good.clone(), "exp", "tomorrow".into())),
        ("not valid yet", with(good.clone(), "nbf", (now_s() + hour).into())),
        ("issued in the future", with(good.clone(), "iat", (now_s() + hour).into())),
        ("issued never", without(good.clone(), "iat")),
        ("wrong audience", with(good.clone(), "aud", "another".into())),
        ("no audience", without(good.clone(), "aud")),
        ("unknown issuer", with(good.clone(), "iss", "nobody".into())),
        ("no issuer", without(good.clone(), "iss")),
        ("no user", without(good.clone(), "sub")),
        ("empty user", with(good.clone(), "sub", "".into())),
        ("user with a NUL", with(good.clone(), "sub", "alice\0".into())),
        ("user with a bidirectional mark", with(good.clone(), "sub", "\u{202e}alice".into())),
        ("user log as user", with(good.clone(), "sub", "~alice".into())),
        ("user as a list", with(good.clone(), "sub", json!(["alice"]))),
        ("another device", with(good.clone(), "device", "tablet".into())),
    ] {
        refused_everywhere(&server, name, &signed(&header, &claims, secret)).await;
    }
    let token = signed(&header, &good, secret);
    let (body, signature) = token.rsplit_once('.').expect("a signature");
    for (name, token) in [
        ("empty", String::new()),
        ("no token", "....".to_owned()),
        ("cut signature", format!("{body}.{}", &signature[..signature.len() - 2])),
        ("no signature", format!("{body}.")),
        ("two signatures", format!("{token}.{signature}")),
        ("other secret", signed(&header, &good, b"not the secret")),
        ("longer than any token", format!("{body}.{}", "A".repeat(5_000))),
    ] {
        refused_everywhere(&server, name, &token).await;
    }
}

#[tokio::test]
async fn a_refresh_for_another_user_is_refused() {
    let server = Server::start().await;
    let mut session = Session::open(server.address, server.token("alice"), "phone").await;
    let answer = session.ask(json!({"type": "refresh", "token": server.token("bob")})).await;
    assert!(answer["type"] == "error" || answer["close"] == 4500, "{answer}");
}
