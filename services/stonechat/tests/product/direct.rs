//! Large files that clients fetch from the store itself, on a real one that speaks S3. `make test-backends` runs it, but for
//! what needs no store.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Method, Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use stonechat_backends::s3::{ACCESS_KEY, S3, SECRET_KEY};

use super::files::upload;
use crate::support::{
    http::Rest,
    server::{OPERATOR_KEY, Server},
    tenant::OtherTenant,
    within,
};

const BUCKET: &str = "files";
/// How long links are good in these tests where they are not to expire, in seconds.
const LASTING: &str = "3600";

async fn store() -> S3 {
    let store = S3::start().await.expect("a store");
    store.make_bucket(BUCKET).expect("a bucket");
    store
}

async fn server(store: &S3, link_s: &str) -> Server {
    Server::start_with(&[
        ("STONECHAT_FILES__STORE", "s3"),
        ("STONECHAT_FILES__DIRECT_LINK_S", link_s),
        ("STONECHAT_S3__ENDPOINT", &store.endpoint()),
        ("STONECHAT_S3__BUCKET", BUCKET),
        ("STONECHAT_S3__REGION", "us-east-1"),
        ("STONECHAT_S3__ACCESS_KEY", ACCESS_KEY),
        ("STONECHAT_S3__SECRET_KEY", SECRET_KEY),
    ])
    .await
}

async fn allow(server: &Server, tenant: &str, is_allowed: bool) -> (u16, Value) {
    let operator = Rest::new(server, OPERATOR_KEY);
    let change = json!({"direct_downloads": is_allowed});
    operator.call(Method::PATCH, &format!("/v1/tenants/{tenant}"), Some(change)).await
}

fn content(seed: u8) -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at / 5).to_le_bytes()[0] ^ seed).collect()
}

fn path(file: &Value) -> String {
    format!("/v1/files/{}", file["id"].as_str().expect("an id"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Where the caller is sent for a file; `None` where it is given by the server.
async fn sent_to(rest: &Rest, path: &str) -> Option<String> {
    let (status, headers, body) = rest.bytes(Method::GET, path, &[]).await;
    match status {
        307 => {
            assert_eq!((header(&headers, "cache-control"), body.len()), ("no-store", 0));
            Some(header(&headers, "location").to_owned())
        }
        200 => None,
        _ => panic!("{path}: {status}"),
    }
}

async fn until_sent(rest: &Rest, path: &str) -> String {
    within("an object of the file", async {
        loop {
            if let Some(link) = sent_to(rest, path).await {
                return link;
            }
            crate::support::look_again().await;
        }
    })
    .await
}

/// What anybody gets from the store.
async fn fetch(link: &str, range: Option<&str>) -> (u16, HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut request = Request::builder().uri(link);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = client.request(request.body(Empty::new()).expect("a request"));
    let (parts, body) = within("answer", answer).await.expect("an answer").into_parts();
    let bytes = within("body", body.collect()).await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, bytes)
}

#[tokio::test]
async fn direct_downloads_are_refused_where_clients_cannot_reach_the_store() {
    let server = Server::start().await;
    let (status, refused) = allow(&server, "demo", true).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("failed_precondition")), "{refused}");
    let (status, tenant) = allow(&server, "demo", false).await;
    assert_eq!((status, tenant.get("direct_downloads")), (200, None), "{tenant}");
}

#[tokio::test]
#[ignore = "needs a server that speaks S3: make test-backends"]
async fn large_files_are_fetched_from_the_store_where_the_tenant_allows_it() {
    let store = store().await;
    let server = server(&store, LASTING).await;
    let other = OtherTenant::create(&server).await;
    let other = Rest::new(&server, &other.token("olga"));
    let of_other = upload(&other, "other.bin", content(1)).await;
    let (status, tenant) = allow(&server, "demo", true).await;
    assert_eq!((status, &tenant["direct_downloads"]), (200, &json!(true)), "{tenant}");
    let alice = Rest::new(&server, server.token("alice"));
    let small = upload(&alice, "small.bin", vec![1; 1_000_000]).await;
    let file = upload(&alice, "the%20%22plan%22.html", content(2)).await;
    let link = until_sent(&alice, &path(&file)).await;
    assert!(link.starts_with(&store.endpoint()), "{link}");

    let (status, headers, bytes) = fetch(&link, None).await;
    assert!((status, bytes.as_ref()) == (200, content(2).as_slice()), "{status}, {} bytes", bytes.len());
    let ours = alice.bytes(Method::GET, &format!("{}?direct=0", path(&file)), &[]).await;
    assert!((ours.0, ours.2.as_ref()) == (200, content(2).as_slice()), "{}, {} bytes", ours.0, ours.2.len());
    for name in ["content-type", "content-disposition"] {
        assert_eq!(header(&headers, name), header(&ours.1, name));
    }
    assert!(header(&headers, "content-disposition").starts_with("attachment; filename=\"the _plan_.html\""));
    for (range, from, until) in [("bytes=0-0", 0, 1), ("bytes=1000000-2000000", 1_000_000, 2_000_001)] {
        let (status, headers, bytes) = fetch(&link, Some(range)).await;
        assert!((status, bytes.as_ref()) == (206, &content(2)[from..until]), "{range}: {status}");
        assert_eq!(header(&headers, "content-range"), format!("bytes {from}-{}/3000000", until - 1));
    }
    for altered in [
        link.replace("/direct/demo/", "/direct/other/"),
        link.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"),
        link.replace("attachment", "inline"),
        link.split('?').next().expect("a path").to_owned(),
    ] {
        assert_ne!(altered, link);
        assert!([400, 403].contains(&fetch(&altered, None).await.0), "{altered}");
    }

    // What is answered by the server all the same.
    let (status, headers, _) = alice.bytes(Method::HEAD, &path(&file), &[]).await;
    assert_eq!((status, header(&headers, "content-length")), (200, "3000000"));
    let tag = header(&headers, "etag").to_owned();
    assert_eq!(alice.bytes(Method::GET, &path(&file), &[("if-none-match", &tag)]).await.0, 304);
    assert_eq!(sent_to(&alice, &path(&small)).await, None);
    assert_eq!(sent_to(&other, &path(&of_other)).await, None, "its tenant does not allow it");
    assert_eq!(Rest::new(&server, "").get(&path(&file)).await.0, 401);

    // A link of ours leads there too, as what it is asked for.
    let (_, signed) = alice.post(&format!("{}/link", path(&file)), json!({})).await;
    let signed = signed["url"].as_str().expect("a link");
    let link = sent_to(&Rest::new(&server, ""), &format!("{signed}&download=1")).await.expect("a link to the store");
    assert!(fetch(&link, None).await.2 == content(2));

    let to = server.data().join("fetched");
    let files = stonechat_client::Files::new(&stonechat_client::Options::new(
        format!("http://{}", server.address),
        server.token("alice"),
    ));
    let id = file["id"].as_str().expect("an id");
    let fetched = files.expect("a client").download(id, &to, Arc::new(|_, _| {})).await;
    assert_eq!(fetched.expect("a download"), 3_000_000);
    assert!(std::fs::read(&to).expect("a file") == content(2));

    assert_eq!(allow(&server, "demo", false).await.0, 200);
    assert_eq!(sent_to(&alice, &path(&file)).await, None, "no link is given any more");
}

