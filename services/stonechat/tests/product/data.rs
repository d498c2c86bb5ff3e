//! A tenant's data as a whole: lists, bulk work, import, export, erasing, deleting; with the lines of enemies.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    http::Rest,
    server::{Server, binary},
    session::Session,
    tenant::OtherTenant,
    within,
};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

pub(crate) async fn tenant() -> (Server, Rest) {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    (server, rest)
}

pub(crate) fn expect((status, body): (u16, Value), wanted: u16) -> Value {
    assert_eq!(status, wanted, "{body}");
    body
}

/// Asks until the answer fits; what follows from events comes a little later than they do.
pub(crate) async fn until(rest: &Rest, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
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

pub(crate) async fn import(rest: &Rest, lines: &[Value]) -> (u16, Value) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (status, _, body) = rest.raw(Method::POST, "/v1/import", &[LINES], body).await;
    (status, body)
}

/// What an export brings, as lines.
pub(crate) async fn export(rest: &Rest, query: &str) -> Vec<Value> {
    let (status, _, body) = rest.raw(Method::GET, &format!("/v1/export{query}"), &[], "").await;
    assert_eq!(status, 200, "{body}");
    let text = match &body {
        Value::String(text) => text.clone(),
        one => format!("{one}\n"),
    };
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

pub(crate) fn entry(conversation: &str, event: Value) -> Value {
    json!({"entry": {"conversation": conversation, "event": event}})
}

fn created(conversation: &str, members: &[&str]) -> Value {
    let role = |index: usize| if index == 0 { "owner" } else { "member" };
    let members: Vec<Value> =
        members.iter().enumerate().map(|(index, user)| json!({"user": user, "role": role(index)})).collect();
    let created = json!({
        "type": "created", "seq": 1, "sender": "ann", "time": "2020-01-01T00:00:00Z", "kind": "group", "members": members,
    });
    entry(conversation, created)
}

fn message(conversation: &str, seq: u64, sender: &str, text: &str) -> Value {
    let time = format!("2020-01-01T00:{:02}:{:02}Z", seq / 60, seq % 60);
    entry(conversation, json!({"type": "message", "seq": seq, "sender": sender, "time": time, "text": text}))
}

#[tokio::test]
async fn a_tenant_lists_all_its_conversations_page_by_page() {
    let (server, rest) = tenant().await;
    for number in 0..25 {
        let wish = json!({"id": format!("room-{number}"), "kind": "group", "members": ["alice"]});
        expect(rest.post("/v1/conversations", wish).await, 201);
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = expect(rest.get(&format!("/v1/conversations?page_size=10&page_token={token}")).await, 200);
        let ids = page["conversations"].as_array().expect("a list").iter();
        seen.extend(ids.map(|one| one["id"].as_str().expect("an id").to_owned()));
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    let mut wanted: Vec<String> = (0..25).map(|number| format!("room-{number}")).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
    let other = OtherTenant::create(&server).await;
    let page = expect(Rest::new(&server, &other.server_key).get("/v1/conversations").await, 200);
    assert_eq!(page["conversations"], json!([]));
    for token in ["x", "0/", "0/a b", "-1/a", "99999999999999999999/a"] {
        let (status, body) = rest.get(&format!("/v1/conversations?page_token={}", token.replace(' ', "%20"))).await;
        assert_eq!(status, 400, "{token}: {body}");
    }
}

#[tokio::test]
async fn single_messages_pins_readers_and_unread_counts_are_read() {
    let (_server, rest) = tenant().await;
    expect(
        rest.post("/v1/conversations", json!({"id": "team", "kind": "group", "members": ["alice", "bob"]})).await,
        201,
    );
    for text in ["one", "two", "three"] {
        let message = json!({"sender": "alice", "text": text, "mentions": ["bob"]});
        expect(rest.post("/v1/conversations/team/messages", message).await, 201);
    }
    let one = expect(rest.get("/v1/conversations/team/messages/3").await, 200);
    assert_eq!((&one["messages"][0]["text"], one["messages"].as_array().map(Vec::len)), (&json!("two"), Some(1)));
    for seq in ["0", "1", "9", "18446744073709551615"] {
        assert_eq!(rest.get(&format!("/v1/conversations/team/messages/{seq}")).await.0, 404, "seq {seq}");
    }
    for seq in [2, 4] {
        let (status, body) =
            rest.call(Method::PUT, &format!("/v1/conversations/team/messages/{seq}/pin"), Some(json!({}))).await;
        assert_eq!(status, 200, "{body}");
    }
    let seqs = |page: &Value| -> Vec<u64> {
        page["messages"].as_array().expect("a list").iter().filter_map(|one| one["seq"].as_u64()).collect()
    };
    assert_eq!(seqs(&expect(rest.get("/v1/conversations/team/pinned").await, 200)), [2, 4]);
    let (status, body) = rest.call(Method::DELETE, "/v1/conversations/team/messages/2/pin", None).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(seqs(&expect(rest.get("/v1/conversations/team/pinned?sender=bob").await, 200)), [4]);

    let unread = until(&rest, "/v1/unread?sender=bob", |body| body["total"] == 3).await;
    assert_eq!((&unread["conversations"][0]["count"], &unread["conversations"][0]["mentions"]), (&json!(3), &json!(3)));
    expect(rest.post("/v1/conversations/team/read", json!({"sender": "bob", "read_seq": 3})).await, 200);
    until(&rest, "/v1/unread?sender=bob", |body| body["total"] == 1).await;
    assert_eq!(rest.get("/v1/unread").await.0, 400, "a server key names the user");
    let readers =
        until(&rest, "/v1/conversations/team/messages/3/readers", |body| body["members"][0]["user"] == "bob").await;
    assert_eq!(readers["members"].as_array().map(Vec::len), Some(1));
    let later = expect(rest.get("/v1/conversations/team/messages/4/readers").await, 200);
    assert_eq!(later["members"], json!([]));
    let (status, body) =
        rest.call(Method::PUT, "/v1/users/bob/status", Some(json!({"away": true, "text": "at lunch"}))).await;
    assert_eq!((status, &body["text"]), (200, &json!("at lunch")), "{body}");
}

#[tokio::test]
async fn users_and_members_are_added_in_bulk_and_again_without_harm() {
    let (_server, rest) = tenant().await;
    let users: Vec<Value> = (0..300).map(|i| json!({"user": format!("u{i}"), "name": format!("User {i}")})).collect();
    let made = expect(rest.post("/v1/bulk/users", json!({"users": users})).await, 200);
    assert_eq!((made["users"].as_array().map(Vec::len), &made["users"][7]["name"]), (Some(300), &json!("User 7")));
    let wrong = json!({"users": [{"user": "good"}, {"user": "not an id"}]});
    let refused = expect(rest.post("/v1/bulk/users", wrong).await, 400);
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("users[1]")), "{refused}");
    assert_eq!(rest.get("/v1/users/good").await.0, 404, "nothing is written where one is wrong");
    let many: Vec<Value> = (0..1_001).map(|i| json!({"user": format!("u{i}")})).collect();
    expect(rest.post("/v1/bulk/users", json!({"users": many})).await, 422);

    expect(rest.post("/v1/conversations", json!({"id": "all", "kind": "channel", "members": ["alice"]})).await, 201);
    let lines: String = (0..2_500).map(|i| format!("\"member-{i}\"\n")).collect();
    for _ in 0..2 {
        let path = "/v1/conversations/all/bulk-members";
        let (status, _, body) = rest.raw(Method::POST, path, &[LINES], lines.clone()).await;
        assert_eq!((status, &body["users"]), (200, &json!(2_500)), "{body}");
    }
    let channel = expect(rest.get("/v1/conversations/all").await, 200);
    assert_eq!((&channel["member_count"], &channel["last_seq"]), (&json!(2_501), &json!(26)));
    for (body, wanted) in [("x\n", 400), ("\"a b\"\n", 400), ("", 400), ("{\"a\":1}\n", 400)] {
        let (status, _, answer) = rest.raw(Method::POST, "/v1/conversations/all/bulk-members", &[LINES], body).await;
        assert_eq!(status, wanted, "{body}: {answer}");
    }
    let (status, _, _) = rest.raw(Method::POST, "/v1/conversations/none/bulk-members", &[LINES], "\"a\"\n").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn an_imported_history_keeps_its_times_and_may_be_sent_again() {
    let (server, rest) = tenant().await;
    let mut session = Session::open(server.address, server.token("alice"), "phone").await;
    let mut lines = vec![json!({"user": {"id": "ann", "name": "Ann", "created": "2019-05-05T05:05:05Z"}})];
    lines.push(created("old", &["ann", "bob", "alice"]));
    lines.extend((2..=60).map(|seq| message("old", seq, if seq % 2 == 0 { "ann" } else { "bob" }, "of old")));
    let react = json!({"type": "reaction_added", "seq": 61, "sender": "bob", "time": "2020-01-02T00:00:00Z", "target": 2, "emoji": "👍"});
    lines.push(entry("old", react));
    lines.push(
        json!({"membership": {"user": "bob", "conversation": "old", "read_seq": 40, "preferences": {"muted": true}}}),
    );
    // Again from its beginning, and with only a part of it before.
    for part in [&lines[..20], &lines[..], &lines[..]] {
        let done = expect(import(&rest, part).await, 200);
        assert_eq!(done["items"], part.len(), "{done}");
    }
    let page = expect(rest.get("/v1/conversations/old/messages?after=0&page_size=200").await, 200);
    assert_eq!((&page["last_seq"], page["messages"].as_array().map(Vec::len)), (&json!(61), Some(61)));
    assert_eq!(page["messages"][1]["time"], "2020-01-01T00:00:02Z");
    assert_eq!(page["messages"][1]["imported"], true);
    assert_eq!(page["overlays"][0]["reactions"][0]["users"], json!(["bob"]));
    assert_eq!(expect(rest.get("/v1/users/ann").await, 200)["created"], "2019-05-05T05:05:05Z");
    let mine = until(&rest, "/v1/conversations?sender=bob", |body| body["conversations"][0]["read_seq"] == 40).await;
    assert_eq!(mine["conversations"][0]["preferences"]["muted"], true);
    // Life goes on behind it, and the first thing that anybody was told is this.
    let sent = expect(rest.post("/v1/conversations/old/messages", json!({"sender": "bob", "text": "now"})).await, 201);
    assert_eq!(sent["seq"], 62);
    let told = within("the new message", async {
        loop {
            let frame = session.next().await.expect("an open session");
            if frame["type"] == "event" && frame["conversation"] == "old" {
                return frame;
            }
        }
    })
    .await;
    assert_eq!(told["event"]["seq"], 62, "{told}");
    // What was exported is what comes in elsewhere.
    let other = OtherTenant::create(&server).await;
    let there = Rest::new(&server, &other.server_key);
    let lines = export(&rest, "").await;
    expect(import(&there, &lines).await, 200);
    until(&there, "/v1/conversations?sender=bob", |body| body["conversations"][0]["read_seq"] == 40).await;
    let events = |lines: &[Value]| -> Vec<Value> {
        lines.iter().filter(|line| line.get("entry").is_some()).map(|line| line["entry"].clone()).collect()
    };
    let (mut here, there) = (events(&lines), events(&export(&there, "").await));
    for entry in &mut here {
        entry["event"]["imported"] = json!(true);
    }
    assert_eq!(here, there);
    // One user's export holds what is about that user only.
    let of_bob = export(&rest, "?user=bob").await;
    assert!(of_bob.iter().all(|line| line["entry"]["event"]["sender"].as_str().is_none_or(|sender| sender == "bob")));
    assert!(of_bob.len() >= 30, "{}", of_bob.len());
}

#[tokio::test]
async fn lines_of_enemies_are_refused_by_their_number() {
    let (server, rest) = tenant().await;
    expect(import(&rest, &[created("c", &["ann", "bob"]), message("c", 2, "ann", "hi")]).await, 200);
    let at = |seq: u64, time: &str| {
        entry("c", json!({"type": "message", "seq": seq, "sender": "ann", "time": time, "text": "x"}))
    };
    let long = "x".repeat(20_000);
    for (what, line, wanted) in [
        ("no item", json!({}), 400),
        ("no object", json!([1]), 400),
        ("an unknown item", json!({"tenant": {"id": "other"}}), 400),
        ("a gap", message("c", 4, "ann", "x"), 422),
        ("another message at a seq", message("c", 2, "ann", "other"), 409),
        ("another sender at a seq", message("c", 2, "bob", "hi"), 409),
        ("a time before the last one", at(3, "1999-01-01T00:00:00Z"), 422),
        ("a time of the future", at(3, "2999-01-01T00:00:00Z"), 400),
        ("a time before 1970", at(3, "1960-01-01T00:00:00Z"), 400),
        ("no time", entry("c", json!({"type": "message", "seq": 3, "sender": "ann", "text": "x"})), 400),
        ("a sender who never was there", message("c", 3, "eve", "x"), 422),
        ("a text that is too long", message("c", 3, "ann", &long), 413),
        ("no beginning", message("new", 1, "ann", "x"), 400),
        (
            "an event of a user's own log",
            entry("c", json!({"type": "tokens_revoked", "seq": 3, "time": "2020-01-02T00:00:00Z"})),
            400,
        ),
        ("a user's log", message("~ann", 1, "ann", "x"), 400),
        ("a mark beyond the end", json!({"membership": {"user": "bob", "conversation": "c", "read_seq": 99}}), 400),
        ("a side of somebody else", json!({"membership": {"user": "eve", "conversation": "c", "read_seq": 1}}), 404),
        ("a user without id", json!({"user": {"name": "x"}}), 400),
    ] {
        let (status, body) = import(&rest, &[json!({"user": {"id": "ann"}}), line]).await;
        assert_eq!(status, wanted, "{what}: {body}");
        assert!(body["detail"].as_str().is_some_and(|text| text.contains("item 2")), "{what}: {body}");
    }
    let huge = format!("{{\"user\":{{\"id\":\"ann\",\"name\":\"{}\"}}}}\n", "x".repeat(200_000));
    assert_eq!(rest.raw(Method::POST, "/v1/import", &[LINES], huge).await.0, 413);
    let deep = format!("{}\n", "[".repeat(100_000));
    assert_eq!(rest.raw(Method::POST, "/v1/import", &[LINES], deep).await.0, 400);
    assert_eq!(rest.raw(Method::POST, "/v1/import", &[("content-type", "text/plain")], "x").await.0, 400);
    // Another tenant's conversation is one of its own there.
    let other = OtherTenant::create(&server).await;
    let there = Rest::new(&server, &other.server_key);
    expect(import(&there, &[created("c", &["eve"]), message("c", 2, "eve", "mine")]).await, 200);
    let page = expect(rest.get("/v1/conversations/c/messages").await, 200);
    assert_eq!((&page["last_seq"], &page["messages"][1]["text"]), (&json!(2), &json!("hi")));
    let token = server.token("alice").to_owned();
    assert_eq!(import(&Rest::new(&server, &token), &[created("z", &["alice"])]).await.0, 403);
}

#[tokio::test]
async fn the_command_line_imports_goes_on_and_exports() {
    let (server, _) = tenant().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.ndjson");
    let mut lines: String = format!("{}\n", created("cli", &["ann", "bob"]));
    for number in 2..500 {
        // Without seqs: they are counted.
        let time = format!("2021-01-01T00:00:{:02}Z", number / 10);
        let event = json!({"type": "message", "sender": "bob", "time": time, "text": format!("n {number}")});
        lines.push_str(&format!("{}\n", entry("cli", event)));
    }
    lines = lines.replace("\"seq\":1,", "");
    std::fs::write(&file, &lines).expect("written");
    let run = |arguments: Vec<String>| {
        let mut command = binary();
        command.args(arguments).env("STONECHAT_URL", format!("http://{}", server.address));
        command.env("STONECHAT_KEY", &server.started.server_key);
        async move { within("the command", command.output()).await.expect("it runs") }
    };
    let path = file.to_string_lossy().into_owned();
    for arguments in [vec!["import".to_owned(), path.clone()], vec!["import".into(), "--resume".into(), path.clone()]] {
        let done = run(arguments).await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(String::from_utf8_lossy(&done.stdout).contains("499 entries"), "{done:?}");
    }
    let out = folder.path().join("out.ndjson").to_string_lossy().into_owned();
    let done = run(vec!["export".into(), "-o".into(), out.clone()]).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(out).expect("an export");
    assert_eq!(text.lines().filter(|line| line.contains("\"cli\"")).count(), 499);
    std::fs::write(&file, "{\"entry\":{}}\n").expect("written");
    assert_eq!(run(vec!["import".into(), path]).await.status.code(), Some(4));
}

/// Whether any file of a folder holds these bytes.
fn holds(folder: &std::path::Path, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holds(&path, wanted));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn an_erased_user_is_in_no_file_any_more() {
    let (server, rest) = tenant().await;
    let mut session = Session::open(server.address, server.token("bob"), "phone").await;
    let user = json!({"name": "Bob Confidentialname"});
    expect(rest.call(Method::PUT, "/v1/users/bob", Some(user)).await, 200);
    expect(
        rest.post("/v1/conversations", json!({"id": "team", "kind": "group", "members": ["alice", "bob"]})).await,
        201,
    );
    let path = "/v1/conversations/team/messages";
    let secret = "the-secret-words-of-bob";
    expect(rest.post(path, json!({"sender": "bob", "text": secret})).await, 201);
    expect(rest.post(path, json!({"sender": "alice", "text": "hello", "mentions": ["bob"]})).await, 201);
    let edit = json!({"sender": "bob", "text": "changed-secret-words-of-bob"});
    expect(rest.call(Method::PATCH, &format!("{path}/2"), Some(edit)).await, 200);
    let emoji = json!({"sender": "bob", "emoji": "secret-emoji-of-bob"});
    expect(rest.post(&format!("{path}/3/reactions"), emoji).await, 200);
    let edit = json!({"text": "tenants-words-in-bobs-place"});
    expect(rest.call(Method::PATCH, &format!("{path}/2"), Some(edit)).await, 200);
    expect(rest.post("/v1/conversations", json!({"kind": "direct", "members": ["alice", "bob"]})).await, 201);
    let draft = json!({"sender": "bob", "draft": "secret-draft-of-bob"});
    until(&rest, "/v1/conversations?sender=bob", |body| body["conversations"].as_array().map(Vec::len) == Some(2))
        .await;
    expect(rest.call(Method::PATCH, "/v1/conversations/team/preferences", Some(draft)).await, 200);
    expect(rest.post("/v1/conversations/team/read", json!({"sender": "bob", "read_seq": 3})).await, 200);

    let (status, body) = rest.call(Method::DELETE, "/v1/users/bob", None).await;
    assert_eq!(status, 202, "{body}");
    let work = until(&rest, "/v1/users/bob/erasure", |body| body["done"] == true).await;
    assert_eq!(work["conversations"], 2, "{work}");
    within("the end of the session", async {
        while session.next().await.is_some_and(|frame| frame.get("close").is_none()) {}
    })
    .await;

    let page = expect(rest.get(&format!("{path}?after=0")).await, 200);
    let events = page["messages"].as_array().expect("events").clone();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], place as u64 + 1, "seqs have no gap");
    }
    assert_eq!((&events[1]["erased"], &events[1]["text"], events[1].get("sender")), (&json!(true), &json!(""), None));
    assert_eq!((&events[2]["text"], events[2].get("mentions")), (&json!("hello"), None));
    assert!(events.iter().any(|event| event["type"] == "user_erased" && event["user"] == "bob"), "{page}");
    assert!(!page.to_string().contains("secret") && !page.to_string().contains("tenants-words"), "{page}");
    let members = expect(rest.get("/v1/conversations/team/members").await, 200);
    assert!(!members.to_string().contains("bob"), "{members}");
    let (status, body) = rest.call(Method::PUT, "/v1/users/bob", Some(json!({"name": "again"}))).await;
    assert_eq!(status, 422, "the id is not used again: {body}");
    // The log goes on, also behind a crash.
    assert_eq!(
        expect(rest.post(path, json!({"sender": "alice", "text": "on"})).await, 201)["seq"],
        events.len() as u64 + 1
    );

    let operator = Rest::operator(&server);
    expect(operator.post("/v1/storage/purge", json!({})).await, 200);
    assert!(!holds(server.data(), "hello").is_empty(), "what is not erased is found, or the search finds nothing");
    for words in [
        secret,
        "changed-secret-words-of-bob",
        "tenants-words-in-bobs-place",
        "secret-emoji-of-bob",
        "secret-draft-of-bob",
        "Bob Confidentialname",
    ] {
        assert_eq!(holds(server.data(), words), Vec::<String>::new(), "{words} is still there");
    }
}

