//! Files as people send and fetch them.

use hyper::{HeaderMap, Method, body::Bytes};
use serde_json::{Value, json};

use crate::support::{http::Rest, server::Server};

/// A picture that decodes: a PNG of one pixel.
pub const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

/// Uploads by one request; gives the file.
pub async fn upload(rest: &Rest, name: &str, bytes: impl Into<Bytes>) -> Value {
    let (status, _, file) = rest.raw(Method::POST, &format!("/v1/files?name={name}"), &[], bytes).await;
    assert_eq!(status, 201, "{file}");
    file
}

/// Fetches a path; gives its bytes.
pub async fn fetch(rest: &Rest, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Bytes) {
    rest.bytes(Method::GET, path, headers).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_file_is_uploaded_by_one_request_and_fetched_in_ranges() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = upload(&alice, "numbers.bin", content.clone()).await;
    assert_eq!(file["size_bytes"], content.len());
    assert_eq!((file["owner"].as_str(), file["name"].as_str()), (Some("alice"), Some("numbers.bin")));
    let url = file["url"].as_str().expect("a url");
    let (status, headers, bytes) = fetch(&alice, url, &[]).await;
    assert_eq!((status, bytes.as_ref()), (200, content.as_slice()));
    assert_eq!(header(&headers, "content-type"), "application/octet-stream");
    assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
    assert_eq!(header(&headers, "content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(header(&headers, "cross-origin-resource-policy"), "same-origin");
    let tag = header(&headers, "etag").to_owned();
    for (range, from, until) in
        [("bytes=0-0", 0, 1), ("bytes=262140-600000", 262_140, 600_001), ("bytes=-7", 2_799_993, 2_800_000)]
    {
        let (status, headers, bytes) = fetch(&alice, url, &[("range", range), ("if-range", &tag)]).await;
        assert_eq!((status, bytes.as_ref()), (206, &content[from..until]), "{range}");
        assert_eq!(header(&headers, "content-range"), format!("bytes {from}-{}/2800000", until - 1));
    }
    let (status, headers, _) = fetch(&alice, url, &[("range", "bytes=2800000-")]).await;
    assert_eq!((status, header(&headers, "content-range")), (416, "bytes */2800000"));
    let (status, _, bytes) = fetch(&alice, url, &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!((status, bytes.len()), (200, content.len()), "several ranges are answered with the whole");
    let (status, _, bytes) = fetch(&alice, url, &[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await;
    assert_eq!((status, bytes.len()), (200, content.len()), "a range of other bytes is none of these");
    let (status, _, bytes) = fetch(&alice, url, &[("if-none-match", &tag)]).await;
    assert_eq!((status, bytes.len()), (304, 0));
    let (status, headers, bytes) = alice.bytes(Method::HEAD, url, &[]).await;
    assert_eq!((status, header(&headers, "content-length"), bytes.len()), (200, "2800000", 0));
}

#[tokio::test]
async fn others_see_a_file_as_one_that_is_not_there() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let bob = Rest::new(&server, server.token("bob"));
    let tenant = Rest::new(&server, &server.started.server_key);
    let file = upload(&alice, "plan.txt", "the plan").await;
    let url = file["url"].as_str().expect("a url").to_owned();
    let unknown = bob.get("/v1/files/fl_00000000000000000000000000000000").await;
    assert_eq!(unknown.0, 404);
    assert_eq!(bob.get(&url).await, unknown);
    assert_eq!(bob.get(&format!("{url}/info")).await, unknown);
    assert_eq!(bob.call(Method::DELETE, &url, None).await.0, 404);
    assert_eq!(bob.post(&format!("{url}/link"), json!({})).await.0, 404);
    assert_eq!(Rest::new(&server, "").get(&url).await.0, 401);
    assert_eq!(tenant.get(&url).await, (200, Value::String("the plan".to_owned())));
    assert_eq!(alice.get(&format!("{url}/info")).await, (200, file.clone()));
    let (_, listed) = alice.get("/v1/files").await;
    assert_eq!(listed["files"], json!([file]));
    assert_eq!(alice.call(Method::DELETE, &url, None).await.0, 200);
    assert_eq!(alice.get(&url).await, unknown, "a deleted file is as one that never was");
    assert_eq!(alice.get("/v1/files").await.1["files"], json!([]));
}

#[tokio::test]
async fn a_picture_is_served_without_its_metadata_and_with_thumbnails() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let mut marked = PIXEL[..33].to_vec();
    // A text chunk with a place in it.
    let text = b"tEXtComment\0taken at 48.13N 11.57E";
    marked.extend_from_slice(&u32::try_from(text.len() - 4).unwrap().to_be_bytes());
    marked.extend_from_slice(text);
    marked.extend_from_slice(&crc32(text).to_be_bytes());
    marked.extend_from_slice(&PIXEL[33..]);
    let file = upload(&alice, "photo.png", marked).await;
    assert_eq!((file["content_type"].as_str(), file["width"].as_u64()), (Some("image/png"), Some(1)), "{file}");
    assert!(file["blurhash"].is_string());
    let (_, headers, bytes) = fetch(&alice, file["url"].as_str().unwrap(), &[]).await;
    assert!(!bytes.windows(5).any(|window| window == b"48.13"), "the place is still there");
    assert!(header(&headers, "content-disposition").starts_with("inline;"));
    let small = file["thumbnails"][0]["url"].as_str().expect("a thumbnail");
    let (status, headers, bytes) = fetch(&alice, small, &[]).await;
    assert_eq!(status, 200);
    assert!(header(&headers, "content-type").starts_with("image/") && !bytes.is_empty());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[tokio::test]
async fn a_link_fetches_until_it_is_altered_or_expires() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let nobody = Rest::new(&server, "");
    let file = upload(&alice, "plan.txt", "the plan").await;
    let url = file["url"].as_str().expect("a url");
    let (status, link) = alice.post(&format!("{url}/link"), json!({"ttl_s": 3600})).await;
    assert_eq!(status, 200, "{link}");
    let link = link["url"].as_str().expect("a link").to_owned();
    assert_eq!(nobody.get(&link).await, (200, Value::String("the plan".to_owned())));
    let other = upload(&alice, "other.txt", "another").await;
    let other = other["url"].as_str().expect("a url");
    for altered in [
        link.replace(url, other),
        link.replace("user=alice", "user=bob"),
        link.replace("&user=alice", ""),
        link.replace("expires=", "expires=9"),
        link.replace("signature=", "signature=A"),
        link.replace("tenant=", "tenant=x"),
        link.replace('?', "/thumbnails/small?"),
    ] {
        assert_eq!(nobody.get(&altered).await.0, 403, "{altered}");
    }
    let (_, short) = alice.post(&format!("{url}/link"), json!({"ttl_s": 1})).await;
    let short = short["url"].as_str().expect("a link").to_owned();
    crate::support::within("the link's end", async {
        while nobody.get(&short).await.0 != 403 {
            crate::support::look_again().await;
        }
    })
    .await;
    let (status, _) = alice.post(&format!("{url}/link"), json!({"ttl_s": 604_801})).await;
    assert_eq!(status, 400);
    alice.call(Method::DELETE, url, None).await;
    assert_eq!(nobody.get(&link).await.0, 404);
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_go_with_the_last_file() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let bob = Rest::new(&server, server.token("bob"));
    let content = vec![7_u8; 3_000_000];
    let first = upload(&alice, "a.bin", content.clone()).await;
    let second = upload(&bob, "b.bin", content.clone()).await;
    let (first, second) = (first["url"].as_str().unwrap(), second["url"].as_str().unwrap());
    assert_ne!(first, second);
    let tags = (fetch(&alice, first, &[]).await.1["etag"].clone(), fetch(&bob, second, &[]).await.1["etag"].clone());
    assert_eq!(tags.0, tags.1);
    assert_eq!(alice.call(Method::DELETE, first, None).await.0, 200);
    let (status, _, bytes) = fetch(&bob, second, &[]).await;
    assert_eq!((status, bytes.as_ref()), (200, content.as_slice()), "the other file lost its bytes");
    assert_eq!(bob.call(Method::DELETE, second, None).await.0, 200);
    let third = upload(&alice, "c.bin", content.clone()).await;
    let (status, _, bytes) = fetch(&alice, third["url"].as_str().unwrap(), &[]).await;
    assert_eq!((status, bytes.as_ref()), (200, content.as_slice()), "bytes that were gone come back");
}
