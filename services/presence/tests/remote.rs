//! Presence in other processes, called over real connections, passes the suite of every backend.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use stonechat_model::{GatewayId, TimeUs};
use stonechat_presence::{MemoryPresence, PresenceConfig, conformance::Subject};
use stonechat_rpc::{
    Control, Delivery, Inbox, Outcome, Presence, SignalDelivery,
    remote::{Peers, PresenceServer, RemotePresence, Sharing},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;

const LEASE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// Two processes that share presence, and one that calls them.
struct Remote {
    backend: Arc<MemoryPresence>,
    now_us: Arc<AtomicI64>,
    presence: Arc<RemotePresence>,
    _addresses: watch::Sender<Arc<[SocketAddr]>>,
    _end: DropGuard,
}

#[async_trait]
impl Subject for Remote {
    fn instances(&self) -> Vec<Arc<dyn Presence>> {
        vec![Arc::clone(&self.presence) as Arc<dyn Presence>]
    }

    async fn lapse(&self, gateway: &GatewayId) {
        // Every other one renews halfway.
        let half = TimeUs::try_from(LEASE.as_micros()).unwrap() / 2 + 1;
        for _ in 0..2 {
            self.now_us.fetch_add(half, Ordering::Relaxed);
            for other in
                (0..10).flat_map(|n| [format!("g{n}"), format!("s0g{n}"), format!("s1g{n}"), format!("s2g{n}")])
            {
                if other != gateway.as_str() {
                    self.backend.renew(&GatewayId::parse(&other).unwrap()).await.unwrap();
                }
            }
        }
        self.backend.expire();
    }

    async fn lose_everything(&self) {
        self.backend.forget_everything();
    }
}

async fn fresh() -> Box<dyn Subject> {
    Box::new(Remote::start(2, Sharing::All).await)
}

impl Remote {
    async fn start(processes: usize, sharing: Sharing) -> Self {
        let now_us = Arc::new(AtomicI64::new(1_000_000));
        let clock = Arc::clone(&now_us);
        let backend =
            MemoryPresence::new(PresenceConfig { lease: LEASE }, Arc::new(move || clock.load(Ordering::Relaxed)));
        let end = CancellationToken::new();
        let mut listening = Vec::new();
        for _ in 0..processes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listening.push(listener.local_addr().unwrap());
            let service = PresenceServer::service(Arc::clone(&backend) as Arc<dyn Presence>, sharing, end.clone());
            let server = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(
                server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), end.clone().cancelled_owned()),
            );
        }
        let (sender, addresses) = watch::channel(listening.into());
        let dial = |address: SocketAddr| Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let (presence, run) = RemotePresence::new(Peers { addresses, dial: Arc::new(dial) }, end.clone());
        tokio::spawn(run);
        let mut ready = presence.ready();
        tokio::time::timeout(PATIENCE, ready.wait_for(|peers| *peers == processes)).await.unwrap().unwrap();
        Self { backend, now_us, presence, _addresses: sender, _end: end.drop_guard() }
    }
}

stonechat_presence::presence_conformance!(fresh);

/// A gateway that nobody tells anything.
struct Deaf;

impl Inbox for Deaf {
    fn outcome(&self, _: Outcome) {}

    fn deliver(&self, _: Delivery) {}

    fn signal(&self, _: SignalDelivery) {}

    fn control(&self, _: Control) {}

    fn unsure(&self) {}
}

#[tokio::test]
async fn a_gateway_takes_no_presence_that_each_of_several_processes_keeps_for_itself() {
    let gateway = GatewayId::parse("g").unwrap();
    let attached = async |processes, sharing| {
        let remote = Remote::start(processes, sharing).await;
        remote.presence.attach(&gateway, Arc::new(Deaf)).await
    };
    let error = attached(2, Sharing::Alone).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("presence.backend"), "{error}");
    attached(1, Sharing::Alone).await.unwrap();
    attached(2, Sharing::All).await.unwrap();
}
