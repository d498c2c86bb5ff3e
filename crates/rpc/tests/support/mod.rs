//! Services on loopback, and peers that find them.
#![allow(dead_code, reason = "each test uses a part")]

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use stonechat_rpc::remote::Peers;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, transport::Endpoint};
use tower::Service;

/// A process of a role.
pub struct Server {
    pub address: SocketAddr,
    /// Tells callers to go elsewhere.
    pub drain: CancellationToken,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start<S>(service: impl FnOnce(CancellationToken) -> S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), service).await
    }

    pub async fn start_at<S>(address: SocketAddr, service: impl FnOnce(CancellationToken) -> S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, end) = (CancellationToken::new(), CancellationToken::new());
        let server = tonic::transport::Server::builder().add_service(service(drain.clone()));
        let ended = end.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended).await.unwrap();
        });
        Self { address, drain, end, task }
    }

    /// Ends once nobody is connected.
    pub async fn stop(self) {
        self.drain.cancel();
        self.end.cancel();
        self.task.await.unwrap();
    }

    /// Ends at once.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Processes at these addresses.
pub fn peers(addresses: &[SocketAddr]) -> Peers {
    let (sender, addresses) = watch::channel(addresses.into());
    // Kept, so that the addresses stay.
    std::mem::forget(sender);
    let dial = |address: SocketAddr| Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    Peers { addresses, dial: Arc::new(dial) }
}
