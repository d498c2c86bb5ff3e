//! The connection to Redis: made again when it is lost, and meanwhile every call is refused at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use stonechat_errors::Error;
use stonechat_model::limits;
use tokio::sync::{Notify, mpsc, watch};

use super::{RedisConfig, Topology, Trust};

/// Commands to a cluster at once, each to the node that has its slot.
const CLUSTER_AT_ONCE: usize = 256;

/// What is told where something was published.
pub(super) type Pushed = mpsc::Receiver<PushInfo>;

/// Where what was published goes.
#[derive(Clone)]
struct Pushes {
    sender: mpsc::Sender<PushInfo>,
    lost: Arc<AtomicBool>,
}

/// Where Redis is.
enum Source {
    Standalone(Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

#[derive(Clone)]
enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The connection.
pub(super) struct Connection {
    source: Source,
    call_timeout: Duration,
    pushed: Pushes,
    /// The connection and its number.
    wire: Mutex<Option<(u64, Wire)>>,
    broken: Notify,
    open: watch::Sender<usize>,
}

impl Connection {
    /// Takes a configuration; nothing is connected yet. What is published comes to the receiver.
    pub fn new(config: &RedisConfig) -> Result<(Self, Pushed), RedisError> {
        let (sender, receiver) = mpsc::channel(limits::PRESENCE_SIGNALS_QUEUED);
        let pushed = Pushes { sender, lost: Arc::default() };
        let source = Source::new(config, &pushed)?;
        let connection = Self {
            source,
            call_timeout: config.call_timeout,
            pushed,
            wire: Mutex::new(None),
            broken: Notify::new(),
            open: watch::Sender::new(0),
        };
        Ok((connection, receiver))
    }

    /// One while it is connected.
    pub fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// Whether something published was lost since this was asked last.
    pub fn has_lost(&self) -> bool {
        self.pushed.lost.swap(false, Ordering::Relaxed)
    }

    /// Whether keys are on several servers.
    pub fn is_cluster(&self) -> bool {
        matches!(self.source, Source::Cluster(_))
    }

    /// Connects anew, and has what is published to a channel come to the receiver.
    pub async fn connect(&self, channel: &str) -> Result<(), RedisError> {
        let mut wire = self.source.wire(self.call_timeout, &self.pushed).await?;
        match &mut wire {
            Wire::One(wire) => wire.subscribe(channel).await?,
            Wire::Cluster(wire) => wire.subscribe(channel).await?,
        }
        let mut known = self.wire.lock();
        let number = known.as_ref().map_or(0, |(number, _)| number + 1);
        *known = Some((number, wire));
        self.open.send_replace(1);
        Ok(())
    }

    /// Waits until the connection is broken.
    pub async fn broken(&self) {
        while self.wire.lock().is_some() {
            self.broken.notified().await;
        }
    }

    /// Takes the connection for broken.
    pub fn give_up(&self) {
        *self.wire.lock() = None;
        self.open.send_replace(0);
        self.broken.notify_one();
    }

    /// Runs commands; their replies in order. They are not one step: others may come between.
    pub async fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (number, wire) = self.wire()?;
        let (count, begun) = (commands.len(), std::time::Instant::now());
        let done = match wire {
            Wire::One(wire) => tokio::time::timeout(self.call_timeout, pipelined(wire, commands)).await,
            Wire::Cluster(wire) => tokio::time::timeout(self.call_timeout, each(wire, commands)).await,
        };
        metrics::histogram!("stonechat_presence_redis_seconds").record(begun.elapsed().as_secs_f64());
        metrics::counter!("stonechat_presence_redis_commands_total").increment(count as u64);
        match done {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => Err(self.failed(number, &error)),
            Err(_) => {
                metrics::counter!("stonechat_presence_redis_errors_total").increment(1);
                Err(Error::unavailable("presence did not answer in time"))
            }
        }
    }

    /// What each server calls the data that it has; another one is there after a failover or a restart.
    pub async fn replications(&self) -> Result<BTreeSet<String>, Error> {
        let (number, wire) = self.wire()?;
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let asked = async {
            match wire {
                Wire::One(mut wire) => wire.send_packed_command(&info).await.map(|value| vec![value]),
                Wire::Cluster(mut wire) => {
                    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                    wire.route_command(info, all).await.map(|value| match value {
                        Value::Map(nodes) => nodes.into_iter().map(|(_, value)| value).collect(),
                        Value::Array(values) => values,
                        value => vec![value],
                    })
                }
            }
        };
        let late = |_| Error::unavailable("presence did not answer in time");
        let values = tokio::time::timeout(self.call_timeout, asked).await.map_err(late)?;
        let mut ids = BTreeSet::new();
        for value in values.map_err(|error| self.failed(number, &error))? {
            let text = String::from_redis_value(value).map_err(|error| unreadable(&error))?;
            ids.extend(text.lines().filter_map(|line| line.strip_prefix("master_replid:")).map(|id| id.to_owned()));
        }
        Ok(ids)
    }

    fn wire(&self) -> Result<(u64, Wire), Error> {
        self.wire.lock().clone().ok_or_else(|| Error::unavailable("presence is not connected"))
    }

    fn failed(&self, number: u64, error: &RedisError) -> Error {
        metrics::counter!("stonechat_presence_redis_errors_total").increment(1);
        tracing::debug!(%error, "redis refused a call");
        // A cluster's connection finds other nodes by itself, unless it lives on no more.
        let is_of_one = !self.is_cluster();
        let is_over = error.is_io_error() || error.is_connection_dropped() || is_other_server(error);
        let mut wire = self.wire.lock();
        if is_of_one && is_over && wire.as_ref().is_some_and(|(known, _)| *known == number) {
            *wire = None;
            self.open.send_replace(0);
            self.broken.notify_one();
        }
        Error::unavailable("presence refused a call")
    }
}

/// It is no master any more, or not yet.
fn is_other_server(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOREPLICAS"))
}

pub(super) fn unreadable(error: &impl std::fmt::Display) -> Error {
    tracing::error!(%error, "redis has what cannot be read");
    Error::internal()
}

async fn pipelined(mut wire: MultiplexedConnection, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisError> {
    let mut values = Vec::with_capacity(commands.len());
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        for command in commands.by_ref().take(limits::REDIS_PIPELINE) {
            pipeline.add_command(command);
            count += 1;
        }
        for value in wire.send_packed_commands(&pipeline, 0, count).await? {
            values.push(value.extract_error()?);
        }
    }
    Ok(values)
}

async fn each(wire: ClusterConnection, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisError> {
    let run = |command: Cmd| {
        let mut wire = wire.clone();
        async move { redis::aio::ConnectionLike::req_packed_command(&mut wire, &command).await?.extract_error() }
    };
    futures::stream::iter(commands).map(run).buffered(CLUSTER_AT_ONCE).try_collect().await
}

impl Source {
    fn new(config: &RedisConfig, pushed: &Pushes) -> Result<Self, RedisError> {
        let addresses =
            config.nodes.iter().map(|node| address(node, config.tls.is_some())).collect::<Result<Vec<_>, _>>()?;
        let certificates = config.tls.as_ref().map(certificates);
        Ok(match &config.topology {
            Topology::Standalone => {
                let address = addresses.into_iter().next().ok_or_else(|| invalid("there is no server"))?;
                let mut info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
                if let Some((user, password)) = &config.credentials {
                    info = info.set_password(password);
                    if !user.is_empty() {
                        info = info.set_username(user);
                    }
                }
                let info = address.into_connection_info()?.set_redis_settings(info);
                Self::Standalone(match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                })
            }
            Topology::Sentinel { master } => {
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
                    .set_client_to_redis_protocol(ProtocolVersion::RESP3);
                if let Some((user, password)) = &config.credentials {
                    builder = builder.set_client_to_redis_password(password);
                    if !user.is_empty() {
                        builder = builder.set_client_to_redis_username(user);
                    }
                }
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_certificates(certificates);
                }
                Self::Sentinel(tokio::sync::Mutex::new(builder.build()?))
            }
            Topology::Cluster => {
                let mut builder = ClusterClient::builder(addresses)
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(config.call_timeout)
                    .response_timeout(config.call_timeout)
                    .push_sender(pushed.take());
                if let Some((user, password)) = &config.credentials {
                    builder = builder.password(password);
                    if !user.is_empty() {
                        builder = builder.username(user);
                    }
                }
                if let Some(certificates) = certificates {
                    builder = builder.tls(TlsMode::Secure).certs(certificates);
                }
                Self::Cluster(builder.build()?)
            }
        })
    }

