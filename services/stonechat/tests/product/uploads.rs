//! Resumable uploads, as clients of the tus protocol do them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, Method};
use serde_json::json;
use stonechat_client::{Files, Options, Progress};
use tokio::sync::Notify;

use super::files::fetch;
use crate::support::{http::Rest, server::Server, within};

const OFFSET_TYPE: (&str, &str) = ("content-type", "application/offset+octet-stream");
const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const MIB: usize = 1 << 20;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Bytes that are alike nowhere.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// Begins an upload; gives its path.
async fn begin(rest: &Rest, length: usize, more: &[(&str, &str)]) -> String {
    let (status, headers, answer) = try_begin(rest, length, more).await;
    assert_eq!(status, 201, "{answer}");
    header(&headers, "location").to_owned()
}

async fn try_begin(rest: &Rest, length: usize, more: &[(&str, &str)]) -> (u16, HeaderMap, serde_json::Value) {
    let length = length.to_string();
    let headers: Vec<(&str, &str)> =
        [TUS, ("upload-length", &length)].into_iter().chain(more.iter().copied()).collect();
    rest.raw(Method::POST, "/v1/uploads", &headers, "").await
}

async fn patch(rest: &Rest, path: &str, offset: usize, bytes: &[u8], more: &[(&str, &str)]) -> (u16, HeaderMap) {
    let offset = offset.to_string();
    let headers: Vec<(&str, &str)> =
        [TUS, OFFSET_TYPE, ("upload-offset", &offset)].into_iter().chain(more.iter().copied()).collect();
    let (status, headers, _) = rest.raw(Method::PATCH, path, &headers, bytes.to_vec()).await;
    (status, headers)
}

async fn offset(rest: &Rest, path: &str) -> usize {
    let (status, headers, _) = rest.bytes(Method::HEAD, path, &[TUS]).await;
    assert_eq!(status, 200);
    assert_eq!(header(&headers, "cache-control"), "no-store");
    header(&headers, "upload-offset").parse().expect("an offset")
}

fn file_of(upload: &str) -> String {
    upload.replace("/v1/uploads/", "/v1/files/")
}

#[tokio::test]
async fn the_server_says_what_it_speaks() {
    let server = Server::start().await;
    let nobody = Rest::new(&server, "");
    let (status, headers, _) = nobody.raw(Method::OPTIONS, "/v1/uploads", &[], "").await;
    assert_eq!((status, header(&headers, "tus-version")), (204, "1.0.0"));
    assert_eq!(
        header(&headers, "tus-extension"),
        "creation,creation-with-upload,expiration,checksum,termination,concatenation"
    );
    assert_eq!(header(&headers, "tus-checksum-algorithm"), "sha1,sha256,md5");
    assert_eq!(header(&headers, "tus-max-size"), "4294967296");
    let alice = Rest::new(&server, server.token("alice"));
    let (status, headers, _) = alice.raw(Method::POST, "/v1/uploads", &[("upload-length", "5")], "").await;
    assert_eq!((status, header(&headers, "tus-version")), (412, "1.0.0"));
    let (status, _, _) = nobody.raw(Method::POST, "/v1/uploads", &[TUS, ("upload-length", "5")], "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn an_upload_goes_on_after_the_server_was_killed() {
    let mut server = Server::start().await;
    let content = content(19 * MIB + 77);
    let alice = Rest::new(&server, server.token("alice"));
    let name = format!("filename {},poster-of", BASE64_STANDARD.encode("Grüße.bin"));
    let path = begin(&alice, content.len(), &[("upload-metadata", &name)]).await;
    // An uneven part, then one that is cut off by a kill.
    assert_eq!(patch(&alice, &path, 0, &content[..3 * MIB + 5], &[]).await.0, 204);
    assert_eq!(offset(&alice, &path).await, 3 * MIB + 5);
    server.kill_and_restart().await;
    let alice = Rest::new(&server, server.token("alice"));
    let mut at = offset(&alice, &path).await;
    assert_eq!(at, 3 * MIB + 5, "what was acknowledged is lost");
    while at < content.len() {
        let end = (at + 5 * MIB + 3).min(content.len());
        let (status, headers) = patch(&alice, &path, at, &content[at..end], &[]).await;
        assert_eq!((status, header(&headers, "upload-offset")), (204, end.to_string().as_str()));
        at = end;
        server.kill_and_restart().await;
    }
    let alice = Rest::new(&server, server.token("alice"));
    let (status, headers, _) = alice.bytes(Method::HEAD, &path, &[TUS]).await;
    assert_eq!((status, header(&headers, "upload-metadata")), (200, name.as_str()));
    let (status, _, bytes) = fetch(&alice, &file_of(&path), &[]).await;
    assert_eq!(status, 200);
    assert!(bytes.as_ref() == content.as_slice(), "other bytes came back");
    let (_, info) = alice.get(&format!("{}/info", file_of(&path))).await;
    assert_eq!(info["name"], "Grüße.bin");
    // However it was cut: the same bytes are the same content.
    let again = begin(&alice, content.len(), &[]).await;
    assert_eq!(patch(&alice, &again, 0, &content, &[]).await.0, 204);
    let tags = [fetch(&alice, &file_of(&path), &[]).await.1, fetch(&alice, &file_of(&again), &[]).await.1];
    assert_eq!(tags[0]["etag"], tags[1]["etag"]);
}

#[tokio::test]
async fn our_client_goes_on_with_its_upload_after_the_server_was_killed() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, back) = (folder.path().join("file.bin"), folder.path().join("back.bin"));
    // Large enough that the client uploads it in parts.
    let content = content(34 * MIB + 5);
    std::fs::write(&path, &content).expect("write");
    let client = Files::new(&Options::new(&server.started.url, server.token("alice"))).expect("a client");
    let (half, killed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let went_on = Arc::new(AtomicBool::new(false));
    let progress: Progress = {
        let (half, killed, went_on) = (Arc::clone(&half), Arc::clone(&killed), Arc::clone(&went_on));
        Arc::new(move |done, all| {
            if done > all / 2 {
                half.notify_one();
            }
            if killed.load(Ordering::Relaxed) && done < all {
                went_on.store(true, Ordering::Relaxed);
            }
        })
    };
    let killing = async {
        half.notified().await;
        server.kill().await;
        killed.store(true, Ordering::Relaxed);
        server.start_again().await;
    };
    let (uploaded, ()) =
        within("upload", async { tokio::join!(client.upload(&path, "a.bin", progress), killing) }).await;
    let file = uploaded.expect("the file");
    assert!(went_on.load(Ordering::Relaxed), "it was whole before the server was killed");
    assert_eq!(file.size_bytes, content.len() as u64);
    within("download", client.download(&file.id, &back, Arc::new(|_, _| {}))).await.expect("the bytes");
    assert!(std::fs::read(&back).expect("read") == content, "other bytes came back");
}

