//! The processes of another role, and a task for each that keeps a stream to it.

use std::{
    collections::HashSet,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Channel;

/// The pause before a peer that was lost is called again, at first.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest pause before a peer is called again.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A stream that lived for so long was well; its loss is the first of a series.
const WELL_AFTER: Duration = Duration::from_secs(5);

/// The processes of a role, as they are found.
#[derive(Clone)]
pub struct Peers {
    /// Their addresses at this moment.
    pub addresses: watch::Receiver<Arc<[SocketAddr]>>,
    /// Makes a channel, which connects when it is used, to an address.
    pub dial: Arc<dyn Fn(SocketAddr) -> Channel + Send + Sync>,
}

impl Peers {
    /// Runs `stream` for each address, again and again for as long as the address is among them. A stream that works
    /// is left alone when its address is gone: names may vanish for a moment.
    pub(super) async fn keep<F, S>(mut self, shutdown: CancellationToken, stream: S)
    where
        S: Fn(SocketAddr, Channel) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = TaskTracker::new();
        let kept: Arc<parking_lot::Mutex<HashSet<SocketAddr>>> = Arc::default();
        loop {
            let now = Arc::clone(&self.addresses.borrow_and_update());
            for address in now.iter().copied() {
                if kept.lock().insert(address) {
                    let (peers, stream, kept) = (self.clone(), stream.clone(), Arc::clone(&kept));
                    let shutdown = shutdown.clone();
                    tasks.spawn(async move {
                        shutdown.run_until_cancelled(peers.keep_one(address, &stream, &kept)).await;
                    });
                }
            }
            let changed = shutdown.run_until_cancelled(self.addresses.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                break;
            }
        }
        // Without anybody who looks for addresses those that are known stay.
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }

    async fn keep_one<F, S>(&self, address: SocketAddr, stream: &S, kept: &parking_lot::Mutex<HashSet<SocketAddr>>)
    where
        S: Fn(SocketAddr, Channel) -> F,
        F: Future<Output = ()>,
    {
        let mut pause = RETRY_FIRST;
        loop {
            let begun = Instant::now();
            stream(address, (self.dial)(address)).await;
            if begun.elapsed() >= WELL_AFTER {
                pause = RETRY_FIRST;
            }
            // Not all at once after a peer that all had.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(RETRY_MAX);
            let mut kept = kept.lock();
            if !self.addresses.borrow().contains(&address) {
                kept.remove(&address);
                return;
            }
        }
    }
}
