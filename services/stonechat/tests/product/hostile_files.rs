//! Files as enemies send them.

use hyper::{HeaderMap, Method};
use serde_json::json;

use super::files::{PIXEL, fetch, upload};
use crate::support::{http::Rest, server::Server, session::Session, tenant::OtherTenant, within};

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Text as it stands in a query.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_name_leads_nowhere_and_breaks_no_header() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    for (given, name) in [
        ("../../x", "x"),
        ("..\\..\\x", "x"),
        ("/etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: session=1\r\n\r\n<script>", "aSet-Cookie: session=1<script>"),
        ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
        ("\u{2066}photo\u{2069}.png", "photo.png"),
        ("\"; filename=\"evil.html", "\"; filename=\"evil.html"),
        ("..", "file"),
    ] {
        let file = upload(&alice, &escaped(given), "content").await;
        assert_eq!(file["name"], name, "{given:?}");
        let (status, headers, _) = fetch(&alice, file["url"].as_str().expect("a url"), &[]).await;
        assert_eq!(status, 200);
        let disposition = header(&headers, "content-disposition");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
        assert_eq!(disposition.matches('"').count(), 2, "{disposition}");
        assert!(!headers.contains_key("set-cookie"));
    }
    if let Some(folder) = server.folder() {
        let stored = std::fs::read_dir(folder).expect("the data folder");
        assert!(stored.flatten().all(|entry| entry.file_name() != "x"));
    }
}

#[tokio::test]
async fn nothing_that_a_browser_would_run_is_served_as_itself() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
    let html = "\u{feff}\n <!DOCTYPE html><script>alert(1)</script>";
    for content in [
        svg,
        html,
        "<?xml version=\"1.0\"?><x/>",
        "GIF89a/*<script>*/=1;",
        "plain words",
        "PK\x03\x04zip",
        "\x1f\u{8b}gzip",
    ] {
        let path = "/v1/files?name=picture.png";
        let (status, _, file) = alice.raw(Method::POST, path, &[("content-type", "image/png")], content).await;
        assert_eq!(status, 201, "{file}");
        let (_, headers, bytes) = fetch(&alice, file["url"].as_str().expect("a url"), &[]).await;
        assert_eq!(bytes.as_ref(), content.as_bytes());
        let kind = header(&headers, "content-type");
        assert!(
            ["application/octet-stream", "text/plain; charset=utf-8", "application/zip"].contains(&kind),
            "{content:?} is served as {kind}"
        );
        assert!(header(&headers, "content-disposition").starts_with("attachment;"), "{content:?}");
        assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(header(&headers, "content-security-policy"), "default-src 'none'; sandbox");
        assert!(!content.trim_start_matches('\u{feff}').trim().starts_with('<') || kind == "application/octet-stream");
    }
}

#[tokio::test]
async fn a_picture_that_is_a_page_as_well_is_cut_to_the_picture() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let mut both = PIXEL.to_vec();
    both.extend_from_slice(b"<html><script>alert(1)</script></html>PK\x03\x04");
    let file = upload(&alice, "both.png", both).await;
    let (_, headers, bytes) = fetch(&alice, file["url"].as_str().expect("a url"), &[]).await;
    assert_eq!(header(&headers, "content-type"), "image/png");
    assert!(!bytes.windows(7).any(|window| window == b"<script"), "the page is still behind the picture");
}

