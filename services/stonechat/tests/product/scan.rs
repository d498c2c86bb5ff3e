//! Files under a real clamd with a signature of our own. `make test-backends` runs it.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use stonechat_backends::clamd::Clamd;

use super::files::upload;
use crate::support::{http::Rest, server::Server};

const SIGNATURE: &str = "stonechat test signature 7be2a9";
/// A scan of a process that was killed is done again after a minute.
const PATIENCE: Duration = Duration::from_secs(180);

fn path(file: &Value, more: &str) -> String {
    format!("/v1/files/{}{more}", file["id"].as_str().expect("an id"))
}

async fn until_status(rest: &Rest, file: &Value, status: &str) {
    let reached = async {
        while rest.get(&path(file, "/info")).await.1["status"] != status {
            crate::support::look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{file} is never {status}"));
}

async fn send(rest: &Rest, file: &Value) -> (u16, Value) {
    let message = json!({"text": "look", "attachments": [{"id": file["id"]}]});
    rest.post("/v1/conversations/scanned/messages", message).await
}

#[tokio::test]
#[ignore = "needs clamd: make test-backends"]
async fn a_file_is_fetched_and_sent_only_when_clamd_says_that_it_is_clean() {
    let mut clamd = Clamd::start(&[("Stonechat.Test", SIGNATURE)]).await.expect("clamd");
    let mut server = Server::start_with(&[
        ("STONECHAT_FILES__CLAMD", &clamd.address()),
        ("STONECHAT_FILES__CLAMD_MAX_BYTES", "10000000"),
        ("STONECHAT_FILES__CLAMD_TIMEOUT_MS", "5000"),
    ])
    .await;
    let alice = Rest::new(&server, server.token("alice"));
    let bob = Rest::new(&server, server.token("bob"));
    let made = alice.post("/v1/conversations", json!({"id": "scanned", "kind": "group", "members": ["alice", "bob"]}));
    assert_eq!(made.await.0, 201);

    let clean = upload(&alice, "clean.txt", "hello").await;
    until_status(&alice, &clean, "ready").await;
    assert_eq!(send(&alice, &clean).await.0, 201);
    assert_eq!(bob.get(&path(&clean, "")).await, (200, Value::String("hello".to_owned())));

    let infected = upload(&alice, "bad.txt", format!("before {SIGNATURE} after")).await;
    until_status(&alice, &infected, "infected").await;
    assert_eq!(alice.get(&path(&infected, "")).await.0, 422);
    assert_eq!(alice.post(&path(&infected, "/link"), json!({})).await.0, 422);
    assert_eq!(send(&alice, &infected).await.0, 422);
    assert_eq!(bob.get(&path(&infected, "/info")).await.0, 404);
    let (status, _, refused) = alice.raw(Method::POST, "/v1/files?name=large.bin", &[], vec![0; 10_000_001]).await;
    assert_eq!(status, 413, "{refused}");

    // It stands still: files wait, their owner knows, nobody else does.
    clamd.pause();
    let waiting = upload(&alice, "later.txt", format!("later {SIGNATURE}")).await;
    let other = upload(&alice, "other.txt", "clean after all").await;
    for file in [&waiting, &other] {
        assert_eq!(file["status"], "scanning");
        assert_eq!(alice.get(&path(file, "")).await.0, 503);
        assert_eq!(alice.post(&path(file, "/link"), json!({})).await.0, 503);
        assert_eq!(bob.get(&path(file, "/info")).await.0, 404);
        assert_eq!(send(&alice, file).await.0, 503);
    }
    server.kill_and_restart().await;
    clamd.kill();
    clamd.restart().await.expect("clamd again");
    let alice = Rest::new(&server, server.token("alice"));
    until_status(&alice, &other, "ready").await;
    until_status(&alice, &waiting, "infected").await;
    assert_eq!(send(&alice, &other).await.0, 201);
    assert_eq!(send(&alice, &waiting).await.0, 422);
}
