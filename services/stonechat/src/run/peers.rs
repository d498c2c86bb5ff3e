//! The other processes of the cluster: how they are found, called, and served.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use stonechat_config::Cluster;
use stonechat_lifecycle::{ServeLimits, serve, serve_tls};
use stonechat_model::limits;
use stonechat_peers::{Identity, System, TlsFiles, dialer, discover, may_listen};
use stonechat_rpc::remote::Peers;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::RunError;

/// The other processes.
pub struct Others {
    config: Cluster,
    identity: Option<Arc<Identity>>,
    dial: Arc<dyn Fn(SocketAddr) -> Channel + Send + Sync>,
    end: CancellationToken,
}

impl Others {
    /// Reads this process's certificate where it has one; what is done for other processes ends with `end`.
    pub fn of(config: &Cluster, end: CancellationToken) -> Result<Self, RunError> {
        let identity = identity(config)?;
        if let Some(identity) = &identity {
            tokio::spawn(Arc::clone(identity).follow(end.clone()));
        }
        if !may_listen(config.listen, identity.is_some(), config.allow_plaintext) {
            let reason = "cluster.listen: beyond loopback other roles are served by TLS (cluster.tls_cert, tls_key, \
                          tls_ca); set cluster.allow_plaintext where the network is trusted as a whole";
            return Err(RunError::Refused(reason.to_owned()));
        }
        Ok(Self { config: config.clone(), dial: dialer(identity.clone()), identity, end })
    }

    /// The processes of a role, by their entries in the configuration.
    pub fn find(&self, entries: &[String]) -> Peers {
        let every = Duration::from_secs(self.config.resolve_s);
        let addresses = discover(System, entries.to_vec(), every, self.end.clone());
        Peers { addresses, dial: Arc::clone(&self.dial) }
    }

    /// Serves them until `closing`.
    pub fn serve(
        &self,
        listener: TcpListener,
        app: Router,
        limits: ServeLimits,
        closing: CancellationToken,
    ) -> JoinHandle<std::io::Result<()>> {
        let keep_alive = (limits::PEER_KEEP_ALIVE_S, limits::PEER_KEEP_ALIVE_TIMEOUT_S);
        let keep_alive = (Duration::from_secs(keep_alive.0), Duration::from_secs(keep_alive.1));
        let limits = ServeLimits { keep_alive, ..limits };
        match &self.identity {
            Some(identity) => tokio::spawn(serve_tls(listener, app, limits, identity.server(), closing)),
            None => tokio::spawn(serve(listener, app, limits, closing)),
        }
    }
}

fn identity(config: &Cluster) -> Result<Option<Arc<Identity>>, RunError> {
    let files = [&config.tls_cert, &config.tls_key, &config.tls_ca];
    if files.iter().all(|file| file.as_os_str().is_empty()) {
        return Ok(None);
    }
    if files.iter().any(|file| file.as_os_str().is_empty()) {
        let reason = "cluster.tls_cert, tls_key and tls_ca: all three are needed, or none";
        return Err(RunError::Refused(reason.to_owned()));
    }
    let [cert, key, ca] = files.map(Clone::clone);
    Ok(Some(Identity::load(TlsFiles { cert, key, ca, name: config.tls_name.clone() })?))
}
