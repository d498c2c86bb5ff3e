//! HTTP/1.1 by hand: measuring is to cost little beside what is measured.

use std::{io::SeekFrom, net::SocketAddr, path::Path};

use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::Failure;

/// What is read or written at once.
const STEP_BYTES: usize = 256 << 10;
/// The longest head of an answer.
const HEAD_BYTES: usize = 16 << 10;

/// Some of a file, as a body.
pub struct Part<'a> {
    /// The file.
    pub path: &'a Path,
    /// Where in it.
    pub from: u64,
    /// How much.
    pub length: u64,
}

/// An answer whose body is not read yet, but for what came with its head.
pub struct Answer {
    head: String,
    first: Vec<u8>,
    stream: TcpStream,
}

/// Asks on a connection of its own; `head` is the request line and its headers. A refusal is a failure.
pub async fn ask(server: SocketAddr, head: &[String], part: Option<Part<'_>>) -> Result<Answer, Failure> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = part.as_ref().map_or(0, |part| part.length);
    let said = format!("{}\r\nHost: {server}\r\nContent-Length: {length}\r\n\r\n", head.join("\r\n"));
    stream.write_all(said.as_bytes()).await?;
    if let Some(part) = part {
        send(&mut stream, part).await?;
    }
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if read.len() > HEAD_BYTES || stream.read_buf(&mut read).await? == 0 {
            return Err(format!("no answer to {:?}", head.first()).into());
        }
    };
    let first = read.split_off(end + 4);
    let answer = Answer { head: String::from_utf8(read)?, first, stream };
    match answer.head.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(answer),
        _ => Err(format!("{:?} was answered {:?}", head.first(), answer.head).into()),
    }
}

async fn send(stream: &mut TcpStream, part: Part<'_>) -> Result<(), Failure> {
    let mut file = File::open(part.path).await?;
    file.seek(SeekFrom::Start(part.from)).await?;
    file.set_max_buf_size(STEP_BYTES);
    let (mut left, mut bytes) = (part.length, vec![0; STEP_BYTES]);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        let count = file.read(&mut bytes[..most]).await?;
        if count == 0 {
            return Err("the file became shorter".into());
        }
        stream.write_all(&bytes[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Reads the body as far as it is said to go, and shows it.
    pub async fn read(mut self, mut show: impl FnMut(&[u8])) -> Result<u64, Failure> {
        let length: u64 = self.header("content-length").ok_or("an answer without a length")?.parse()?;
        show(&self.first);
        let (mut read, mut bytes) = (self.first.len() as u64, vec![0; STEP_BYTES]);
        while read < length {
            let count = self.stream.read(&mut bytes).await?;
            if count == 0 {
                return Err("an answer broke off".into());
            }
            show(&bytes[..count]);
            read += count as u64;
        }
        Ok(read)
    }
}
