//! What tenants may use, and that one who wants more takes nothing from the others.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    data::import,
    support::{http::Rest, server::Server, session::Session, tenant::OtherTenant, within},
};

fn expect((status, body): (u16, Value), wanted: u16) -> Value {
    assert_eq!(status, wanted, "{body}");
    body
}

async fn give(server: &Server, tenant: &str, quotas: Value) {
    let operator = Rest::operator(server);
    expect(operator.call(Method::PATCH, &format!("/v1/tenants/{tenant}/quotas"), Some(quotas)).await, 200);
}

#[tokio::test]
async fn many_at_once_never_make_more_users_than_the_quota() {
    let server = Server::start().await;
    give(&server, "demo", json!({"users": 7})).await;
    let rest = Rest::new(&server, &server.started.server_key);
    let make = |n: usize| {
        let rest = &rest;
        // Each user twice, at once.
        async move { rest.call(Method::PUT, &format!("/v1/users/u{}", n / 2), Some(json!({"name": "x"}))).await }
    };
    let answers = within("answers", futures::future::join_all((0..40).map(make))).await;
    for (status, body) in &answers {
        let refused = (*status, body["code"].as_str()) == (422, Some("limit_exceeded"));
        assert!(*status == 200 || refused, "{status} {body}");
    }
    // Of those who come for one user at once each counts for a moment; then there is room for as many as the quota says.
    for n in 100..107 {
        rest.call(Method::PUT, &format!("/v1/users/u{n}"), Some(json!({"name": "x"}))).await;
    }
    let users = expect(rest.get("/v1/users").await, 200);
    assert_eq!(users["users"].as_array().expect("users").len(), 7, "{users}");
    // Who is there already may change.
    let known = users["users"][0]["id"].as_str().expect("an id").to_owned();
    expect(rest.call(Method::PUT, &format!("/v1/users/{known}"), Some(json!({"name": "y"}))).await, 200);
}

