//! The caller's side of calls: a stream to each process of a role, and a choice among them for each call.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use parking_lot::{Mutex, RwLock};
use stonechat_errors::{Code, Error};
use stonechat_model::limits;
use stonechat_proto::internal::v1::{Call, CallFrame, ReplyFrame};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    Peers,
    budget::Budget,
    circuit::{Admitted, Circuit, Turn},
    errors::from_frame,
    gather::{Bounds, Gather, Refused},
};

/// Bytes of a call beside its body, about.
const CALL_BYTES: usize = 24;
/// Calls in a row that a peer did not reply to in time, after which it is left and called anew.
const TIMEOUTS_IN_A_ROW: usize = 16;
/// How long opening a stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Tries of a call that may be repeated.
const TRIES: usize = 3;

/// Opens the stream of a service.
pub(super) type Open = fn(Channel, Frames) -> BoxFuture<'static, Result<Streaming<ReplyFrame>, Status>>;

/// The calls of a stream as they become frames.
pub(super) struct Frames(BoxStream<'static, CallFrame>);

impl futures::Stream for Frames {
    type Item = CallFrame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<CallFrame>> {
        self.0.as_mut().poll_next(context)
    }
}

/// Whether a call may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it again changes nothing.
    Harmless,
    /// It is done once at most.
    Never,
}

/// Calls a role, at whichever of its processes has the least to do.
pub(super) struct Caller {
    role: &'static str,
    streams: RwLock<Vec<Arc<Stream>>>,
    /// Outlive the streams: a process that is called anew rests all the same.
    circuits: Mutex<HashMap<SocketAddr, Arc<Circuit>>>,
    budget: Budget,
    /// Counts the streams there are.
    ready: watch::Sender<usize>,
    turn: AtomicUsize,
    in_flight: AtomicUsize,
}

/// Calls on their way over one stream.
pub(super) struct Stream {
    pub channel: Channel,
    address: SocketAddr,
    circuit: Arc<Circuit>,
    out: Gather<Call>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Bytes, Failed>>>>,
    next: AtomicU64,
    load: AtomicUsize,
    timeouts: AtomicUsize,
    draining: AtomicBool,
    give_up: CancellationToken,
}

/// Why a stream gave no reply.
#[derive(Debug)]
enum Failed {
    /// The service says why.
    Answered(Error),
    /// It was not sent.
    NotSent,
    /// The service has too much to do and did not begin it.
    Shed(Error),
    /// The stream broke; the call may be done.
    Broken,
    /// No reply in time; the call may be done.
    Late,
}

impl Caller {
    pub fn new(role: &'static str) -> Arc<Self> {
        let (turn, in_flight) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (circuits, budget) = (Mutex::default(), Budget::default());
        Arc::new(Self {
            role,
            streams: RwLock::default(),
            circuits,
            budget,
            ready: watch::Sender::new(0),
            turn,
            in_flight,
        })
    }

    /// Keeps a stream to each peer until shutdown.
    pub async fn run(self: Arc<Self>, peers: Peers, open: Open, shutdown: CancellationToken) {
        let stream = move |address, channel| {
            let caller = Arc::clone(&self);
            async move { caller.run_stream(address, channel, open).await }
        };
        peers.keep(shutdown, stream).await;
    }

    /// Whether there is somebody to call; changes are told.
    pub fn ready(&self) -> watch::Receiver<usize> {
        self.ready.subscribe()
    }

    /// Makes a call.
    ///
    /// # Errors
    /// What the service answers; unavailable where nobody can be called or did not reply in time.
    pub async fn call(&self, body: Bytes, timeout: Duration, repeat: Repeat) -> Result<Bytes, Error> {
        let _counted = Counted::new(&self.in_flight);
        if self.in_flight.load(Ordering::Relaxed) > limits::CALLS_IN_FLIGHT {
            return Err(self.unavailable("has too many calls waiting"));
        }
        self.budget.call();
        let deadline = Instant::now() + timeout;
        let mut avoid = None;
        for _ in 0..TRIES {
            let (stream, admitted) = self.pick_but(avoid.as_ref(), deadline).await?;
            let called = stream.call(body.clone(), deadline).await;
            self.judge(&stream, &called, admitted);
            match called {
                Ok(reply) => return Ok(reply),
                Err(Failed::Answered(error)) => return Err(error),
                Err(Failed::NotSent) => {}
                Err(Failed::Shed(_)) if self.may_repeat() => {}
                Err(Failed::Shed(error)) => return Err(error),
                Err(Failed::Broken) if repeat == Repeat::Harmless && self.may_repeat() => {}
                Err(Failed::Broken) => return Err(self.unavailable("was lost")),
                Err(Failed::Late) => return Err(self.late()),
            }
            avoid = Some(stream);
        }
        Err(self.unavailable("failed again and again"))
    }

