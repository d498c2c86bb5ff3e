//! REST and gRPC as a tenant's server, a user and the operator meet them.

use hyper::Method;
use serde_json::{Value, json};
use stonechat_proto::v1::{
    self, conversation_service_client::ConversationServiceClient, message_service_client::MessageServiceClient,
};
use tonic::{Code, Request, transport::Channel};

use crate::support::{descriptors::Contracts, http::Rest, server::Server, within};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A server, and its tenant's server key at work.
async fn tenant() -> (Server, Rest) {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    (server, rest)
}

/// Demands a status; gives the body.
fn expect((status, body): (u16, Value), wanted: u16) -> Value {
    assert_eq!(status, wanted, "{body}");
    body
}

/// Demands a problem of a status and a code.
fn problem((status, body): (u16, Value), wanted: u16, code: &str) -> Value {
    assert_eq!(
        (status, body["code"].as_str(), body["status"].as_u64()),
        (wanted, Some(code), Some(wanted.into())),
        "{body}"
    );
    body
}

/// Asks until the answer fits; what follows from events comes a little later than they do.
async fn until(rest: &Rest, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    within(path, async {
        loop {
            let body = expect(rest.get(path).await, 200);
            if fits(&body) {
                return body;
            }
            crate::support::look_again().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_direct_conversation_is_created_once_and_holds_flat_messages() {
    let (_server, rest) = tenant().await;
    let wish = json!({"kind": "direct", "members": ["alice", "bob"]});
    let chat = expect(rest.post("/v1/conversations", wish.clone()).await, 201);
    let again =
        expect(rest.post("/v1/conversations", json!({"kind": "direct", "members": ["bob", "alice"]})).await, 201);
    assert_eq!((&chat["id"], &chat["kind"], &chat["last_seq"]), (&again["id"], &json!("direct"), &json!(1)));
    let messages = format!("/v1/conversations/{}/messages", chat["id"].as_str().expect("an id"));

    let full = json!({
        "sender": "alice", "text": "hi 👋", "mentions": ["bob"], "reply_to": 1,
        "custom": {"type": "order", "data": {"number": 7, "lines": [1.5, null]}},
    });
    let sent = expect(rest.post(&messages, full.clone()).await, 201);
    assert_eq!((&sent["seq"], &sent["conversation"]), (&json!(2), &chat["id"]));
    assert!(sent["time"].as_str().expect("a time").ends_with('Z') && sent["id"].is_string(), "{sent}");
    for number in 3..=6 {
        assert_eq!(expect(rest.post(&messages, json!({"sender": "bob", "text": "x"})).await, 201)["seq"], number);
    }

    let page = expect(rest.get(&messages).await, 200);
    let message = &page["messages"][1];
    for (name, value) in full.as_object().expect("an object") {
        assert_eq!(&message[name], value, "{name}");
    }
    assert_eq!((&message["type"], &message["seq"], &message["time"]), (&json!("message"), &json!(2), &sent["time"]));
    for (query, wanted, more) in [
        ("", vec![1, 2, 3, 4, 5, 6], false),
        ("?page_size=2", vec![5, 6], true),
        ("?before=5&page_size=2", vec![3, 4], true),
        ("?after=4", vec![5, 6], false),
        ("?after=0&page_size=3", vec![1, 2, 3], true),
        ("?around=3&page_size=3", vec![2, 3, 4], true),
        ("?after=18446744073709551615", vec![], false),
    ] {
        let page = expect(rest.get(&format!("{messages}{query}")).await, 200);
        let seqs: Vec<u64> =
            page["messages"].as_array().expect("a list").iter().filter_map(|m| m["seq"].as_u64()).collect();
        assert_eq!((seqs, page["more"].as_bool().unwrap_or_default()), (wanted, more), "{query}");
    }
    for query in ["?before=x", "?after=-1", "?page_size=abc", "?before=1&after=1"] {
        problem(rest.get(&format!("{messages}{query}")).await, 400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_message_is_edited_reacted_to_pinned_and_taken_back() {
    let (_server, rest) = tenant().await;
    expect(
        rest.post("/v1/conversations", json!({"id": "team", "kind": "group", "members": ["alice", "bob"]})).await,
        201,
    );
    let messages = "/v1/conversations/team/messages";
    expect(rest.post(messages, json!({"sender": "alice", "text": "first"})).await, 201);
    let one = format!("{messages}/2");
    problem(
        rest.call(Method::PATCH, &one, Some(json!({"sender": "bob", "text": "mine"}))).await,
        403,
        "permission_denied",
    );
    expect(rest.call(Method::PATCH, &one, Some(json!({"sender": "alice", "text": "second"}))).await, 200);
    expect(rest.post(&format!("{one}/reactions"), json!({"sender": "bob", "emoji": "👍"})).await, 200);
    expect(rest.call(Method::PUT, &format!("{one}/pin"), Some(json!({"sender": "alice"}))).await, 200);
    let page = expect(rest.get(messages).await, 200);
    assert_eq!(page["messages"][1]["text"], "second");
    let overlay = &page["overlays"][0];
    assert_eq!((&overlay["target"], &overlay["pinned"]), (&json!(2), &json!(true)));
    assert_eq!(overlay["reactions"], json!([{"emoji": "👍", "users": ["bob"]}]));

    expect(rest.call(Method::DELETE, &format!("{one}/reactions/%F0%9F%91%8D?sender=bob"), None).await, 200);
    expect(rest.call(Method::DELETE, &format!("{one}/pin?sender=alice"), None).await, 200);
    expect(rest.call(Method::DELETE, &format!("{one}?sender=alice"), None).await, 200);
    for query in ["", "?after=2"] {
        let page = expect(rest.get(&format!("{messages}{query}")).await, 200);
        let text = page.to_string();
        assert!(!text.contains("first") && !text.contains("second"), "{text}");
    }
    problem(rest.call(Method::DELETE, &format!("{messages}/99?sender=alice"), None).await, 404, "not_found");
    problem(rest.call(Method::DELETE, &format!("{messages}/x?sender=alice"), None).await, 404, "not_found");
}

#[tokio::test]
async fn members_come_go_and_change() {
    let (_server, rest) = tenant().await;
    let settings = json!({"name": "Orders", "who_may_post": "admins"});
    let wish = json!({"id": "orders", "kind": "group", "sender": "alice", "members": ["bob"], "settings": settings});
    let chat = expect(rest.post("/v1/conversations", wish).await, 201);
    assert_eq!((&chat["role"], &chat["settings"]["name"]), (&json!("owner"), &json!("Orders")));
    let of = |rest: &str| format!("/v1/conversations/orders{rest}");
    let by_alice = |mut body: Value| {
        body["sender"] = json!("alice");
        body
    };
    problem(rest.post(&of("/messages"), json!({"sender": "bob", "text": "x"})).await, 403, "permission_denied");
    expect(rest.call(Method::PATCH, &of("/members/bob"), Some(by_alice(json!({"role": "admin"})))).await, 200);
    expect(rest.post(&of("/messages"), json!({"sender": "bob", "text": "x"})).await, 201);
    expect(rest.post(&of("/members"), by_alice(json!({"users": ["carol", "dave"]}))).await, 200);
    expect(rest.post(&of("/members/carol/mute"), by_alice(json!({"until": "2100-01-01T00:00:00Z"}))).await, 200);
    expect(rest.call(Method::DELETE, &of("/members/dave?sender=alice"), None).await, 200);
    expect(rest.post(&of("/read"), json!({"sender": "bob", "read_seq": 3})).await, 200);
    problem(rest.post(&of("/read"), json!({"sender": "bob", "read_seq": 99})).await, 400, "invalid_argument");
    let marked = |body: &Value| body["members"][1]["read_seq"] == 3;
    let members = until(&rest, &of("/members"), marked).await;
    let shown: Vec<_> =
        members["members"].as_array().expect("a list").iter().map(|m| (&m["user"], &m["role"])).collect();
    let (owner, admin, member) = (json!("owner"), json!("admin"), json!("member"));
    assert_eq!(shown, [(&json!("alice"), &owner), (&json!("bob"), &admin), (&json!("carol"), &member)]);
    assert_eq!(members["members"][2]["muted_until"], "2100-01-01T00:00:00Z");

    let page = expect(rest.get(&of("/members?page_size=2")).await, 200);
    let next = page["next_page_token"].as_str().expect("a next page");
    let rest_of = expect(rest.get(&of(&format!("/members?page_size=2&page_token={next}"))).await, 200);
    assert_eq!(
        (page["members"].as_array().map(Vec::len), rest_of["members"][0]["user"].as_str()),
        (Some(2), Some("carol"))
    );
    problem(rest.get(&of("/members?page_token=a%00b")).await, 400, "invalid_argument");

    expect(rest.post(&of("/leave"), json!({"sender": "carol"})).await, 200);
    problem(rest.get(&of("/messages?sender=carol")).await, 404, "not_found");
    expect(rest.call(Method::PATCH, &of(""), Some(by_alice(json!({"settings": {"name": "Done"}})))).await, 200);
    expect(rest.post(&of("/upgrade"), by_alice(json!({}))).await, 200);
    expect(rest.post(&of("/transfer"), by_alice(json!({"to": "bob"}))).await, 200);
    problem(rest.post(&of("/dismiss"), by_alice(json!({}))).await, 403, "permission_denied");
    expect(rest.call(Method::DELETE, &of("?sender=bob"), None).await, 200);
    let chat = expect(rest.get(&of("")).await, 200);
    assert_eq!(
        (&chat["kind"], &chat["dismissed"], &chat["settings"]["name"]),
        (&json!("channel"), &json!(true), &json!("Done"))
    );
}

#[tokio::test]
async fn a_users_own_side_of_a_conversation_is_their_own() {
    let (server, rest) = tenant().await;
    expect(
        rest.post("/v1/conversations", json!({"id": "team", "kind": "group", "members": ["alice", "bob"]})).await,
        201,
    );
    expect(rest.post("/v1/conversations/team/messages", json!({"sender": "alice", "text": "x"})).await, 201);
    let bob = Rest::new(&server, server.token("bob"));
    until(&bob, "/v1/conversations", |body| body["conversations"][0]["id"] == "team").await;
    let own = json!({"muted": true, "draft": "so far"});
    expect(bob.call(Method::PATCH, "/v1/conversations/team/preferences", Some(own)).await, 200);
    expect(bob.post("/v1/conversations/team/messages/2/hide", json!({})).await, 200);
    let chat = expect(bob.get("/v1/conversations/team").await, 200);
    assert_eq!((&chat["preferences"]["muted"], &chat["preferences"]["draft"]), (&json!(true), &json!("so far")));
    assert_eq!(expect(bob.get("/v1/conversations/team/messages").await, 200)["hidden"], json!([2]));
    let of_alice = expect(rest.get("/v1/conversations/team/messages?sender=alice").await, 200);
    assert_eq!(of_alice["hidden"], Value::Null);
    problem(
        bob.post("/v1/conversations/team/messages", json!({"sender": "alice", "text": "x"})).await,
        403,
        "permission_denied",
    );
    problem(bob.get("/v1/conversations?sender=alice").await, 403, "permission_denied");
    let all = expect(rest.get("/v1/conversations").await, 200);
    assert!(all["conversations"][0]["preferences"].is_null(), "the tenant reads as nobody: {all}");
}

#[tokio::test]
async fn users_are_written_listed_and_kept_out() {
    let (server, rest) = tenant().await;
    problem(rest.get("/v1/users/carol").await, 404, "not_found");
    let carol = expect(rest.post("/v1/users", json!({"id": "carol", "name": "Carol"})).await, 201);
    assert_eq!((&carol["id"], &carol["name"], &carol["active"]), (&json!("carol"), &json!("Carol"), &json!(true)));
    for number in 0..20 {
        let body = json!({"name": format!("User {number}"), "avatar": "a.png"});
        expect(rest.call(Method::PUT, &format!("/v1/users/u{number}"), Some(body)).await, 200);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/users?page_size=7".to_owned();
    loop {
        let page = expect(rest.get(&path).await, 200);
        let users = page["users"].as_array().expect("a list");
        assert!(users.len() <= 7);
        seen.extend(users.iter().map(|user| user["id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next_page_token"].as_str() else { break };
        path = format!("/v1/users?page_size=7&page_token={}", next.replace('/', "%2F"));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 21, "{seen:?}");
    let bad = json!({"name": "Bob\u{202e}gnp"});
    problem(rest.call(Method::PUT, "/v1/users/bob", Some(bad)).await, 400, "invalid_argument");

    let bob = Rest::new(&server, server.token("bob"));
    expect(bob.call(Method::PUT, "/v1/users/bob", Some(json!({"name": "Bob"}))).await, 200);
    problem(bob.call(Method::PUT, "/v1/users/carol", Some(json!({"name": "x"}))).await, 403, "permission_denied");
    problem(bob.get("/v1/users").await, 403, "permission_denied");
    problem(bob.post("/v1/users/carol/deactivate", json!({})).await, 403, "permission_denied");
    assert_eq!(expect(bob.get("/v1/users/carol").await, 200)["name"], "Carol");
    let statuses = expect(bob.get("/v1/statuses?users=carol,alice").await, 200);
    assert_eq!(statuses["statuses"][0]["user"], "carol", "{statuses}");
    assert_eq!(statuses["statuses"][1]["availability"], "offline", "{statuses}");
    assert_eq!(expect(rest.post("/v1/users/bob/deactivate", json!({})).await, 200)["active"], false);
    problem(bob.get("/v1/conversations").await, 401, "unauthenticated");
    assert_eq!(expect(rest.post("/v1/users/bob/activate", json!({})).await, 200)["active"], true);
    expect(bob.get("/v1/conversations").await, 200);
}

#[tokio::test]
async fn the_same_idempotency_key_is_done_once() {
    let (_server, rest) = tenant().await;
    let post = async |path: &str, key: &str, body: Value| {
        let headers = [JSON, ("idempotency-key", key)];
        let (status, _, body) = rest.raw(Method::POST, path, &headers, body.to_string()).await;
        (status, body)
    };
    let wish = json!({"kind": "group", "members": ["alice", "bob"]});
    let chat = expect(post("/v1/conversations", "make it", wish.clone()).await, 201);
    let again = expect(post("/v1/conversations", "make it", wish).await, 201);
    assert_eq!(chat["id"], again["id"]);
    let messages = format!("/v1/conversations/{}/messages", chat["id"].as_str().expect("an id"));
    let hi = json!({"sender": "alice", "text": "hi"});
    for key in ["order 17", "019a0000-0000-4000-8000-000000000001"] {
        let first = expect(post(&messages, key, hi.clone()).await, 201);
        assert_eq!(first, expect(post(&messages, key, hi.clone()).await, 201));
        problem(post(&messages, key, json!({"sender": "alice", "text": "other"})).await, 409, "conflict");
        let of_bob = expect(post(&messages, key, json!({"sender": "bob", "text": "hi"})).await, 201);
        assert_ne!(first["seq"], of_bob["seq"], "another sender's key is another key");
    }
    problem(post(&messages, &"k".repeat(256), hi).await, 400, "invalid_argument");
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let (server, rest) = tenant().await;
    let nobody = Rest::new(&server, "");
    let deep = format!("{{\"text\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let large = format!("{{\"text\":\"{}\"}}", "a".repeat(2 << 20));
    let messages = "/v1/conversations/none/messages";
    for (rest, method, path, body, status, code) in [
        (&rest, Method::GET, "/v1/nothing", "", 404, "not_found"),
        (&rest, Method::GET, "/", "", 404, "not_found"),
        (&rest, Method::DELETE, "/v1/users", "", 405, "invalid_argument"),
        (&rest, Method::POST, messages, "{", 400, "invalid_argument"),
        (&rest, Method::POST, messages, "[]", 400, "invalid_argument"),
        (&rest, Method::POST, messages, "{\"text\":7}", 400, "invalid_argument"),
        (&rest, Method::POST, messages, &deep, 400, "invalid_argument"),
        (&rest, Method::POST, messages, &large, 413, "too_large"),
        (&rest, Method::POST, messages, "{\"text\":\"x\"}", 404, "not_found"),
        (&rest, Method::POST, "/v1/conversations", "{\"kind\":\"room\"}", 400, "invalid_argument"),
        (&rest, Method::GET, "/v1/conversations/a%00b", "", 400, "invalid_argument"),
        (&rest, Method::GET, "/v1/conversations/%FF", "", 400, "invalid_argument"),
        (&rest, Method::GET, "/v1/tenants", "", 403, "permission_denied"),
        (&nobody, Method::GET, "/v1/conversations", "", 401, "unauthenticated"),
        (&nobody, Method::GET, "/v1/tenants", "", 401, "unauthenticated"),
    ] {
        let (got, headers, answer) = rest.raw(method.clone(), path, &[JSON], body.to_owned()).await;
        let what = format!("{method} {path} {:.40}: {got} {answer}", body);
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{what}");
        assert_eq!(headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(answer["status"], status, "{what}");
        assert!(answer["detail"].is_string() && answer["title"].is_string(), "{what}");
        assert_eq!(headers.contains_key("allow"), status == 405, "{what}");
    }
    let wrong = problem(rest.post(messages, json!({"text": "x", "mentions": "bob"})).await, 400, "invalid_argument");
    assert!(wrong["detail"].as_str().expect("a detail").contains("expected a sequence"), "{wrong}");
}

#[tokio::test]
async fn the_operator_makes_tenants_and_keys_and_does_nothing_else() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let made = expect(operator.post("/v1/tenants", json!({"id": "acme", "name": "Acme"})).await, 201);
    assert_eq!(made["id"], "acme");
    problem(operator.post("/v1/tenants", json!({"id": "acme", "name": "Acme"})).await, 409, "already_exists");
    let key = expect(operator.post("/v1/tenants/acme/keys", json!({"kind": "server", "name": "backend"})).await, 201);
    let (id, secret) = (key["id"].as_str().expect("an id"), key["secret"].as_str().expect("a secret"));
    let acme = Rest::new(&server, secret);
    expect(acme.get("/v1/users").await, 200);
    let listed = expect(operator.get("/v1/tenants/acme/keys").await, 200);
    assert!(listed.to_string().contains(id) && !listed.to_string().contains(secret), "{listed}");
    problem(operator.call(Method::DELETE, &format!("/v1/tenants/demo/keys/{id}"), None).await, 404, "not_found");
    expect(operator.call(Method::DELETE, &format!("/v1/tenants/acme/keys/{id}"), None).await, 200);
    problem(acme.get("/v1/users").await, 401, "unauthenticated");
    problem(operator.get("/v1/users").await, 403, "permission_denied");
    problem(operator.get("/v1/conversations/x").await, 403, "permission_denied");
    problem(operator.post("/v1/tenants/acme/keys", json!({"kind": "rs256"})).await, 400, "invalid_argument");
    let page = expect(operator.get("/v1/tenants?page_size=1").await, 200);
    assert_eq!((page["tenants"][0]["id"].as_str(), page["next_page_token"].as_str()), (Some("acme"), Some("demo")));
}

#[tokio::test]
async fn grpc_does_what_rest_does() {
    let (server, rest) = tenant().await;
    let endpoint = Channel::from_shared(server.started.grpc_url.clone()).expect("a URL");
    let channel = within("gRPC connection", endpoint.connect()).await.expect("a connection");
    let bearer = format!("Bearer {}", server.started.server_key);
    let with = |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
        Ok::<_, tonic::Status>(request)
    };
    let mut conversations = ConversationServiceClient::with_interceptor(channel.clone(), with);
    let mut messages = MessageServiceClient::with_interceptor(channel.clone(), with);
    let members = vec!["alice".to_owned(), "bob".to_owned()];
    let kind = v1::ConversationKind::Direct.into();
    let wish = v1::CreateConversationRequest { kind, members, ..Default::default() };
    let chat = conversations.create_conversation(wish).await.expect("created").into_inner();
    let message = Some(v1::Message { text: "hi".to_owned(), ..Default::default() });
    let wish = v1::SendMessageRequest {
        conversation: chat.id.clone(),
        sender: "bob".to_owned(),
        message,
        ..Default::default()
    };
    let first = messages.send_message(wish.clone()).await.expect("sent").into_inner();
    let again = v1::SendMessageRequest { client_id: first.id.clone(), ..wish };
    assert_eq!(messages.send_message(again).await.expect("sent").into_inner(), first);
    let page = expect(rest.get(&format!("/v1/conversations/{}/messages", chat.id)).await, 200);
    assert_eq!((&page["messages"][1]["text"], &page["messages"][1]["seq"]), (&json!("hi"), &json!(first.seq)));

    let unknown = v1::ListMessagesRequest { conversation: "none".to_owned(), ..Default::default() };
    let status = messages.list_messages(unknown.clone()).await.expect_err("unknown");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "conversation not found"));
    assert!(!status.details().is_empty(), "ErrorInfo");
    let mut nobody = MessageServiceClient::new(channel);
    assert_eq!(nobody.list_messages(unknown).await.expect_err("no credential").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_document_of_the_api_names_every_public_rpc() {
    let server = Server::start().await;
    let nobody = Rest::new(&server, "");
    let document = expect(nobody.get("/openapi.json").await, 200);
    let paths = document["paths"].as_object().expect("paths");
    let described = paths.values().flat_map(|path| path.as_object().expect("operations").values());
    let named: Vec<&str> = described.filter_map(|operation| operation["x-stonechat-rpc"].as_str()).collect();
    for rpc in Contracts::new().rpcs("stonechat.v1") {
        let name = rpc.path.trim_start_matches('/');
        assert!(named.contains(&name), "{name} has no REST form in /openapi.json");
    }
}
