//! How this process finds others.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use stonechat_config::Cluster;
use stonechat_rpc::remote::Peers;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// Looks for processes of a role until shutdown.
pub fn find(config: &Cluster, entries: &[String], shutdown: CancellationToken) -> Peers {
    let (sender, addresses) = watch::channel(Arc::from([]));
    let (every, entries) = (Duration::from_secs(config.resolve_s), entries.to_vec());
    tokio::spawn(async move {
        let mut every = tokio::time::interval(every);
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            let mut found: Vec<SocketAddr> = Vec::new();
            for entry in &entries {
                if let Ok(resolved) = tokio::net::lookup_host(entry).await {
                    found.extend(resolved);
                }
            }
            found.sort();
            found.dedup();
            sender.send_if_modified(|known: &mut Arc<[SocketAddr]>| {
                let is_new = known.as_ref() != found.as_slice();
                if is_new {
                    *known = found.into();
                }
                is_new
            });
        }
    });
    let dial = |address: SocketAddr| {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint
            .unwrap_or_else(|_| unreachable!("an address is a URL"))
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(3))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(3))
            .connect_lazy()
    };
    Peers { addresses, dial: Arc::new(dial) }
}