    fn may_repeat(&self) -> bool {
        let may = self.budget.repeat();
        if may {
            metrics::counter!("stonechat_rpc_calls_repeated_total", "role" => self.role).increment(1);
        } else {
            metrics::counter!("stonechat_rpc_calls_not_repeated_total", "role" => self.role).increment(1);
        }
        may
    }

    fn circuit(&self, address: SocketAddr) -> Arc<Circuit> {
        let mut circuits = self.circuits.lock();
        if circuits.len() >= limits::PEERS {
            circuits.retain(|_, circuit| Arc::strong_count(circuit) > 1);
        }
        Arc::clone(circuits.entry(address).or_default())
    }

    /// Tells the circuit of a process what came of a call.
    fn judge(&self, stream: &Stream, called: &Result<Bytes, Failed>, admitted: Admitted) {
        let has_failed = match called {
            Ok(_) => false,
            Err(Failed::Answered(error)) => matches!(error.code, Code::Unavailable | Code::DeadlineExceeded),
            Err(Failed::Shed(_) | Failed::Late) => true,
            // What it is to be called anew tells of that.
            Err(Failed::NotSent | Failed::Broken) => return,
        };
        let turn = match has_failed {
            true => stream.circuit.failed(Instant::now(), admitted),
            false => stream.circuit.well(),
        };
        match turn {
            Turn::None => {}
            Turn::Opened => {
                metrics::counter!("stonechat_rpc_circuits_opened_total", "role" => self.role).increment(1);
                tracing::warn!(peer.role = self.role, peer.address = %stream.address, "peer fails, others are called");
            }
            Turn::Closed => {
                tracing::info!(peer.role = self.role, peer.address = %stream.address, "peer replies again");
            }
        }
    }

    /// A peer that has less to do than another, once there is one.
    pub async fn pick(&self, deadline: Instant) -> Result<Arc<Stream>, Error> {
        Ok(self.pick_but(None, deadline).await?.0)
    }

    async fn pick_but(&self, avoid: Option<&Arc<Stream>>, deadline: Instant) -> Result<(Arc<Stream>, Admitted), Error> {
        loop {
            if let Some(picked) = self.pick_now(avoid, Instant::now()) {
                return Ok(picked);
            }
            let mut ready = self.ready.subscribe();
            let any = ready.wait_for(|count| *count > 0);
            if tokio::time::timeout_at(deadline, any).await.is_err() {
                return Err(self.unavailable("cannot be reached"));
            }
        }
    }