#[tokio::test]
async fn a_deleted_tenant_leaves_no_row_and_others_go_on() {
    use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig};
    let (mut server, _) = tenant().await;
    let other = OtherTenant::create(&server).await;
    let there = Rest::new(&server, &other.server_key);
    let mut session = Session::open(server.address, &other.token("eve"), "phone").await;
    expect(there.call(Method::PUT, "/v1/users/eve", Some(json!({"name": "Eve"}))).await, 200);
    for id in ["one", "two"] {
        expect(
            there.post("/v1/conversations", json!({"id": id, "kind": "group", "members": ["eve", "mallory"]})).await,
            201,
        );
        let path = format!("/v1/conversations/{id}/messages");
        for text in ["a", "b"] {
            expect(there.post(&path, json!({"sender": "eve", "text": text})).await, 201);
        }
        expect(there.post(&format!("{path}/2/reactions"), json!({"sender": "mallory", "emoji": "👍"})).await, 200);
        expect(there.call(Method::PUT, &format!("{path}/2/pin"), Some(json!({}))).await, 200);
        expect(there.post(&format!("{path}/2/hide"), json!({"sender": "mallory"})).await, 200);
        expect(
            there.post(&format!("/v1/conversations/{id}/read"), json!({"sender": "mallory", "read_seq": 2})).await,
            200,
        );
    }
    until(&there, "/v1/conversations?sender=mallory", |body| body["conversations"].as_array().map(Vec::len) == Some(2))
        .await;
    let operator = Rest::operator(&server);
    assert_eq!(there.call(Method::DELETE, &format!("/v1/tenants/{}", other.id), None).await.0, 403);
    assert_eq!(operator.call(Method::DELETE, "/v1/tenants/none", None).await.0, 404);
    assert_eq!(
        expect(operator.call(Method::DELETE, &format!("/v1/tenants/{}", other.id), None).await, 202)["done"],
        false
    );
    assert_eq!(there.get("/v1/users/eve").await.0, 401, "its key is refused at once");
    within("the end of the session", async {
        while session.next().await.is_some_and(|frame| frame.get("close").is_none()) {}
    })
    .await;
    // It goes on after a crash.
    server.kill_and_restart().await;
    let rest = Rest::new(&server, &server.started.server_key.clone());
    let operator = Rest::operator(&server);
    let wish = json!({"id": "ours", "kind": "group", "members": ["alice", "bob"]});
    expect(rest.post("/v1/conversations", wish).await, 201);
    within("the deletion", async {
        while expect(operator.get(&format!("/v1/tenants/{}/deletion", other.id)).await, 200)["done"] != true {
            expect(rest.post("/v1/conversations/ours/messages", json!({"sender": "bob", "text": "on"})).await, 201);
        }
    })
    .await;
    assert_eq!(operator.get(&format!("/v1/tenants/{}", other.id)).await.0, 404);
    assert_eq!(
        operator.post("/v1/tenants", json!({"id": other.id, "name": "Again"})).await.0,
        409,
        "ids are not used again"
    );
    server.terminate().await;
    assert!(server.ended().await);
    let rows = EmbeddedRows::open(server.data(), EmbeddedRowsConfig::default()).expect("the rows");
    let (mut ours, mut left) = (0, Vec::new());
    rows.scan(|row| {
        let key: Vec<String> = row.key.parts.iter().map(|part| format!("{part:?}")).collect();
        let is_of = |tenant: &str| {
            row.key.parts.iter().any(|part| *part == tenant.into())
                || row.value.windows(tenant.len()).any(|window| window == tenant.as_bytes())
        };
        ours += usize::from(is_of("demo"));
        // What says that the id is taken.
        let stays = ["tenants", "jobs"].contains(&row.key.table.name)
            // What the operator did is the operator's to know.
            || (row.key.table.name == "audit" && row.key.text(0) == " every");
        if is_of(&other.id) && !stays {
            left.push(format!("{} {key:?}", row.key.table.name));
        }
    })
    .expect("a scan");
    assert_eq!(left, Vec::<String>::new());
    assert!(ours > 0, "the scan finds what is there");
}
