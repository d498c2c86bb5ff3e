//! Lines out of a body that comes in pieces.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use stonechat_errors::{Code, Error};
use stonechat_model::limits;

/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(limits::HTTP_BODY_TIMEOUT_S);

/// Bytes that are still read of a body that was refused: a connection that is closed while its peer sends is reset, and
/// the peer never sees why.
const DROPPED_BYTES: usize = 8 << 20;

/// Splits a body into lines; holds one line at most.
pub(crate) struct Lines<S> {
    body: S,
    held: BytesMut,
    /// Bytes of `held` that hold no end of a line.
    searched: usize,
    is_over: bool,
}

impl<S, E> Lines<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    /// The lines of a body.
    pub fn new(body: S) -> Self {
        Self { body, held: BytesMut::new(), searched: 0, is_over: false }
    }

    /// The next line without its end; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(at) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(self.searched + at).freeze();
                self.held.advance(1);
                self.searched = 0;
                check_length(line.len())?;
                return Ok(Some(line));
            }
            self.searched = self.held.len();
            check_length(self.held.len())?;
            if self.is_over {
                self.searched = 0;
                return Ok((!self.held.is_empty()).then(|| self.held.split().freeze()));
            }
            let next = tokio::time::timeout(SILENCE, self.body.next()).await;
            let next = next.map_err(|_| Error::new(Code::DeadlineExceeded, "body did not come in time"))?;
            match next {
                Some(Ok(bytes)) => self.held.extend_from_slice(&bytes),
                Some(Err(_)) => return Err(Error::invalid("body broke off")),
                None => self.is_over = true,
            }
        }
    }

    /// Reads on for a while and keeps nothing, after a line was refused.
    pub async fn drain(&mut self) {
        let mut dropped = 0;
        let reading = async {
            while let Some(Ok(bytes)) = self.body.next().await {
                dropped += bytes.len();
                if dropped > DROPPED_BYTES {
                    return;
                }
            }
        };
        // Whoever sends nothing more may be answered.
        let _ = tokio::time::timeout(SILENCE, reading).await;
    }
}

fn check_length(length: usize) -> Result<(), Error> {
    if length <= limits::IMPORT_LINE_BYTES {
        return Ok(());
    }
    Err(Error::new(Code::TooLarge, format!("line is longer than {} bytes", limits::IMPORT_LINE_BYTES)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn read(pieces: &[&'static str]) -> Result<Vec<String>, Error> {
        let pieces: Vec<Result<Bytes, Infallible>> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        let mut lines = Lines::new(futures::stream::iter(pieces));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await? {
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(found)
    }

    #[tokio::test]
    async fn lines_are_found_wherever_the_pieces_end() {
        assert_eq!(read(&["a\nb", "c\n", "\n", "d"]).await.unwrap(), ["a", "bc", "", "d"]);
        assert_eq!(read(&["", "a", "", "\n"]).await.unwrap(), ["a"]);
        assert!(read(&[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_gathered_for_ever() {
        let long: &'static str = "x".repeat(limits::IMPORT_LINE_BYTES).leak();
        assert_eq!(read(&[long, "\n"]).await.unwrap().len(), 1);
        assert_eq!(read(&[long, "x", "never read"]).await.unwrap_err().code, Code::TooLarge);
    }
}
