//! A session's WebSocket: reads frames, writes what waits, closes as it should.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use metrics::Counter;
use stonechat_model::{limits, now_us};
use stonechat_proto::v1::ClientFrame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, Sleep, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{Encoding, Outbox, Session, close::Close, hub::Hub, outbox::Next};

/// An idle connection keeps this; a larger frame grows it.
const READ_BUFFER_BYTES: usize = 2_048;
/// Frames are gathered up to this before they are written.
const WRITE_BUFFER_BYTES: usize = 8_192;
/// What one turn takes from the outbox.
const GATHER_BYTES: usize = 16_384;
/// Control frames in a row, without a message between them.
const CONTROL_FRAMES: u32 = 100;

/// Counted with every message: looked up once.
static FRAMES_IN: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("stonechat_gateway_frames_in_total"));
static FRAMES_OUT: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("stonechat_gateway_frames_out_total"));

type Stream = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(limits::FRAME_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES))
        .accept_unmasked_frames(false)
}

/// Serves an upgraded connection until it is closed or `end` comes.
pub(crate) async fn serve(
    upgraded: hyper::upgrade::Upgraded,
    hub: Arc<Hub>,
    encoding: Option<Encoding>,
    end: CancellationToken,
) {
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await;
    let Some(encoding) = encoding else {
        return close(stream, Close::WRONG_VERSION).await;
    };
    let session = Session::new(Arc::clone(&hub), encoding);
    let last_heard = Instant::now();
    let timer = Box::pin(sleep_until(last_heard + hub.config.hello_timeout));
    let mut connection = Connection { stream, session, hub, last_heard, control_frames: 0, timer };
    let reason = end.run_until_cancelled(Box::pin(connection.run())).await.unwrap_or(Some(Close::GOING_AWAY));
    let Connection { stream, session, .. } = connection;
    session.end().await;
    if let Some(reason) = reason {
        metrics::counter!("stonechat_gateway_closes_total", "code" => reason.code.to_string()).increment(1);
        close(stream, reason).await;
    }
}

/// Writes a close frame and ends this side of the stream, which clients wait for (RFC 6455, section 7.1.1); then reads
/// on until the peer ends its side, so that it gets to see the frame.
async fn close(mut stream: Stream, reason: Close) {
    let deadline = Instant::now() + Duration::from_secs(limits::CLOSE_TIMEOUT_S);
    let frame = CloseFrame { code: CloseCode::from(reason.code), reason: reason.reason.as_ref().into() };
    let written = async {
        // Refused where the peer closed first; then the answer to its frame waits to be written.
        let _ = stream.close(Some(frame)).await;
        stream.flush().await
    };
    // A peer that is gone, or that sent nonsense, needs no answer beyond the attempt.
    let _ = timeout_at(deadline, written).await;
    let _ = timeout_at(deadline, stream.get_mut().shutdown()).await;
    let mut rest = [0; 1_024];
    let raw = stream.get_mut();
    let _ = timeout_at(deadline, async { while raw.read(&mut rest).await.is_ok_and(|read| read > 0) {} }).await;
}

struct Connection {
    stream: Stream,
    session: Session,
    hub: Arc<Hub>,
    last_heard: Instant,
    control_frames: u32,
    timer: Pin<Box<Sleep>>,
}

/// What a turn of a connection begins with.
enum Turn {
    Write(Next),
    Read(Option<Result<Message, Error>>),
    Look,
}

