//! Redis: one server, a master with a replica that sentinels watch over, or a cluster of three.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    certificate::Certificate,
    server::{BackendError, Folder, Program, Server, free_ports, until},
};

/// How long a server may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a sentinel or a cluster waits before it takes a server for gone, in milliseconds.
const GONE_MS: u32 = 1_000;
/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// What the sentinels call the master.
pub const MASTER: &str = "stonechat";

/// Servers, numbered from 0. They keep nothing on disk.
#[derive(Debug)]
pub struct Redis {
    servers: Vec<Node>,
    sentinels: Vec<Node>,
    // Dropped after the servers.
    _folder: Folder,
}

#[derive(Debug)]
struct Node {
    port: u16,
    /// Where it talks by TLS, beside the port of the tests' own calls.
    tls_port: Option<u16>,
    server: Server,
}

/// How a server talks by TLS.
fn by_tls(Certificate { cert, key, ca, .. }: &Certificate, port: u16) -> Vec<String> {
    let files = [("--tls-cert-file", cert), ("--tls-key-file", key), ("--tls-ca-cert-file", ca)];
    let files = files.into_iter().flat_map(|(name, file)| [name.to_owned(), file.display().to_string()]);
    files.chain(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"].map(ToOwned::to_owned)).collect()
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Redis {
    /// One server.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn single() -> Result<Self, BackendError> {
        Self::start(1, None, |_, _| Vec::new()).await
    }

    /// One server, which is reached by TLS.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn single_by_tls(certificate: &Certificate) -> Result<Self, BackendError> {
        Self::start(1, Some(certificate), |_, _| Vec::new()).await
    }

    /// A cluster of three masters.
    ///
    /// # Errors
    /// They are not installed, do not start or do not find each other.
    pub async fn cluster() -> Result<Self, BackendError> {
        Self::cluster_by(None).await
    }

    /// A cluster of three masters, which are reached by TLS and reach each other so.
    ///
    /// # Errors
    /// They are not installed, do not start or do not find each other.
    pub async fn cluster_by_tls(certificate: &Certificate) -> Result<Self, BackendError> {
        Self::cluster_by(Some(certificate)).await
    }

    async fn cluster_by(certificate: Option<&Certificate>) -> Result<Self, BackendError> {
        let buses = free_ports(3)?;
        let redis = Self::start(3, certificate, |index, _| {
            let bus = buses[index].to_string();
            let mut arguments =
                vec!["--cluster-enabled".to_owned(), "yes".to_owned(), "--cluster-port".to_owned(), bus];
            if certificate.is_some() {
                arguments.extend(["--tls-cluster".to_owned(), "yes".to_owned()]);
            }
            arguments.extend(["--cluster-node-timeout".to_owned(), GONE_MS.to_string()]);
            arguments
        })
        .await?;
        for (index, node) in redis.servers.iter().enumerate() {
            let slots = (SLOTS * index / 3)..(SLOTS * (index + 1) / 3);
            let range = [slots.start.to_string(), (slots.end - 1).to_string()];
            node.call(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await?;
            let (port, bus) = (redis.servers[0].port.to_string(), buses[0].to_string());
            node.call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
        }
        let agree = async || {
            for node in &redis.servers {
                let known = node.call(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                if !known.contains("cluster_state:ok") || !known.contains("cluster_known_nodes:3") {
                    return false;
                }
            }
            true
        };
        if until(PATIENCE, agree).await {
            Ok(redis)
        } else {
            Err(redis.servers[0].server.program().failed("the cluster did not come about"))
        }
    }

    /// A master, a replica, and three sentinels that call the master [`MASTER`].
    ///
    /// # Errors
    /// They are not installed or do not start.
    pub async fn sentinel() -> Result<Self, BackendError> {
        let mut redis = Self::start(2, None, |index, ports| match index {
            0 => Vec::new(),
            _ => vec!["--replicaof".to_owned(), "127.0.0.1".to_owned(), ports[0].to_string()],
        })
        .await?;
        for (index, port) in free_ports(3)?.into_iter().enumerate() {
            let name = format!("sentinel{index}");
            let master = redis.servers[0].port;
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {MASTER} {GONE_MS}\nsentinel failover-timeout {MASTER} 5000\n"
            );
            let file = redis._folder.write(&format!("{name}/sentinel.conf"), &text)?;
            let own = redis._folder.path().join(&name);
            let program =
                Program::new("redis-server", &own).with([file.display().to_string(), "--sentinel".to_owned()]);
            redis.sentinels.push(Node { port, tls_port: None, server: Server::start(program)? });
        }
        // A failover needs sentinels that know each other, and a replica that they know.
        let agree = async || {
            for node in &redis.sentinels {
                let known = node.call(&["SENTINEL", "MASTER", MASTER]).await.unwrap_or_default();
                let fields: Vec<&str> = known.split("\r\n").collect();
                let is = |name: &str, value: &str| {
                    fields.iter().position(|it| *it == name).and_then(|at| fields.get(at + 2)) == Some(&value)
                };
                if !is("num-slaves", "1") || !is("num-other-sentinels", "2") {
                    return false;
                }
            }
            true
        };
        if until(PATIENCE, agree).await {
            Ok(redis)
        } else {
            Err(redis.sentinels[0].server.program().failed("the sentinels did not find each other"))
        }
    }

    async fn start(
        count: usize,
        certificate: Option<&Certificate>,
        more: impl Fn(usize, &[u16]) -> Vec<String>,
    ) -> Result<Self, BackendError> {
        let folder = Folder::new()?;
        let ports = free_ports(count)?;
        let tls_ports = free_ports(if certificate.is_some() { count } else { 0 })?;
        let mut servers = Vec::with_capacity(count);
        for (index, port) in ports.iter().enumerate() {
            let own = folder.path().join(format!("redis{index}"));
            let port_text = port.to_string();
            let arguments = ["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no"];
            let tls_port = tls_ports.get(index).copied();
            let tls = certificate.zip(tls_port).map(|(it, port)| by_tls(it, port)).unwrap_or_default();
            let program = Program::new("redis-server", &own).with(arguments).with(tls).with(more(index, &ports));
            servers.push(Node { port: *port, tls_port, server: Server::start(program)? });
        }
        let mut redis = Self { servers, sentinels: Vec::new(), _folder: folder };
        for server in 0..count {
            redis.ready(server).await?;
        }
        Ok(redis)
    }

    /// `host:port` where clients reach each server.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|node| address(node.tls_port.unwrap_or(node.port))).collect()
    }

    /// `host:port` of each sentinel.
    pub fn sentinels(&self) -> Vec<String> {
        self.sentinels.iter().map(|node| address(node.port)).collect()
    }

    /// The process of a server; `None` while it is killed.
    pub fn pid(&self, server: usize) -> Option<u32> {
        self.servers[server].server.pid()
    }

    /// `kill -9` of a server.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].server.kill();
    }

    /// SIGSTOP of a server.
    pub fn pause(&self, server: usize) {
        self.servers[server].server.pause();
    }

    /// SIGCONT of a server.
    pub fn go_on(&self, server: usize) {
        self.servers[server].server.go_on();
    }

    /// Starts a server again, which is killed where it runs. It has no data.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, server: usize) -> Result<(), BackendError> {
        self.servers[server].server.restart()
    }

    /// Waits until a server answers.
    ///
    /// # Errors
    /// It does not in time, or has ended.
    pub async fn ready(&mut self, server: usize) -> Result<(), BackendError> {
        let Node { port, server, .. } = &mut self.servers[server];
        let port = *port;
        let answers = || async move { call(port, &["PING"]).await.is_ok_and(|reply| reply.starts_with("+PONG")) };
        server.ready(PATIENCE, answers).await
    }

    /// Empties a server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn empty(&self, server: usize) -> Result<(), BackendError> {
        self.call(server, &["FLUSHALL"]).await.map(|_| ())
    }

    /// Has a server run a command; the reply as it is on the wire.
    ///
    /// # Errors
    /// It does not answer, or with an error.
    pub async fn call(&self, server: usize, command: &[&str]) -> Result<String, BackendError> {
        self.servers[server].call(command).await
    }
}

impl Node {
    async fn call(&self, command: &[&str]) -> Result<String, BackendError> {
        let failed = |source| BackendError::Io { what: format!("{command:?}"), source };
        let reply = call(self.port, command).await.map_err(failed)?;
        if reply.starts_with('-') { Err(self.server.program().failed(reply)) } else { Ok(reply) }
    }
}

/// Runs one command on a connection of its own, which ends after it; the server has replied before it sees the end.
async fn call(port: u16, command: &[&str]) -> std::io::Result<String> {
    let mut request = format!("*{}\r\n", command.len());
    for argument in command {
        request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.shutdown().await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(5), talk).await.map_err(std::io::Error::other)?
}