#[tokio::test]
async fn what_unpacks_to_gigabytes_or_does_not_decode_is_a_download_as_it_came() {
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let before = server.memory_bytes();
    // 50,000 x 50,000 pixels in the header, nothing behind.
    let mut huge = PIXEL.to_vec();
    huge[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    // A gzip member that says to be of zeros without end, and a zip that says to hold gigabytes.
    let gzip =
        [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7].repeat(1_000)]
            .concat();
    let zip =
        [&b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0a"[..], &[0; 4_096]]
            .concat();
    let circle = b"II*\0\x08\0\0\0\0\0\x08\0\0\0";
    let jpeg = [&b"\xff\xd8\xff\xe1\0\x16Exif\0\0"[..], circle].concat();
    for (name, content) in [
        ("huge.png", huge.clone()),
        ("cut.png", PIXEL[..40].to_vec()),
        ("bomb.gz", gzip),
        ("bomb.zip", zip),
        ("circle.jpg", jpeg),
        ("cut.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 ".to_vec()),
    ] {
        let file = upload(&alice, name, content.clone()).await;
        assert!(file["width"].is_null() && file["thumbnails"].is_null(), "{file}");
        let (status, headers, bytes) = fetch(&alice, file["url"].as_str().expect("a url"), &[]).await;
        assert_eq!((status, bytes.as_ref()), (200, content.as_slice()), "{name}");
        assert!(!header(&headers, "content-type").starts_with("image/"), "{name}");
        assert!(header(&headers, "content-disposition").starts_with("attachment;"), "{name}");
    }
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "the server grew by {grown} bytes");
}

#[tokio::test]
async fn a_request_that_lies_about_its_length_leaves_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start().await;
    let alice = Rest::new(&server, server.token("alice"));
    let mut socket = tokio::net::TcpStream::connect(server.address).await.expect("connect");
    let head = format!(
        "POST /v1/files?name=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\nshort",
        server.token("alice")
    );
    socket.write_all(head.as_bytes()).await.expect("write");
    socket.shutdown().await.expect("shutdown");
    let mut answer = Vec::new();
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    let tenant = Rest::operator(&server);
    within("what was taken to be given back", async {
        while tenant.get(&format!("/v1/tenants/{}/usage", server.started.tenant)).await.1["storage_bytes"] != 0 {
            crate::support::look_again().await;
        }
    })
    .await;
    assert_eq!(alice.get("/v1/files").await.1["files"], json!([]));
    let (status, ..) = alice.raw(Method::POST, "/v1/files", &[], vec![0; 33_554_433]).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn an_erased_users_files_and_a_deleted_tenants_bytes_go() {
    let server = Server::start().await;
    let tenant = Rest::new(&server, &server.started.server_key);
    let alice = Rest::new(&server, server.token("alice"));
    let _session = Session::open(server.address, server.token("alice"), "phone").await;
    let file = upload(&alice, "a.bin", vec![3_u8; 100_000]).await;
    let url = file["url"].as_str().expect("a url");
    assert_eq!(tenant.get(url).await.0, 200);
    let (status, answer) = tenant.call(Method::DELETE, "/v1/users/alice", None).await;
    assert!((200..300).contains(&status), "{answer}");
    within("the files' end", async {
        while tenant.get(url).await.0 != 404 {
            crate::support::look_again().await;
        }
    })
    .await;
    let other = OtherTenant::create(&server).await;
    upload(&Rest::new(&server, &other.server_key), "b.bin", vec![4_u8; 100_000]).await;
    // Where the bytes are elsewhere, the suite of the blobs looks at what is left of them.
    let folder = server.folder().map(|data| data.join("files").join("blobs").join(&other.id));
    assert!(folder.as_deref().is_none_or(|folder| count_files(folder) > 0), "the other tenant's bytes are elsewhere");
    let operator = Rest::operator(&server);
    assert_eq!(operator.call(Method::DELETE, &format!("/v1/tenants/{}", other.id), None).await.0, 202);
    within("the bytes' end", async {
        while folder.as_deref().is_some_and(|folder| count_files(folder) > 0) {
            crate::support::look_again().await;
        }
    })
    .await;
    assert_eq!(Rest::new(&server, &other.server_key).get("/v1/files").await.0, 401);
}

/// Files in a folder and those in it.
fn count_files(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |entry: std::fs::DirEntry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 };
    entries.flatten().map(count).sum()
}