impl Connection {
    /// Works until the connection ends; gives why it is to be closed, if it is still there.
    async fn run(&mut self) -> Option<Close> {
        let outbox = Arc::clone(self.session.outbox());
        loop {
            let turn = tokio::select! {
                biased;
                next = outbox.next(GATHER_BYTES) => Turn::Write(next),
                message = self.stream.next() => Turn::Read(message),
                () = self.timer.as_mut() => Turn::Look,
            };
            let done = match turn {
                Turn::Look => self.look_at_clock(),
                Turn::Write(Next::Close(reason)) => return Some(reason),
                Turn::Write(Next::Frames(frames)) => self.write(frames).await,
                Turn::Read(message) => self.read(message).await,
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    /// The timer fired: is the peer late? It is set anew only then, since moving it with every message would cost
    /// more than a needless look now and then.
    fn look_at_clock(&mut self) -> Result<(), Option<Close>> {
        if !self.session.is_open() {
            return Err(Some(Close::NO_HELLO));
        }
        let deadline = self.last_heard + self.hub.config.heartbeat;
        if deadline <= Instant::now() {
            return Err(Some(Close::NO_HEARTBEAT));
        }
        self.timer.as_mut().reset(deadline);
        Ok(())
    }

    async fn write(&mut self, frames: Vec<Bytes>) -> Result<(), Option<Close>> {
        Writer::of(&self.session, &self.hub).write(&mut self.stream, frames).await
    }

    /// Has a frame answered, and writes meanwhile what there is to say: a session that catches up may take long, and
    /// have more to say than may wait.
    async fn handle(&mut self, frame: ClientFrame) -> Result<(), Option<Close>> {
        let Self { session, stream, hub, .. } = self;
        let writer = Writer::of(session, hub);
        let mut handling = Box::pin(session.handle(frame, now_us()));
        loop {
            let next = tokio::select! {
                biased;
                () = handling.as_mut() => return Ok(()),
                next = writer.outbox.next(GATHER_BYTES) => next,
            };
            match next {
                Next::Frames(frames) => writer.write(stream, frames).await?,
                Next::Close(reason) => return Err(Some(reason)),
            }
        }
    }

    async fn read(&mut self, message: Option<Result<Message, Error>>) -> Result<(), Option<Close>> {
        let bytes = match message {
            None => return Err(None),
            Some(Err(error)) => return Err(reason_of(&error)),
            Some(Ok(message)) => message,
        };
        self.last_heard = Instant::now();
        let bytes = match (bytes, self.session.encoding()) {
            (Message::Binary(bytes), Encoding::Protobuf) => bytes,
            (Message::Text(text), Encoding::Json) => text.into(),
            (Message::Binary(_), Encoding::Json) => return Err(Some(Close::bad_frame("expected a text message"))),
            (Message::Text(_), Encoding::Protobuf) => {
                return Err(Some(Close::bad_frame("expected a binary message")));
            }
            (Message::Ping(_) | Message::Pong(_), _) => {
                self.control_frames += 1;
                if self.control_frames > CONTROL_FRAMES {
                    return Err(Some(Close::bad_frame("too many control frames")));
                }
                let deadline = self.last_heard + self.hub.config.heartbeat;
                return match timeout_at(deadline, self.stream.flush()).await {
                    Err(_) => Err(Some(Close::NO_HEARTBEAT)),
                    Ok(flushed) => flushed.map_err(|_| None),
                };
            }
            (Message::Close(_) | Message::Frame(_), _) => return Err(Some(Close::NORMAL)),
        };
        self.control_frames = 0;
        FRAMES_IN.increment(1);
        match self.session.encoding().decode(bytes) {
            Ok(frame) => self.handle(frame).await,
            Err(error) => Err(Some(Close::bad_frame(shortened(error)))),
        }
    }
}

/// Writes a session's frames.
struct Writer {
    outbox: Arc<Outbox>,
    encoding: Encoding,
    /// How long a peer may neither read nor speak.
    patience: Duration,
}

impl Writer {
    fn of(session: &Session, hub: &Hub) -> Self {
        let outbox = Arc::clone(session.outbox());
        Self { outbox, encoding: session.encoding(), patience: hub.config.heartbeat }
    }

    /// Writes frames, and whatever comes while there is room, with one flush.
    async fn write(&self, stream: &mut Stream, frames: Vec<Bytes>) -> Result<(), Option<Close>> {
        FRAMES_OUT.increment(frames.len() as u64);
        let mut writing = std::pin::pin!(async {
            for frame in frames {
                let message = match self.encoding {
                    Encoding::Protobuf => Message::Binary(frame),
                    Encoding::Json => Message::Text(Utf8Bytes::try_from(frame).unwrap_or_default()),
                };
                stream.feed(message).await?;
            }
            stream.flush().await
        });
        tokio::select! {
            biased;
            written = writing.as_mut() => written.map_err(|_| None),
            // The peer does not read: nothing more can be said to it but good-bye.
            () = self.outbox.overflowed() => Err(Some(Close::TOO_SLOW)),
            // A peer that neither reads nor speaks must not hold a write for ever.
            () = tokio::time::sleep(self.patience) => Err(Some(Close::NO_HEARTBEAT)),
        }
    }
}

/// A close reason has at most 123 bytes (RFC 6455, section 5.5).
fn shortened(mut text: String) -> String {
    let mut end = text.len().min(100);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn reason_of(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(_) => Some(Close::bad_frame("frame is too large")),
        Error::Utf8(_) => Some(Close::bad_frame("text is not UTF-8")),
        Error::Protocol(error) => Some(Close::bad_frame(shortened(error.to_string()))),
        _ => None,
    }
}

/// Waits until a condition holds, at most so long.
pub(crate) async fn wait_until(most: Duration, mut holds: impl FnMut() -> bool) {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let waiting = async {
        while !holds() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // Past the time nobody waits for it any more.
    let _ = timeout(most, waiting).await;
}