#[tokio::test]
async fn what_came_of_a_body_that_broke_off_is_kept() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let content = content(2 * MIB);
    let path = begin(&alice, content.len(), &[]).await;
    let mut socket = tokio::net::TcpStream::connect(server.address).await.expect("connect");
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        server.token("alice"),
        content.len()
    );
    socket.write_all(head.as_bytes()).await.expect("write");
    socket.write_all(&content[..MIB]).await.expect("write");
    socket.flush().await.expect("flush");
    drop(socket);
    let at = within("what came", async {
        loop {
            match offset(&alice, &path).await {
                0 => crate::support::look_again().await,
                at => return at,
            }
        }
    })
    .await;
    assert!(at <= MIB);
    assert_eq!(patch(&alice, &path, at, &content[at..], &[]).await.0, 204);
    assert!(fetch(&alice, &file_of(&path), &[]).await.2.as_ref() == content.as_slice());
}

#[tokio::test]
async fn wrong_requests_get_the_protocols_own_answers() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let path = begin(&alice, 10, &[]).await;
    assert_eq!(patch(&alice, &path, 3, b"abc", &[]).await.0, 409, "a wrong offset");
    assert_eq!(patch(&alice, &path, 0, b"12345678901", &[]).await.0, 413, "more than the upload has");
    let (status, ..) = alice.raw(Method::PATCH, &path, &[TUS, ("upload-offset", "0")], "abc").await;
    assert_eq!(status, 415);
    for wrong in ["-1", "+0", "0x0", "", "99999999999999999999"] {
        let (status, ..) = alice.raw(Method::PATCH, &path, &[TUS, OFFSET_TYPE, ("upload-offset", wrong)], "abc").await;
        assert_eq!(status, 400, "{wrong}");
    }
    for wrong in ["-1", "1e9", ""] {
        let (status, ..) = alice.raw(Method::POST, "/v1/uploads", &[TUS, ("upload-length", wrong)], "").await;
        assert_eq!(status, 400, "{wrong}");
    }
    let (status, ..) = try_begin(&alice, 4_294_967_297, &[]).await;
    assert_eq!(status, 413, "larger than a file may be");
    assert_eq!(patch(&alice, &path, 0, b"", &[]).await.0, 204, "nothing changes nothing");
    assert_eq!(offset(&alice, &path).await, 0);
    let override_patch = [TUS, OFFSET_TYPE, ("upload-offset", "0"), ("x-http-method-override", "PATCH")];
    let (status, headers, _) = alice.raw(Method::POST, &path, &override_patch, "hello").await;
    assert_eq!((status, header(&headers, "upload-offset")), (204, "5"));
    let (status, ..) = alice.raw(Method::DELETE, &path, &[TUS], "").await;
    assert_eq!(status, 204);
    let (status, ..) = alice.bytes(Method::HEAD, &path, &[TUS]).await;
    assert_eq!(status, 410, "an upload that was ended is gone");
    assert_eq!(patch(&alice, &path, 5, b"world", &[]).await.0, 410);
}