    /// The one with less to do of the next two that may be called. Of those that rest, and of the one to be avoided,
    /// some is called only where there is nobody else.
    fn pick_now(&self, avoid: Option<&Arc<Stream>>, now: Instant) -> Option<(Arc<Stream>, Admitted)> {
        let streams = self.streams.read();
        let count = streams.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(count)?;
        let mut one: Option<&Arc<Stream>> = None;
        for stream in streams.iter().cycle().skip(first).take(count) {
            if avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, stream)) {
                continue;
            }
            match (stream.circuit.admits(now), one) {
                (Admitted::AsProbe, _) => return Some((Arc::clone(stream), Admitted::AsProbe)),
                (Admitted::No, _) => {}
                (Admitted::Yes, None) => one = Some(stream),
                (Admitted::Yes, Some(other)) => {
                    let lighter = if stream.load() < other.load() { stream } else { other };
                    return Some((Arc::clone(lighter), Admitted::Yes));
                }
            }
        }
        let picked = one.or_else(|| streams.get(first))?;
        Some((Arc::clone(picked), Admitted::Yes))
    }

    fn unavailable(&self, what: &str) -> Error {
        metrics::counter!("stonechat_rpc_calls_failed_total", "role" => self.role).increment(1);
        Error::unavailable(format!("{} {what}", self.role))
    }

    fn late(&self) -> Error {
        metrics::counter!("stonechat_rpc_calls_failed_total", "role" => self.role).increment(1);
        Error::new(Code::DeadlineExceeded, format!("{} did not reply in time", self.role))
    }

    async fn run_stream(&self, address: SocketAddr, channel: Channel, open: Open) {
        let stream = Arc::new(Stream::new(channel.clone(), address, self.circuit(address)));
        let sending = Arc::clone(&stream);
        let frames = futures::stream::unfold(sending, |sending| async {
            let calls = sending.out.take(limits::PEER_GATHER_BYTES).await?;
            Some((CallFrame { calls }, sending))
        });
        let opened = tokio::time::timeout(OPEN_TIMEOUT, open(channel, Frames(Box::pin(frames)))).await;
        let incoming = match opened {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(status)) => {
                tracing::debug!(peer.role = self.role, peer.address = %address, %status, "peer cannot be called");
                return;
            }
            Err(_) => {
                tracing::debug!(peer.role = self.role, peer.address = %address, "peer did not answer");
                return;
            }
        };
        let listed = Listed::new(self, &stream);
        tracing::info!(peer.role = self.role, peer.address = %address, "peer can be called");
        let reading = self.read(&stream, incoming);
        match stream.give_up.run_until_cancelled(reading).await {
            Some(Ok(())) => tracing::info!(peer.role = self.role, peer.address = %address, "peer ended the stream"),
            Some(Err(status)) => {
                tracing::warn!(peer.role = self.role, peer.address = %address, %status, "peer was lost");
            }
            None => tracing::warn!(peer.role = self.role, peer.address = %address, "peer does not reply, calling anew"),
        }
        drop(listed);
    }

    async fn read(&self, stream: &Arc<Stream>, mut incoming: Streaming<ReplyFrame>) -> Result<(), Status> {
        while let Some(frame) = incoming.message().await? {
            for reply in frame.replies {
                let result = match reply.error {
                    None => Ok(reply.body),
                    Some(error) if reply.shed => Err(Failed::Shed(from_frame(error))),
                    Some(error) => Err(Failed::Answered(from_frame(error))),
                };
                stream.answer(reply.id, result);
            }
            if frame.draining {
                stream.draining.store(true, Ordering::Relaxed);
                self.unlist(stream);
            }
            if stream.draining.load(Ordering::Relaxed) && stream.waiting.lock().is_empty() {
                stream.out.close();
            }
        }
        Ok(())
    }

    fn unlist(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams.write();
        streams.retain(|other| !Arc::ptr_eq(other, stream));
        self.ready.send_replace(streams.len());
    }
}

/// A stream that can be called for as long as this lives.
struct Listed<'a> {
    caller: &'a Caller,
    stream: &'a Arc<Stream>,
}

impl<'a> Listed<'a> {
    fn new(caller: &'a Caller, stream: &'a Arc<Stream>) -> Self {
        let mut streams = caller.streams.write();
        streams.push(Arc::clone(stream));
        caller.ready.send_replace(streams.len());
        Self { caller, stream }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.caller.unlist(self.stream);
        self.stream.fail_all();
    }
}

impl Stream {
    fn new(channel: Channel, address: SocketAddr, circuit: Arc<Circuit>) -> Self {
        Self {
            channel,
            address,
            circuit,
            out: Gather::new(Bounds { items: limits::CALLS_IN_FLIGHT, bytes: limits::CALLS_QUEUE_BYTES }),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            load: AtomicUsize::new(0),
            timeouts: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            give_up: CancellationToken::new(),
        }
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    async fn call(&self, body: Bytes, deadline: Instant) -> Result<Bytes, Failed> {
        let _counted = Counted::new(&self.load);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let _forget = Forget { stream: self, id };
        let size = body.len() + CALL_BYTES;
        match self.out.push(Call { id, timeout_ms, body }, size) {
            Ok(()) => {}
            Err(Refused::Closed) => return Err(Failed::NotSent),
            Err(Refused::Full) => return Err(Failed::Answered(Error::unavailable("too many calls wait"))),
        }
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(result)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                result
            }
            Ok(Err(_)) => Err(Failed::Broken),
            Err(_) => {
                if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_IN_A_ROW {
                    self.give_up.cancel();
                }
                Err(Failed::Late)
            }
        }
    }

    fn answer(&self, id: u64, result: Result<Bytes, Failed>) {
        if let Some(sender) = self.waiting.lock().remove(&id) {
            // Whoever waited may have gone meanwhile.
            let _ = sender.send(result);
        }
    }

    /// What was not sent may be sent elsewhere; of the rest nothing is known.
    fn fail_all(&self) {
        for call in self.out.drain() {
            self.answer(call.id, Err(Failed::NotSent));
        }
        for (_, sender) in self.waiting.lock().drain() {
            let _ = sender.send(Err(Failed::Broken));
        }
    }
}

/// Forgets a call, also one whose future is dropped.
struct Forget<'a> {
    stream: &'a Stream,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut waiting = self.stream.waiting.lock();
        waiting.remove(&self.id);
        if waiting.is_empty() && self.stream.draining.load(Ordering::Relaxed) {
            self.stream.out.close();
        }
    }
}

/// Counts itself while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
