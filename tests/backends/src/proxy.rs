//! A TCP proxy on loopback whose network fails on demand.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::server::{BackendError, free_ports};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks of one connection and direction that are on their way; more wait with the sender.
const CHUNKS: usize = 64;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It passes everything on at once.
    Pass,
    /// It passes everything on so much later, in order.
    Delay(Duration),
    /// Connections are reset, and new ones as soon as they come.
    Cut,
    /// Connections stay, and new ones are taken, but nothing passes: neither side hears of the other.
    Hold,
    /// What the caller says does not arrive; what is said to it does.
    HoldUp,
    /// What is said to the caller does not arrive; what it says does.
    HoldDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Network {
    fn holds(self, direction: Direction) -> bool {
        match self {
            Self::Hold => true,
            Self::HoldUp => direction == Direction::Up,
            Self::HoldDown => direction == Direction::Down,
            Self::Pass | Self::Delay(_) | Self::Cut => false,
        }
    }

    fn delay(self) -> Duration {
        if let Self::Delay(delay) = self { delay } else { Duration::ZERO }
    }
}

/// A way to a server, or to one of several in turn, on loopback, which ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    network: watch::Sender<Network>,
    passed: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Begins to pass connections on to servers, which need not be there yet: to one after the other, and to the
    /// next where one refuses.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(targets: Vec<SocketAddr>) -> Result<Self, BackendError> {
        let port = free_ports(1)?.first().copied().unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |source| BackendError::Io { what: format!("listen on {address}"), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let (network, seen) = watch::channel(Network::Pass);
        let targets = Arc::new(Mutex::new(targets));
        let passed = watch::Sender::new(0);
        let ways = Ways { targets: Arc::clone(&targets), network: seen, passed: passed.clone() };
        let accepting = tokio::spawn(accept(listener, ways));
        Ok(Self { address, targets, network, passed, accepting })
    }

    /// Bytes that passed by now, in both directions.
    pub fn passed_bytes(&self) -> u64 {
        *self.passed.borrow()
    }

    /// Waits until so many have.
    pub async fn until_passed(&self, bytes: u64) {
        // The sender is here.
        let _ = self.passed.subscribe().wait_for(|passed| *passed >= bytes).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has new connections go elsewhere.
    pub fn retarget(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock() = targets;
    }

    /// Has the network be like this from now on, for connections that are there too.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.network.send_replace(Network::Cut);
    }
}

/// Where connections go and how.
struct Ways {
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    network: watch::Receiver<Network>,
    passed: watch::Sender<u64>,
}

async fn accept(listener: TcpListener, ways: Ways) {
    let mut turn = 0_usize;
    while let Ok((caller, _)) = listener.accept().await {
        let mut targets = ways.targets.lock().clone();
        if !targets.is_empty() {
            let first = turn % targets.len();
            targets.rotate_left(first);
        }
        turn = turn.wrapping_add(1);
        let (network, passed) = (ways.network.clone(), ways.passed.clone());
        tokio::spawn(async move {
            // Either side learns of an end by the end of its connection.
            let _ = connection(caller, &targets, network, passed).await;
        });
    }
}

async fn connection(
    mut caller: TcpStream,
    targets: &[SocketAddr],
    mut network: watch::Receiver<Network>,
    passed: watch::Sender<u64>,
) -> io::Result<()> {
    if *network.borrow() == Network::Cut {
        return caller.set_zero_linger();
    }
    let mut server = TcpStream::connect(targets).await?;
    caller.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_cut = {
        let ((caller_in, caller_out), (server_in, server_out)) = (caller.split(), server.split());
        let up = pass(caller_in, server_out, Direction::Up, network.clone(), &passed);
        let down = pass(server_in, caller_out, Direction::Down, network.clone(), &passed);
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.is_err(),
            _ = network.wait_for(|network| *network == Network::Cut) => true,
        }
    };
    if is_cut {
        // Reset: no end is told in order.
        caller.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Passes one direction on until it ends.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut network: watch::Receiver<Network>,
    passed: &watch::Sender<u64>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let delays = network.clone();
    let reading = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = from.read(&mut chunk).await?;
            chunk.truncate(count);
            let due = Instant::now() + delays.borrow().delay();
            // An empty chunk is the end, which is passed on in its turn.
            if sender.send((due, chunk)).await.is_err() || count == 0 {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let writing = async {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            // The sender lives as long as the proxy, and cuts at its end.
            let _ = network.wait_for(|network| !network.holds(direction)).await;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
            passed.send_modify(|passed| *passed += chunk.len() as u64);
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    /// A server that says back what it hears, and says so when it hears of an end.
    async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<usize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, hears) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut bytes = vec![0; 1024];
                    while let Ok(count) = stream.read(&mut bytes).await {
                        let _ = heard.send(count);
                        if count == 0 || stream.write_all(&bytes[..count]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, hears)
    }

    async fn said(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_so_does_the_end() {
        let (target, mut heard) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let all: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; all.len()];
        let (wrote, got) = tokio::join!(write.write_all(&all), read.read_exact(&mut back));
        wrote.unwrap();
        got.unwrap();
        assert!(back == all);
        let both_ways = 2 * all.len() as u64;
        tokio::time::timeout(PATIENCE, proxy.until_passed(both_ways)).await.unwrap();
        assert_eq!(proxy.passed_bytes(), both_ways);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        let ended = async { while heard.recv().await != Some(0) {} };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_delay_is_kept_both_ways() {
        let (target, _heard) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"a").await.unwrap(), b"a");
        proxy.set(Network::Delay(SHORT));
        let begun = Instant::now();
        assert_eq!(said(&mut stream, b"b").await.unwrap(), b"b");
        assert!(begun.elapsed() >= SHORT * 2);
    }

    #[tokio::test]
    async fn a_held_connection_stays_and_goes_on() {
        let (target, mut heard) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"a").await.unwrap(), b"a");
        assert_eq!(heard.recv().await, Some(1));
        proxy.set(Network::HoldUp);
        assert!(tokio::time::timeout(SHORT, said(&mut stream, b"b")).await.is_err());
        assert!(heard.try_recv().is_err(), "nothing arrives");
        proxy.set(Network::HoldDown);
        assert!(tokio::time::timeout(SHORT, stream.read(&mut [0; 8])).await.is_err());
        assert_eq!(heard.recv().await, Some(1), "it arrives, the answer does not");
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(tokio::time::timeout(SHORT, said(&mut other, b"c")).await.is_err());
        proxy.set(Network::Pass);
        let mut back = [0; 1];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"b");
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_there_and_what_comes() {
        let (target, _heard) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"a").await.unwrap(), b"a");
        proxy.set(Network::Cut);
        let error = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(said(&mut other, b"b").await.is_err());
        let (elsewhere, _heard) = echo().await;
        proxy.retarget(vec![elsewhere]);
        proxy.set(Network::Pass);
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut other, b"c").await.unwrap(), b"c");
    }
}
