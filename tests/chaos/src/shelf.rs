//! Files of a device, by plain HTTP: a request for each.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a request may take.
const ASK: Duration = Duration::from_secs(20);
/// After what a request is repeated.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a file is asked for that is not given now.
const FETCHES: usize = 240;

/// Where a user's files are uploaded and fetched.
#[derive(Debug, Clone)]
pub struct Shelf {
    address: SocketAddr,
    token: String,
}

/// What the server says of a file.
#[derive(Deserialize)]
struct Kept {
    id: String,
}

impl Shelf {
    /// A user's files at a server.
    pub fn new(address: SocketAddr, token: String) -> Self {
        Self { address, token }
    }

    /// Uploads a file by one request, again and again until the server says that it is there; gives its id.
    pub async fn upload(&self, bytes: &[u8]) -> String {
        loop {
            if let Some((201, body)) = self.ask("POST /v1/files?name=storm.bin", bytes).await
                && let Ok(kept) = serde_json::from_slice::<Kept>(&body)
            {
                return kept.id;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Fetches a file; `None` where the server says that there is none, or nothing for a minute.
    pub async fn fetch(&self, file: &str) -> Option<Vec<u8>> {
        for _ in 0..FETCHES {
            match self.ask(&format!("GET /v1/files/{file}"), b"").await {
                Some((200, body)) => return Some(body),
                // The server is away, or has too much to do.
                None | Some((429 | 500.., _)) => tokio::time::sleep(PAUSE).await,
                Some(_) => return None,
            }
        }
        None
    }

    /// Asks once; gives the status and the body of an answer that came whole.
    async fn ask(&self, line: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        let asking = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(ASK, asking).await.ok()?.ok()?;
        read(&answer)
    }
}

/// The status and the body of an answer, if all of it is there.
fn read(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    };
    (head.lines().find_map(named)? == body.len()).then(|| (status, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_all_of_it_is_there() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(read(whole), Some((200, b"abc".to_vec())));
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
    }
}