#[tokio::test]
async fn bytes_with_another_checksum_are_not_kept() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let content = content(9 * MIB);
    let path = begin(&alice, content.len(), &[]).await;
    let wrong = [("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    assert_eq!(patch(&alice, &path, 0, &content, &wrong).await.0, 460);
    assert_eq!(offset(&alice, &path).await, 0, "a part of wrong bytes was kept");
    assert_eq!(patch(&alice, &path, 0, b"x", &[("upload-checksum", "crc32 AAAA")]).await.0, 400);
    let sum = format!("md5 {}", BASE64_STANDARD.encode(md5(&content)));
    assert_eq!(patch(&alice, &path, 0, &content, &[("upload-checksum", &sum)]).await.0, 204);
    assert!(fetch(&alice, &file_of(&path), &[]).await.2.as_ref() == content.as_slice());
}

fn md5(bytes: &[u8]) -> Vec<u8> {
    use md5::Digest as _;
    md5::Md5::digest(bytes).to_vec()
}

#[tokio::test]
async fn a_creation_may_bring_the_first_bytes_or_all_of_them() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let headers = [TUS, OFFSET_TYPE, ("upload-length", "11")];
    let (status, told, _) = alice.raw(Method::POST, "/v1/uploads", &headers, "hello").await;
    assert_eq!((status, header(&told, "upload-offset")), (201, "5"));
    let path = header(&told, "location").to_owned();
    assert!(header(&told, "upload-expires").ends_with(" GMT"));
    assert_eq!(patch(&alice, &path, 5, b" world", &[]).await.0, 204);
    assert_eq!(fetch(&alice, &file_of(&path), &[]).await.2.as_ref(), b"hello world");
    let empty = begin(&alice, 0, &[]).await;
    let (status, _, bytes) = fetch(&alice, &file_of(&empty), &[]).await;
    assert_eq!((status, bytes.len()), (200, 0), "an empty file is a file");
}

#[tokio::test]
async fn parts_are_joined_in_their_order_and_taken_once() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let content = content(11 * MIB);
    let cut = 5 * MIB + 1;
    let first = begin(&alice, cut, &[("upload-concat", "partial")]).await;
    let second = begin(&alice, content.len() - cut, &[("upload-concat", "partial")]).await;
    let concat = format!("final;{first} http://chat.example{second}");
    let unfinished = [TUS, ("upload-concat", concat.as_str())];
    assert_eq!(alice.raw(Method::POST, "/v1/uploads", &unfinished, "").await.0, 400, "a part is not there yet");
    let (one, two) =
        tokio::join!(patch(&alice, &first, 0, &content[..cut], &[]), patch(&alice, &second, 0, &content[cut..], &[]));
    assert_eq!((one.0, two.0), (204, 204));
    assert_eq!(fetch(&alice, &file_of(&first), &[]).await.0, 404, "a part is no file");
    let bob = Rest::new(&server, server.token("bob"));
    assert_eq!(bob.raw(Method::POST, "/v1/uploads", &unfinished, "").await.0, 404, "another user's parts");
    let (status, told, answer) = alice.raw(Method::POST, "/v1/uploads", &unfinished, "").await;
    assert_eq!(status, 201, "{answer}");
    let path = header(&told, "location").to_owned();
    assert!(fetch(&alice, &file_of(&path), &[]).await.2.as_ref() == content.as_slice());
    let (status, told, _) = alice.bytes(Method::HEAD, &path, &[TUS]).await;
    assert_eq!((status, header(&told, "upload-concat")), (200, concat.as_str()));
    assert_eq!(patch(&alice, &path, content.len(), b"", &[]).await.0, 403);
    let (status, again, _) = alice.raw(Method::POST, "/v1/uploads", &unfinished, "").await;
    assert_eq!((status, header(&again, "location")), (201, path.as_str()), "asked for again it is the same");
    let otherwise = format!("final;{second} {first}");
    let otherwise = [TUS, ("upload-concat", otherwise.as_str())];
    assert_eq!(alice.raw(Method::POST, "/v1/uploads", &otherwise, "").await.0, 400, "parts are taken once");
    let whole = begin(&alice, content.len(), &[]).await;
    assert_eq!(patch(&alice, &whole, 0, &content, &[]).await.0, 204);
    let tags = [fetch(&alice, &file_of(&path), &[]).await.1, fetch(&alice, &file_of(&whole), &[]).await.1];
    assert_eq!(tags[0]["etag"], tags[1]["etag"], "joined or whole, the bytes are the same");
}

