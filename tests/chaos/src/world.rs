//! The real world: the server as a child process, clients over WebSocket.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use stonechat_auth::sign_user_token;
use stonechat_backends::server::free_ports;
use stonechat_model::{KeyId, UserId, now_us};

use crate::{
    Server, Started,
    client::ClientLink,
    link::{Link, World, WorldError},
    server::ServerError,
    shelf::Shelf,
};

/// How long a start may take before something is wrong.
const START: Duration = Duration::from_secs(60);
/// How long tokens are good for: longer than any storm.
const TOKEN: Duration = Duration::from_secs(24 * 3600);

/// A server in a folder, and clients of it.
pub struct RealWorld {
    server: Server,
    address: SocketAddr,
    started: Option<Started>,
}

impl RealWorld {
    /// A server of this program that keeps everything, its log too, in a folder and listens at a free port.
    ///
    /// # Errors
    /// No free port.
    pub fn new(program: PathBuf, folder: &Path) -> io::Result<Self> {
        // Not one that the system gives to connections: while the server is dead, somebody else's could have it.
        let ports = free_ports(1).map_err(io::Error::other)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let server = Server::new(program, folder.join("data"), address, folder.join("server.log"));
        Ok(Self { server, address, started: None })
    }

    /// Where the server is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn token(&self, user: &UserId) -> Option<String> {
        let started = self.started.as_ref()?;
        let key = KeyId::parse(&started.key_id).ok()?;
        sign_user_token(&key, started.key_secret.as_bytes(), user, None, now_us(), TOKEN).ok()
    }
}

#[async_trait]
impl World for RealWorld {
    fn link(&self, user: &UserId, device: &str) -> Result<Box<dyn Link>, WorldError> {
        let token = self.token(user).ok_or_else(|| WorldError("the server never was ready".to_owned()))?;
        let link = ClientLink::open(&format!("http://{}", self.address), token.clone(), device);
        let link = link.map_err(|error| WorldError(error.to_string()))?;
        Ok(Box::new(link.with_files(Shelf::new(self.address, token))))
    }

    fn start(&mut self) -> Result<(), WorldError> {
        Ok(self.server.start()?)
    }

    async fn ready(&mut self) -> Result<Duration, WorldError> {
        let (started, took) = self.server.ready(START).await?;
        self.started = Some(started);
        Ok(took)
    }

    async fn kill(&mut self) -> Result<(), WorldError> {
        Ok(self.server.kill().await?)
    }

    fn has_ended(&mut self) -> bool {
        self.server.has_ended()
    }
}

impl From<ServerError> for WorldError {
    fn from(error: ServerError) -> Self {
        Self(error.to_string())
    }
}
