//! WebSocket (RFC 6455) by hand, so that every rule can be broken.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

pub const JSON: &str = "stonechat.v1.json";
pub const PROTO: &str = "stonechat.v1.proto";

/// Opcodes of RFC 6455, 5.2, with the bit that says that it is the last fragment.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The bit that says that a fragment is the last one.
pub const LAST: u8 = 0x80;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An open WebSocket.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The answer to an upgrade that was refused.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
}

impl Wire {
    /// Opens one with a subprotocol and further header lines.
    pub async fn open_with(address: SocketAddr, protocol: &str, headers: &str) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.expect("connect");
        Self::upgrade(stream, address, protocol, headers).await
    }

    /// Opens one over a stream.
    pub async fn upgrade(
        mut stream: TcpStream,
        address: SocketAddr,
        protocol: &str,
        headers: &str,
    ) -> Result<Self, Refused> {
        stream.set_nodelay(true).expect("nodelay");
        let protocol =
            if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut wire = Self { stream, read: Vec::new() };
        let head = within("answer to the upgrade", wire.head()).await;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
        if status == 101 { Ok(wire) } else { Err(Refused { status }) }
    }

    /// Opens one with a subprotocol.
    pub async fn open(address: SocketAddr, protocol: &str) -> Self {
        Self::open_with(address, protocol, "").await.expect("an upgrade")
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.fill().await > 0, "the server closed before its answer");
        }
    }

    /// Reads more; gives how much, 0 at the end of the stream.
    async fn fill(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.read.extend_from_slice(&chunk[..read]);
        read
    }

    /// Writes bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Writes a masked frame.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = head_of(first, payload.len(), true);
        bytes.extend_from_slice(&KEY);
        bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.raw(&bytes).await
    }

    /// Writes a frame without the mask that a client must use.
    pub async fn unmasked(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = head_of(first, payload.len(), false);
        bytes.extend_from_slice(payload);
        self.raw(&bytes).await
    }

    /// The next frame's opcode (with the last-fragment bit) and payload; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        within("frame", async {
            loop {
                if let Some(frame) = self.take() {
                    return Some(frame);
                }
                if self.fill().await == 0 {
                    return None;
                }
            }
        })
        .await
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.read.first()?, *self.read.get(1)?);
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        let (start, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(self.read.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(self.read.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        let payload = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some((first, payload))
    }

    /// Reads until the server's close frame; gives its code, 0 when the stream ends without one.
    pub async fn close_code(&mut self) -> u16 {
        while let Some((first, payload)) = self.next().await {
            if first == CLOSE {
                return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
            }
        }
        0
    }

    /// Reads on until the stream ends.
    pub async fn end(&mut self) {
        while self.next().await.is_some() {}
    }
}

fn head_of(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask | u8::try_from(length).expect("short")),
        126..=65_535 => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&u16::try_from(length).expect("two bytes").to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes
}