#[tokio::test]
async fn of_two_requests_with_the_same_bytes_one_wins() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let content = content(12 * MIB);
    let path = begin(&alice, content.len(), &[]).await;
    let tries = (0..4).map(|_| patch(&alice, &path, 0, &content, &[]));
    let mut statuses: Vec<u16> = futures::future::join_all(tries).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert!(statuses.iter().filter(|status| **status == 204).count() <= 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 409].contains(status)), "{statuses:?}");
    let at = offset(&alice, &path).await;
    if at < content.len() {
        assert_eq!(patch(&alice, &path, at, &content[at..], &[]).await.0, 204);
    }
    assert!(fetch(&alice, &file_of(&path), &[]).await.2.as_ref() == content.as_slice());
}

#[tokio::test]
async fn another_users_upload_is_as_one_that_is_not_there() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let bob = Rest::new(&server, server.token("bob"));
    let path = begin(&alice, 5, &[]).await;
    let unknown = "/v1/uploads/fl_00000000000000000000000000000000";
    for (method, more) in [(Method::PATCH, "0"), (Method::DELETE, "0")] {
        let headers = [TUS, OFFSET_TYPE, ("upload-offset", more)];
        let known = bob.raw(method.clone(), &path, &headers, "hello").await;
        let other = bob.raw(method, unknown, &headers, "hello").await;
        assert_eq!((known.0, &known.2), (404, &other.2));
    }
    assert_eq!(bob.bytes(Method::HEAD, &path, &[TUS]).await.0, 404);
    for odd in ["..%2f..%2fx", "%00", "fl_%0d%0ax", "a%2fb"] {
        let (status, ..) = bob.bytes(Method::HEAD, &format!("/v1/uploads/{odd}"), &[TUS]).await;
        assert_eq!(status, 404, "{odd}");
    }
    assert_eq!(offset(&alice, &path).await, 0);
}

#[tokio::test]
async fn many_uploads_at_once_never_exceed_the_quota() {
    let server = Server::start().await;
    let operator = Rest::operator(&server);
    let tenant = &server.started.tenant;
    let quota = json!({"storage_bytes": 1_000_000});
    let (status, answer) = operator.call(Method::PATCH, &format!("/v1/tenants/{tenant}/quotas"), Some(quota)).await;
    assert_eq!(status, 200, "{answer}");
    let alice = Rest::new(&server, server.token("alice"));
    let usage = async || {
        let (_, usage) = operator.get(&format!("/v1/tenants/{tenant}/usage")).await;
        usage["storage_bytes"].as_u64().expect("a number")
    };
    // The quota is believed for as long as the key.
    within("the quota", async {
        while try_begin(&alice, 1_000_001, &[]).await.0 != 422 {
            crate::support::look_again().await;
        }
    })
    .await;
    let before = usage().await;
    let tries = (0..50).map(|_| try_begin(&alice, 90_000, &[]));
    let answers = futures::future::join_all(tries).await;
    let begun: Vec<String> = answers
        .iter()
        .filter(|(status, ..)| *status == 201)
        .map(|(_, headers, _)| header(headers, "location").to_owned())
        .collect();
    assert!(answers.iter().all(|(status, ..)| [201, 422].contains(status)));
    assert_eq!(usage().await, before + 90_000 * begun.len() as u64);
    assert!(usage().await <= 1_000_000 && usage().await > 910_000, "{} of {}", usage().await, 1_000_000);
    for path in &begun {
        assert_eq!(alice.raw(Method::DELETE, path, &[TUS], "").await.0, 204);
    }
    assert_eq!(usage().await, before, "what was ended is given back");
    let file = super::files::upload(&alice, "a.bin", vec![1_u8; 90_000]).await;
    assert_eq!(usage().await, before + 90_000);
    assert_eq!(alice.call(Method::DELETE, file["url"].as_str().expect("a url"), None).await.0, 200);
    assert_eq!(usage().await, before, "what was deleted is given back");
}
