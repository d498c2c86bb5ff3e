//! Events for who pulls them, as a tenant without a public URL meets them.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::{
    support::{
        http::Rest,
        server::{Server, binary},
        tenant::OtherTenant,
        within,
    },
    webhooks::Receiver,
};

/// Text of server-sent events as its last id and the data of its events.
fn parsed(stream: &Value) -> (String, Vec<Value>) {
    let text = stream.as_str().unwrap_or_else(|| panic!("no stream: {stream}"));
    let (mut id, mut events) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(last) = line.strip_prefix("id: ") {
            last.clone_into(&mut id);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            events.push(serde_json::from_str(data).expect("JSON"));
        }
    }
    (id, events)
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|it| it["body"]["data"]["event"]["seq"].as_u64().expect("a seq")).collect()
}

/// Somebody who pulls.
struct Puller<'a> {
    rest: &'a Rest,
    query: &'a str,
    cursor: String,
}

impl<'a> Puller<'a> {
    async fn begin(rest: &'a Rest, query: &'a str) -> Self {
        let mut puller = Self { rest, query, cursor: String::new() };
        assert_eq!(puller.pull().await.len(), 0, "nothing happened since");
        puller
    }

    /// Everything there is.
    async fn pull(&mut self) -> Vec<Value> {
        let path = format!("/v1/events?once=true{}", self.query);
        let last = [("last-event-id", self.cursor.as_str())];
        let (status, headers, body) = self.rest.raw(Method::GET, &path, &last, "").await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(headers["content-type"], "text/event-stream");
        let (cursor, events) = parsed(&body);
        self.cursor = cursor;
        events
    }

    async fn until(&mut self, count: usize) -> Vec<Value> {
        within("events", async {
            let mut events = Vec::new();
            while events.len() < count {
                events.extend(self.pull().await);
            }
            events
        })
        .await
    }
}

async fn say(rest: &Rest, count: usize) {
    for _ in 0..count {
        let said = json!({"sender": "alice", "text": "hi"});
        assert_eq!(rest.post("/v1/conversations/team/messages", said).await.0, 201);
    }
}

/// Makes a conversation, and waits until that is in what is pulled, where it comes beside everything else: whoever begins
/// after this has it behind.
async fn make_team(rest: &Rest) {
    let mut before = Puller::begin(rest, "").await;
    let group = json!({"id": "team", "kind": "group", "members": ["alice", "bob"]});
    assert_eq!(rest.post("/v1/conversations", group).await.0, 201);
    assert_eq!(seqs(&before.until(1).await), [1]);
}

#[tokio::test]
async fn who_pulls_gets_every_event_once_from_its_cursor_on() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    make_team(&rest).await;
    let mut all = Puller::begin(&rest, "").await;
    let mut reactions = Puller::begin(&rest, "&events=reaction.*").await;
    say(&rest, 3).await;
    let first = all.until(3).await;
    assert_eq!(seqs(&first), [2, 3, 4]);
    assert_eq!(first[0]["type"], "message.created");
    assert_eq!(first[0]["body"]["data"]["conversation"], "team");
    let react = json!({"sender": "bob", "emoji": "👍"});
    let reacted = rest.post("/v1/conversations/team/messages/2/reactions", react).await;
    assert!((200..300).contains(&reacted.0), "{}", reacted.1);
    assert_eq!(seqs(&all.until(1).await), [5], "and nothing again");
    assert_eq!(seqs(&reactions.until(1).await), [5], "nothing else is wanted");
    // Whoever did not keep the last cursor gets what came after the one it kept.
    let kept = first[0]["cursor"].as_str().expect("a cursor").to_owned();
    let mut again = Puller { rest: &rest, query: "", cursor: kept };
    let repeated = again.until(3).await;
    assert_eq!(seqs(&repeated), [3, 4, 5]);
    assert_eq!(repeated[0]["id"], first[1]["id"]);
}