#[tokio::test]
async fn an_import_makes_no_more_users_than_the_quota() {
    let server = Server::start().await;
    give(&server, "demo", json!({"users": 3})).await;
    let rest = Rest::new(&server, &server.started.server_key);
    let user = |id: &str| json!({"user": {"id": id, "name": "x"}});
    let (status, body) = import(&rest, &["a", "b", "a"].map(user)).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = import(&rest, &["a", "c", "d", "e"].map(user)).await;
    assert_eq!((status, body["code"].as_str()), (422, Some("limit_exceeded")), "{body}");
    assert!(body["detail"].as_str().is_some_and(|it| it.starts_with("item 3:")), "it says where: {body}");
    let users = expect(rest.get("/v1/users").await, 200);
    let mut ids: Vec<&str> =
        users["users"].as_array().expect("users").iter().filter_map(|it| it["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c"], "what stands before it is there");
    // An import that is sent again takes no second seat.
    let (status, body) = import(&rest, &["a", "b", "c"].map(user)).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_used_up_budget_is_told_and_is_nobody_elses() {
    let server = Server::start().await;
    let other = OtherTenant::create(&server).await;
    give(&server, "demo", json!({"api_requests_per_s": 1, "sends_per_s": 100})).await;
    let rest = Rest::new(&server, &server.started.server_key);
    let mut refused = None;
    for _ in 0..10 {
        let (status, headers, body) = rest.raw(Method::GET, "/v1/users", &[], "").await;
        let left = headers["ratelimit"].to_str().expect("text").to_owned();
        let policies = headers["ratelimit-policy"].to_str().expect("text");
        assert!(left.starts_with('"') && left.contains(";r=") && left.contains(";t="), "{left}");
        assert!(status == 429 || policies.contains("\"api\";q=2;w=2"), "{policies}");
        if status == 429 {
            refused = Some((headers, body));
            break;
        }
    }
    let (headers, body) = refused.expect("a refusal after twice the quota");
    assert_eq!(body["code"], "rate_limited", "{body}");
    let wait: u64 = headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    // Sending has a budget of its own: the answer is about the conversation, not about the rate.
    let sent = rest.post("/v1/conversations/nowhere/messages", json!({"text": "x"})).await;
    assert_eq!(expect(sent, 404)["code"], "not_found");
    expect(Rest::new(&server, &other.server_key).get("/v1/users").await, 200);
}

#[tokio::test]
async fn connections_and_sends_of_clients_are_bound_as_well() {
    let server = Server::start().await;
    give(&server, "demo", json!({"connections": 2, "sends_per_s": 1})).await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let bob = Session::open(server.address, server.token("bob"), "phone").await;
    let mut third = Session::hello(server.address, server.token("bob"), "tablet").await;
    assert_eq!(third.until_where(|_| false).await["close"], 4013);
    drop(bob);
    let chat = alice.group("quota", &["bob"]).await;
    let mut answers = Vec::new();
    for n in 0..10 {
        answers.push(alice.send(&chat, &format!("{n}")).await);
    }
    let refused = answers.iter().find(|answer| answer["type"] == "error").expect("a refusal");
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{refused}");
    assert_eq!(answers[0]["type"], "ack", "{}", answers[0]);
}

#[tokio::test]
async fn what_was_used_can_be_read_day_by_day() {
    let mut server = Server::start().await;
    let rest = Rest::new(&server, &server.started.server_key);
    let chat = json!({"id": "used", "kind": "group", "members": ["alice", "bob"]});
    expect(rest.post("/v1/conversations", chat).await, 201);
    expect(rest.post("/v1/conversations/used/messages", json!({"sender": "alice", "text": "x"})).await, 201);
    expect(rest.call(Method::PUT, "/v1/users/alice", Some(json!({"name": "Alice"}))).await, 200);
    let operator = Rest::operator(&server);
    let mut usage = Value::Null;
    within("usage", async {
        while usage["days"][0]["sends"] != 1 {
            usage = expect(operator.get("/v1/tenants/demo/usage").await, 200);
            crate::support::look_again().await;
        }
    })
    .await;
    assert_eq!(usage["users"], 1, "{usage}");
    assert!(usage["days"][0]["api_requests"].as_u64().is_some_and(|n| n >= 3), "{usage}");
    for query in ["from=yesterday", "from=2026-01-02&until=2026-01-01", "from=2000-01-01"] {
        assert_eq!(operator.get(&format!("/v1/tenants/demo/usage?{query}")).await.0, 400, "{query}");
    }
    server.terminate().await;
    assert!(server.ended().await);
}

/// How long each part of the measurement takes.
const MEASURED: Duration = Duration::from_secs(8);
/// Requests of the quiet tenant in a second.
const QUIET_PER_S: u32 = 100;
/// The quota of the loud tenant, and how many times that it asks for.
const QUOTA_PER_S: u32 = 20;
const TIMES: u32 = 50;

/// Asks at a steady rate for a while; gives how long answers took, sorted, and how many were 429.
async fn steadily(rest: &Rest, per_s: u32, time: Duration) -> (Vec<Duration>, usize) {
    let mut every = tokio::time::interval(Duration::from_secs(1) / per_s);
    let began = Instant::now();
    let mut running = futures::stream::FuturesUnordered::new();
    let (mut took, mut refused) = (Vec::new(), 0);
    let mut note = |(elapsed, status): (Duration, u16)| {
        took.push(elapsed);
        refused += usize::from(status == 429);
    };
    while began.elapsed() < time {
        tokio::select! {
            _ = every.tick() => running.push(async {
                let asked = Instant::now();
                let (status, _) = rest.get("/v1/users?page_size=1").await;
                (asked.elapsed(), status)
            }),
            Some(done) = running.next() => note(done),
        }
    }
    while let Some(done) = running.next().await {
        note(done);
    }
    took.sort_unstable();
    (took, refused)
}

fn p99(took: &[Duration]) -> Duration {
    took[(took.len() * 99 / 100).min(took.len() - 1)]
}

/// Measures, on a machine with nothing else to do: `cargo test --release -p stonechat --test product -- --ignored
/// --nocapture a_tenant_at_fifty_times`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
async fn a_tenant_at_fifty_times_its_quota_leaves_the_others_p99_alone() {
    let server = Server::start().await;
    let other = OtherTenant::create(&server).await;
    give(&server, "demo", json!({"api_requests_per_s": QUOTA_PER_S})).await;
    let loud = Rest::new(&server, &server.started.server_key);
    let quiet = Rest::new(&server, &other.server_key);
    steadily(&quiet, QUIET_PER_S, Duration::from_secs(2)).await;
    for round in 0..3 {
        let (alone, _) = steadily(&quiet, QUIET_PER_S, MEASURED).await;
        let beside = steadily(&loud, QUOTA_PER_S * TIMES, MEASURED);
        let ((together, _), (flood, refused)) = tokio::join!(steadily(&quiet, QUIET_PER_S, MEASURED), beside);
        let (before, after) = (p99(&alone), p99(&together));
        eprintln!(
            "round {round}: alone p50 {:?} p99 {before:?}; beside {} requests ({refused} refused) p50 {:?} p99 {after:?}",
            alone[alone.len() / 2],
            flood.len(),
            together[together.len() / 2],
        );
        assert!(refused * 10 > flood.len() * 9, "only {refused} of {} were refused", flood.len());
    }
}