#[tokio::test]
#[ignore = "needs a server that speaks S3: make test-backends"]
async fn who_may_not_read_a_file_is_sent_nowhere_and_its_object_goes_with_it() {
    let store = store().await;
    let server = server(&store, LASTING).await;
    allow(&server, "demo", true).await;
    let alice = Rest::new(&server, server.token("alice"));
    let bob = Rest::new(&server, server.token("bob"));
    let tenant = Rest::new(&server, &server.started.server_key);
    let made = alice.post("/v1/conversations", json!({"id": "plans", "kind": "group", "members": ["alice", "bob"]}));
    assert_eq!(made.await.0, 201);
    let mut sent = Vec::new();
    for (name, seed) in [("a.bin", 3), ("b.bin", 4)] {
        let file = upload(&alice, name, content(seed)).await;
        let message = json!({"text": "look", "attachments": [{"id": file["id"]}]});
        let (status, message) = alice.post("/v1/conversations/plans/messages", message).await;
        assert_eq!(status, 201, "{message}");
        sent.push((path(&file), message["seq"].as_u64().expect("a seq")));
    }
    let [(deleted, _), (recalled, seq)] = &sent[..] else { panic!("two files") };
    let link = until_sent(&bob, deleted).await;
    let of_recalled = until_sent(&bob, recalled).await;
    assert!(fetch(&of_recalled, None).await.2 == content(4));

    let recall = alice.call(Method::DELETE, &format!("/v1/conversations/plans/messages/{seq}"), None).await;
    assert_eq!(recall.0, 200, "{}", recall.1);
    assert_eq!(bob.get(recalled).await.0, 404, "the message was taken back");
    let removed = tenant.call(Method::DELETE, "/v1/conversations/plans/members/bob", None).await;
    assert_eq!(removed.0, 200, "{}", removed.1);
    assert_eq!(bob.get(deleted).await.0, 404, "bob was removed");
    // As long as it is good.
    assert_eq!(fetch(&link, None).await.0, 200);

    assert_eq!(store.objects(BUCKET, "direct/demo").len(), 2);
    assert_eq!(alice.call(Method::DELETE, deleted, None).await.0, 200);
    assert_eq!(alice.get(deleted).await.0, 404);
    assert_eq!(fetch(&link, None).await.0, 404, "the object is still there");

    assert_eq!(Rest::new(&server, OPERATOR_KEY).call(Method::DELETE, "/v1/tenants/demo", None).await.0, 202);
    within("the end of the tenant's objects", async {
        while !store.objects(BUCKET, "direct/demo").is_empty() {
            crate::support::look_again().await;
        }
    })
    .await;
    assert_eq!(fetch(&of_recalled, None).await.0, 404);
}

#[tokio::test]
#[ignore = "needs a server that speaks S3: make test-backends"]
async fn a_link_to_the_store_expires() {
    let store = store().await;
    let mut server = server(&store, "1").await;
    allow(&server, "demo", true).await;
    let alice = Rest::new(&server, server.token("alice"));
    let file = upload(&alice, "a.bin", content(5)).await;
    let link = until_sent(&alice, &path(&file)).await;
    assert!(link.contains("X-Amz-Expires=1&"), "{link}");
    within("its end", async {
        while fetch(&link, Some("bytes=0-0")).await.0 != 403 {
            crate::support::look_again().await;
        }
    })
    .await;
    assert_ne!(sent_to(&alice, &path(&file)).await.expect("another link"), link);
    server.kill_and_restart().await;
    let alice = Rest::new(&server, server.token("alice"));
    assert!(sent_to(&alice, &path(&file)).await.is_some(), "what is there is not made anew");
}