#[tokio::test]
async fn the_cursor_counts_after_a_crash() {
    let mut server = Server::start().await;
    let key = server.started.server_key.clone();
    let rest = Rest::new(&server, &key);
    make_team(&rest).await;
    let mut puller = Puller::begin(&rest, "").await;
    say(&rest, 1).await;
    assert_eq!(seqs(&puller.until(1).await), [2]);
    let cursor = puller.cursor.clone();
    say(&rest, 2).await;
    server.kill_and_restart().await;
    let rest = Rest::new(&server, &key);
    say(&rest, 1).await;
    let mut puller = Puller { rest: &rest, query: "", cursor };
    assert_eq!(seqs(&puller.until(3).await), [3, 4, 5]);
}

#[tokio::test]
async fn events_are_the_tenants_servers_only() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    make_team(&rest).await;
    let other = OtherTenant::create(&server).await;
    let stranger = Rest::new(&server, &other.server_key);
    let mut theirs = Puller::begin(&stranger, "").await;
    let mut ours = Puller::begin(&rest, "").await;
    say(&rest, 1).await;
    assert_eq!(ours.until(1).await.len(), 1);
    // With the other tenant's cursor as well.
    theirs.cursor.clone_from(&ours.cursor);
    assert_eq!(theirs.pull().await.len(), 0);
    let alice = Rest::new(&server, server.token("alice"));
    assert_eq!(alice.get("/v1/events?once=true").await.0, 403);
    assert_eq!(Rest::new(&server, "").get("/v1/events?once=true").await.0, 401);
    for query in ["cursor=nonsense", "cursor=AAAA", "events=weather.changed"] {
        assert_eq!(rest.get(&format!("/v1/events?once=true&{query}")).await.0, 400, "{query}");
    }
}

/// Somebody's `stonechat listen --forward-to`.
async fn listen(server: &Server, key: &str, to: &str, secret: &str) -> Child {
    let mut command = binary();
    command.args(["listen", "--forward-to", to, "--key", key, "--url", server.started.url.as_str()]);
    command.args(["--events", "message.*", "--secret", secret]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("STONECHAT_HOME", server.folder().unwrap_or(&std::env::temp_dir()));
    command.spawn().expect("run the binary")
}

#[tokio::test]
async fn listen_sends_events_on_signed_as_webhooks_are_until_the_key_is_disabled() {
    let server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    make_team(&rest).await;
    let operator = Rest::operator(&server);
    let path = format!("/v1/tenants/{}/keys", server.started.tenant);
    let (status, key) = operator.post(&path, json!({"kind": "server", "name": "events", "scopes": ["read"]})).await;
    assert!((200..300).contains(&status), "{key}");
    let secret = "whsec_b25lIHNlY3JldCBmb3IgdGVzdHMgb25seSE=";
    let (receiver, url) = Receiver::start().await;
    let text = |name: &str| key[name].as_str().expect("a text").to_owned();
    let mut child = listen(&server, &text("secret"), &format!("{url}/later"), secret).await;
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = within("first line", said.next_line()).await.expect("text").expect("a line");
    assert!(first.contains(secret), "{first}");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // It begins when it is connected, which nothing tells: what is sent until then it does not get.
    let sending = async {
        loop {
            say(&rest, 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let line = tokio::select! {
        () = sending => unreachable!("goes on for ever"),
        line = within("a delivery", lines.next_line()) => line.expect("text").expect("a line"),
    };
    assert!(line.starts_with("message.created evt_") && line.ends_with("429"), "{line}");
    // The receiver refused the first one; it comes again.
    let got = receiver.wait("later", 2).await;
    assert_eq!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
    let theirs = standardwebhooks::Webhook::new(secret).expect("a secret");
    assert!(theirs.verify(&got[1].body, &got[1].headers).is_ok());
    assert!(theirs.verify(&got[1].body[1..], &got[1].headers).is_err());

    let disabled = Instant::now();
    let path = format!("{path}/{}/disable", text("id"));
    let (status, body) = operator.post(&path, json!({})).await;
    assert!((200..300).contains(&status), "{body}");
    let ended = within("the end of listening", child.wait()).await.expect("an exit");
    assert_eq!(ended.code(), Some(4), "refused, {:?} after the key was disabled", disabled.elapsed());
}
