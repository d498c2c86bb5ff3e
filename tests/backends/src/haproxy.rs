//! HAProxy: one address before many processes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::net::TcpStream;

use crate::server::{BackendError, Folder, Program, Server, free_ports};

/// How long it may take to listen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running proxy.
#[derive(Debug)]
pub struct HaProxy {
    server: Server,
    address: SocketAddr,
    // Dropped after the server.
    _folder: Folder,
}

impl HaProxy {
    /// Starts one with the configuration that is made for its address.
    ///
    /// # Errors
    /// It is not installed, or refuses the configuration.
    pub async fn start(configuration: impl FnOnce(SocketAddr) -> String) -> Result<Self, BackendError> {
        let folder = Folder::new()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)?[0]));
        let file = folder.write("haproxy.cfg", &configuration(address))?;
        let program = Program::new("haproxy", folder.path()).with(["-db", "-f"]).with([file.display().to_string()]);
        let mut server = Server::start(program)?;
        server.ready(PATIENCE, || async move { TcpStream::connect(address).await.is_ok() }).await?;
        Ok(Self { server, address, _folder: folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }
}
