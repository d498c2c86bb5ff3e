//! For how long a tenant keeps messages.

use hyper::Method;
use serde_json::{Value, json};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    data::{entry, expect, export, import, tenant, until},
    support::{http::Rest, server::Server, session::Session, tenant::OtherTenant, within},
};

/// The time so many days ago.
fn days_ago(days: i64) -> String {
    let now = stonechat_model::now_us() / 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp(now - days * 86_400).expect("a time");
    at.format(&Rfc3339).expect("RFC 3339")
}

/// Has the operator say for how many days messages are kept.
async fn keep_for(server: &Server, days: u32) {
    let path = format!("/v1/tenants/{}", server.started.tenant);
    let change = json!({"message_retention_days": days});
    expect(Rest::operator(server).call(Method::PATCH, &path, Some(change)).await, 200);
}

#[tokio::test]
async fn what_is_older_than_a_tenant_keeps_messages_says_nothing_any_more() {
    let (server, rest) = tenant().await;
    let mut session = Session::open(server.address, server.token("bob"), "phone").await;
    let members = json!([{"user": "alice", "role": "owner"}, {"user": "bob", "role": "member"}]);
    let created = json!({"type": "created", "seq": 1, "time": days_ago(9), "kind": "group", "members": members});
    let mut lines = vec![entry("team", created)];
    // More than one command takes out, and more than a page holds.
    let old = 2..=701;
    lines.extend(old.clone().map(|seq| {
        let text = format!("words-of-long-ago {seq}");
        let time = days_ago(if seq < 400 { 8 } else { 4 });
        entry("team", json!({"type": "message", "seq": seq, "sender": "bob", "time": time, "text": text}))
    }));
    let said = |seq: u64, days: i64, text: &str| {
        entry("team", json!({"type": "message", "seq": seq, "sender": "alice", "time": days_ago(days), "text": text}))
    };
    lines.push(said(702, 1, "words-of-yesterday"));
    let (status, body) = import(&rest, &lines).await;
    assert_eq!(status, 200, "{body}");
    let path = "/v1/conversations/team/messages";
    expect(rest.call(Method::PUT, &format!("{path}/3/pin"), Some(json!({"sender": "alice"}))).await, 200);
    let edit = json!({"sender": "bob", "text": "changed-today"});
    expect(rest.call(Method::PATCH, &format!("{path}/4"), Some(edit)).await, 200);
    expect(rest.post(&format!("{path}/702/reactions"), json!({"sender": "bob", "emoji": "👍"})).await, 200);

    let is_gone = |page: &Value| page["messages"][0]["erased"] == true;
    keep_for(&server, 6).await;
    until(&rest, &format!("{path}?after=398&page_size=1"), is_gone).await;
    let kept = expect(rest.get(&format!("{path}?after=399&page_size=1")).await, 200);
    assert_eq!(kept["messages"][0]["text"], "words-of-long-ago 400", "four days are not six");
    // What was there was looked through; fewer days take out what is left.
    keep_for(&server, 2).await;
    until(&rest, &format!("{path}?after=700&page_size=1"), is_gone).await;

    let mut told = 0;
    within("what expired, told to who is there", async {
        while told < old.clone().count() {
            let frame = session.next().await.expect("the session goes on");
            let event = &frame["event"];
            if event["type"] == "messages_expired" {
                told += event["targets"].as_array().map_or(0, Vec::len);
            }
        }
    })
    .await;
    let page = expect(rest.get(&format!("{path}?after=0&page_size=10")).await, 200);
    let first = page["messages"].as_array().expect("events");
    for (place, event) in first.iter().enumerate() {
        assert_eq!(event["seq"], place as u64 + 1, "seqs have no gap");
    }
    assert_eq!((first[0]["type"].as_str(), first[1].get("sender")), (Some("created"), None), "{page}");
    let newest = expect(rest.get(&format!("{path}?after=701")).await, 200);
    assert_eq!(newest["messages"][0]["text"], "words-of-yesterday");
    assert!(!newest.to_string().contains("changed-today"), "an edit outlives no message: {newest}");
    assert_eq!(expect(rest.get("/v1/conversations/team/pinned").await, 200)["messages"], json!([]));
    expect(rest.post(path, json!({"sender": "bob", "text": "life goes on"})).await, 201);

    // It goes out and in again as it is.
    let mut lines = export(&rest, "").await;
    for entry in lines.iter_mut().filter_map(|line| line.get_mut("entry")) {
        entry["event"]["imported"] = json!(true);
    }
    let other = OtherTenant::create(&server).await;
    let there = Rest::new(&server, &other.server_key);
    let (status, body) = import(&there, &lines).await;
    assert_eq!(status, 200, "{body}");
    let again = export(&there, "").await;
    assert_eq!(lines, again);
}

#[tokio::test]
async fn what_expired_is_in_no_row_any_more() {
    let (mut server, rest) = tenant().await;
    let members = json!([{"user": "alice", "role": "owner"}]);
    let lines = [
        json!({"type": "created", "seq": 1, "time": days_ago(9), "kind": "group", "members": members}),
        json!({"type": "message", "seq": 2, "sender": "alice", "time": days_ago(8), "text": "words-of-long-ago"}),
        json!({"type": "edited", "seq": 3, "sender": "alice", "time": days_ago(8), "target": 2,
            "content": {"text": "changed words-of-long-ago"}}),
        json!({"type": "message", "seq": 4, "sender": "alice", "time": days_ago(0), "text": "words-of-today"}),
    ];
    let (status, body) = import(&rest, &lines.map(|event| entry("team", event))).await;
    assert_eq!(status, 200, "{body}");
    keep_for(&server, 2).await;
    until(&rest, "/v1/conversations/team/messages?after=2&page_size=1", |page| page["messages"][0]["erased"] == true)
        .await;
    server.terminate().await;
    assert!(server.ended().await);
    let rows = EmbeddedRows::open(server.data(), EmbeddedRowsConfig::default()).expect("the rows");
    let (mut kept, mut left) = (0, Vec::new());
    rows.scan(|row| {
        let holds = |words: &str| row.value.windows(words.len()).any(|window| window == words.as_bytes());
        kept += usize::from(holds("words-of-today"));
        // The stream keeps copies for some days.
        if holds("words-of-long-ago") && row.key.table.name != "stream" {
            left.push(format!("{:?}", row.key));
        }
    })
    .expect("a scan");
    assert_eq!(left, Vec::<String>::new());
    assert!(kept > 0, "the scan finds what is there");
}
