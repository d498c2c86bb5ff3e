//! Messages with files, from the upload to what becomes of them.

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    files::{PIXEL, upload},
    support::{http::Rest, server::Server, token, within},
};

struct World {
    server: Server,
    tenant: Rest,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let tenant = Rest::new(&server, &server.started.server_key);
        Self { server, tenant }
    }

    fn user(&self, name: &str) -> Rest {
        Rest::new(&self.server, &token::good(&self.server.started, name))
    }

    async fn group(&self, id: &str, members: &[&str]) -> String {
        let wish = json!({"id": id, "kind": "group", "members": members});
        assert_eq!(self.tenant.post("/v1/conversations", wish).await.0, 201);
        format!("/v1/conversations/{id}/messages")
    }
}

async fn send(rest: &Rest, messages: &str, file: &str) -> (u16, Value) {
    rest.post(messages, json!({"text": "see", "attachments": [{"id": file, "size_bytes": 99}]})).await
}

/// Whether somebody gets a file, within a second.
async fn comes_to(rest: &Rest, url: &str, wanted: u16) {
    within("access", async {
        while rest.bytes(Method::GET, url, &[]).await.0 != wanted {
            crate::support::look_again().await;
        }
    })
    .await;
}

#[tokio::test]
async fn access_to_a_file_follows_the_messages_that_show_it() {
    let world = World::new().await;
    let (alice, bob, carol, mallory) =
        (world.user("alice"), world.user("bob"), world.user("carol"), world.user("mallory"));
    let team = world.group("team", &["alice", "bob"]).await;
    let other = world.group("other", &["bob", "carol"]).await;
    let file = upload(&alice, "cat.png", PIXEL).await;
    let (id, url) = (file["id"].as_str().unwrap().to_owned(), file["url"].as_str().unwrap().to_owned());
    let status = async |rest: &Rest| rest.bytes(Method::GET, &url, &[]).await.0;

    assert_eq!(status(&bob).await, 404, "nobody showed it to bob");
    assert_eq!(send(&bob, &other, &id).await.0, 404, "nor may bob show it");
    let (code, sent) = send(&alice, &team, &id).await;
    assert_eq!(code, 201, "{sent}");
    assert_eq!((status(&bob).await, status(&mallory).await, status(&carol).await), (200, 404, 404));
    let (_, page) = bob.get(&team).await;
    let shown = &page["messages"][1]["attachments"][0];
    for name in ["id", "name", "content_type", "size_bytes", "width", "height", "blurhash", "url"] {
        assert_eq!(shown[name], file[name], "{name} in {shown}");
    }
    let thumbnail = shown["thumbnails"][0]["url"].as_str().expect("a thumbnail").to_owned();
    assert_eq!(bob.bytes(Method::GET, &thumbnail, &[]).await.0, 200);
    assert_eq!(mallory.bytes(Method::GET, &thumbnail, &[]).await.0, 404);

    // Passed on, it is had through the other message too, also by who cannot see the first one.
    assert_eq!(send(&bob, &other, &id).await.0, 201);
    assert_eq!(status(&carol).await, 200);
    let removed = alice.call(Method::DELETE, "/v1/conversations/team/members/bob", None).await;
    assert!(removed.0 < 300, "{removed:?}");
    let (_, page) = carol.get(&other).await;
    let seq = page["messages"][1]["seq"].as_u64().unwrap();
    let recalled = bob.call(Method::DELETE, &format!("{other}/{seq}"), None).await;
    assert!(recalled.0 < 300, "{recalled:?}");
    comes_to(&carol, &url, 404).await;
    comes_to(&bob, &url, 404).await;
    comes_to(&bob, &thumbnail, 404).await;
    assert_eq!(status(&alice).await, 200, "it is alice's own");
    let (_, page) = carol.get(&other).await;
    let event = &page["messages"][2];
    assert_eq!((&event["type"], &event["dropped_files"]), (&json!("recalled"), &json!([{"seq": seq, "file": id}])));
    assert_eq!(page["messages"][1]["attachments"], Value::Null);
}

#[tokio::test]
async fn who_was_removed_has_the_file_no_more_from_the_answer_on() {
    let world = World::new().await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let team = world.group("team", &["alice", "bob"]).await;
    let file = upload(&alice, "cat.png", PIXEL).await;
    let url = file["url"].as_str().unwrap().to_owned();
    assert_eq!(send(&alice, &team, file["id"].as_str().unwrap()).await.0, 201);
    let link = bob.post(&format!("{url}/link"), json!({})).await;
    let link = link.1["url"].as_str().expect("a link").to_owned();
    let nobody = Rest::new(&world.server, "");
    let status = async |rest: &Rest, url: &str| rest.bytes(Method::GET, url, &[]).await.0;
    assert_eq!((status(&bob, &url).await, status(&nobody, &link).await), (200, 200));
    let removed = alice.call(Method::DELETE, "/v1/conversations/team/members/bob", None).await;
    assert!(removed.0 < 300, "{removed:?}");
    // At once: nothing is waited for.
    assert_eq!((status(&bob, &url).await, status(&nobody, &link).await), (404, 404));
    assert_eq!(status(&alice, &url).await, 200);
}

#[tokio::test]
async fn a_message_sent_again_is_answered_as_before_though_its_file_is_gone() {
    let world = World::new().await;
    let alice = world.user("alice");
    let team = world.group("team", &["alice", "bob"]).await;
    let file = upload(&alice, "a.txt", "hello").await;
    let message = |text: &str| json!({"text": text, "client_id": "0190b2a4-5ad4-4f0e-8c8e-2f6f8a7d4c11", "attachments": [{"id": file["id"]}]});
    let (code, sent) = alice.post(&team, message("see")).await;
    assert_eq!(code, 201, "{sent}");
    assert_eq!(alice.call(Method::DELETE, file["url"].as_str().unwrap(), None).await.0, 200);
    let (_, again) = alice.post(&team, message("see")).await;
    assert_eq!(again["seq"], sent["seq"], "{again}");
    assert_eq!(alice.post(&team, message("other")).await.0, 409);
    assert_eq!(send(&alice, &team, file["id"].as_str().unwrap()).await.0, 404);
    assert_eq!(send(&world.tenant, &team, "no/file").await.0, 404);
}
