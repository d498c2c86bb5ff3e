use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::Options;

const CONTENT: &[u8] = b"what a file holds that is fetched from elsewhere";

#[test]
fn what_is_unfinished_stands_beside_its_place_and_leads_nowhere_else() {
    let part = unfinished(Path::new("/tmp/a.png"), "\"../../x7\"");
    assert_eq!(part, Path::new("/tmp/a.png.x7.part"));
}

/// Every request that a server got, as it came; and where it is.
struct Site {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// A server that answers as it is told, by the request and how many there were before it. Each request has a connection
    /// of its own.
    async fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (request, mut stream) = head(stream).await;
                let before = heard.lock().len();
                heard.lock().push(request.clone());
                // Whoever asked may be gone.
                stream.write_all(&answer(&request, before)).await.ok();
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

async fn head(stream: TcpStream) -> (String, TcpStream) {
    let (mut stream, mut request) = (BufReader::new(stream), String::new());
    while stream.read_line(&mut request).await.unwrap_or(0) > 2 {}
    (request.to_lowercase(), stream.into_inner())
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
}

/// A server that sends to a store, unless it is to give the bytes itself.
async fn server(store: String) -> Site {
    Site::start(move |request, before| {
        let described = format!("etag: \"t1\"\r\ncontent-length: {}", CONTENT.len());
        match request {
            _ if request.starts_with("head") => answer("200 OK", &described, b""),
            _ if request.contains("direct=0") => answer("200 OK", &described, CONTENT),
            _ => answer(
                "307 Temporary Redirect",
                &format!("location: {store}/o?link={before}\r\ncontent-length: 0"),
                b"",
            ),
        }
    })
    .await
}

async fn download(server: &Site) -> (Result<u64, ClientError>, Vec<u8>) {
    let folder = std::env::temp_dir().join(format!("stonechat-{}", uuid::Uuid::new_v4()));
    tokio::fs::create_dir(&folder).await.unwrap();
    let to = folder.join("file");
    let files = Files::new(&Options::new(&server.url, "the-token")).unwrap();
    let downloaded = files.download("fl_1", &to, Arc::new(|_, _| {})).await;
    let bytes = tokio::fs::read(&to).await.unwrap_or_default();
    tokio::fs::remove_dir_all(&folder).await.unwrap();
    (downloaded, bytes)
}

#[tokio::test]
async fn a_download_goes_on_at_the_store_by_a_new_link_and_shows_it_no_credential() {
    // It breaks off after ten bytes, then gives what is asked for.
    let store = Site::start(|request, before| match before {
        0 => answer("200 OK", &format!("content-length: {}", CONTENT.len()), &CONTENT[..10]),
        _ => {
            assert!(request.contains("range: bytes=10-\r"), "{request}");
            let (rest, size) = (&CONTENT[10..], CONTENT.len());
            let headers = format!("content-length: {}\r\ncontent-range: bytes 10-{}/{size}", rest.len(), size - 1);
            answer("206 Partial Content", &headers, rest)
        }
    })
    .await;
    let server = server(store.url.clone()).await;
    let (downloaded, bytes) = download(&server).await;
    assert_eq!((downloaded.unwrap(), bytes.as_slice()), (CONTENT.len() as u64, CONTENT));
    let (asked, followed) = (server.requests(), store.requests());
    assert!(asked.iter().all(|request| request.contains("authorization: bearer the-token")), "{asked:?}");
    assert!(!followed.concat().contains("the-token") && !followed.concat().contains("authorization"), "{followed:?}");
    assert!(!followed.concat().contains("if-range"), "the server's tag is none of the store's: {followed:?}");
    let links: Vec<&str> = followed.iter().filter_map(|request| request.split(' ').nth(1)).collect();
    assert_eq!(links, ["/o?link=1", "/o?link=2"]);
}

#[tokio::test]
async fn where_the_store_gives_nothing_the_server_is_asked_itself() {
    let refuses = Site::start(|_, _| answer("403 Forbidden", "content-length: 0", b"")).await;
    let other = Site::start(|_, _| answer("200 OK", "content-length: 4", b"else")).await;
    for store in [&refuses, &other] {
        let server = server(store.url.clone()).await;
        let (downloaded, bytes) = download(&server).await;
        assert_eq!((downloaded.unwrap(), bytes.as_slice()), (CONTENT.len() as u64, CONTENT));
        assert_eq!(store.requests().len(), STORE_FAILURES as usize);
    }
    let nowhere = server("ftp://127.0.0.1".to_owned()).await;
    assert_eq!(download(&nowhere).await.1, CONTENT);
}