    async fn wire(&self, timeout: Duration, pushed: &Pushes) -> Result<Wire, RedisError> {
        let client = match self {
            Self::Standalone(client) => client.clone(),
            Self::Sentinel(sentinels) => {
                let mut sentinels = sentinels.lock().await;
                let late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
                tokio::time::timeout(timeout, sentinels.async_get_client()).await.map_err(late)??
            }
            Self::Cluster(client) => return Ok(Wire::Cluster(client.get_async_connection().await?)),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(pushed.take());
        Ok(Wire::One(client.get_multiplexed_async_connection_with_config(&config).await?))
    }
}

impl Pushes {
    /// Never waits: what a full queue cannot take is lost.
    fn take(&self) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
        let Self { sender, lost } = self.clone();
        move |info| {
            if sender.try_send(info).is_err() {
                metrics::counter!("stonechat_presence_signals_lost_total").increment(1);
                lost.store(true, Ordering::Relaxed);
            }
            Ok(())
        }
    }
}

fn certificates(trust: &Trust) -> TlsCertificates {
    let root_cert = match trust {
        Trust::System => None,
        Trust::Ca(pem) => Some(pem.clone()),
    };
    TlsCertificates { client_tls: None, root_cert }
}

fn address(node: &str, tls: bool) -> Result<ConnectionAddr, RedisError> {
    let (host, port) = node.rsplit_once(':').ok_or_else(|| invalid("a node has no port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse().map_err(|_| invalid("a node has no valid port"))?;
    Ok(if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    })
}

fn invalid(reason: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, reason))
}
