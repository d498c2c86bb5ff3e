//! One process of a role.

use std::{net::SocketAddr, path::Path, time::Duration};

use stonechat_backends::server::{BackendError, Program, Server};
use stonechat_chaos::probe::get;

use crate::Kind;

/// How long a process may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A process of a role.
#[derive(Debug)]
pub struct Process {
    /// Its role.
    pub kind: Kind,
    /// Which of its role's processes it is, from 0 on.
    pub index: usize,
    /// Where its health, its metrics and, of a gateway or an api, its clients are.
    pub public: SocketAddr,
    /// Where other roles call it.
    pub internal: SocketAddr,
    server: Server,
}

impl Process {
    /// Starts a process of `program` in a folder of its own below `folder`.
    pub(crate) fn start(
        (kind, index): (Kind, usize),
        (public, internal): (SocketAddr, SocketAddr),
        program: &Path,
        folder: &Path,
        environment: Vec<(String, String)>,
    ) -> Result<Self, BackendError> {
        let name = format!("{}{}", kind.role(), index + 1);
        let mut program = Program::new(program, &folder.join(name)).with(["run", "--role", kind.role()]);
        program.environment = environment;
        program.environment.push(("STONECHAT_SERVER__LISTEN".to_owned(), public.to_string()));
        program.environment.push(("STONECHAT_CLUSTER__LISTEN".to_owned(), internal.to_string()));
        Ok(Self { kind, index, public, internal, server: Server::start(program)? })
    }

    /// Its role and number, as in `router2`.
    pub fn name(&self) -> String {
        format!("{}{}", self.kind.role(), self.index + 1)
    }

    /// The server, to be killed, stopped and started again.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Its process id, while it was not stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It has ended, or is not ready in time.
    pub async fn ready(&mut self) -> Result<(), BackendError> {
        let public = self.public;
        self.server.ready(READY, || is_ready(public)).await
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        is_ready(self.public).await
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").await.is_some()
}
