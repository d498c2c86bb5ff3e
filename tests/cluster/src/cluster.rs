//! A cluster, and how it is started.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use stonechat_backends::{
    cassandra::Cassandra,
    kafka::Kafka,
    proxy::Proxy,
    redis::Redis,
    s3::{self, S3},
    server::{BackendError, Folder, Program, Size, free_ports},
};

use crate::{Demo, Process, demo_tenant, storm::Named};

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A server or process.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The tenant cannot be made.
    #[error("cannot make the tenant: {0}")]
    Tenant(String),
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Every durable row.
    Storage,
    /// Where users are.
    Presence,
    /// Takes commands, decides them and tells everybody.
    Router,
    /// Client connections.
    Gateway,
    /// REST and gRPC.
    Api,
    /// What tenants hear of events.
    Webhooks,
    /// Uploads and downloads.
    Files,
}

impl Kind {
    /// Every role, each after those it needs.
    pub const ALL: [Self; 7] =
        [Self::Storage, Self::Presence, Self::Router, Self::Gateway, Self::Api, Self::Webhooks, Self::Files];

    /// Its name on the command line.
    pub fn role(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Presence => "presence",
            Self::Router => "router",
            Self::Gateway => "gateway",
            Self::Api => "api",
            Self::Webhooks => "webhooks",
            Self::Files => "files",
        }
    }
}

/// How large a cluster is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program, with the feature `cluster`.
    pub program: PathBuf,
    /// What the processes are at first, when they are to be upgraded to `program`.
    pub upgraded_from: Option<PathBuf>,
    /// Gateways.
    pub gateways: usize,
    /// Routers.
    pub routers: usize,
    /// Storage processes; with more than one the rows are in Cassandra.
    pub storages: usize,
    /// How much the backends are made for.
    pub size: Size,
    /// Presence processes, over one Redis.
    pub presences: usize,
    /// Processes for webhooks.
    pub webhooks: usize,
    /// Processes for files, over one store.
    pub files: usize,
    /// Brokers of Kafka: one or three.
    pub brokers: usize,
    /// Partitions of the command log and the event stream.
    pub partitions: u32,
    /// Whether roles reach each other through proxies, whose network can be made to fail.
    pub detours: bool,
    /// Further settings of every process, by the names of environment variables.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// Two of each role that is scaled, on a backend of each kind.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            upgraded_from: None,
            gateways: 2,
            routers: 2,
            storages: 2,
            size: Size::Small,
            presences: 1,
            webhooks: 1,
            files: 2,
            brokers: 1,
            partitions: 8,
            detours: false,
            settings: Vec::new(),
        }
    }
}

impl Plan {
    /// How many processes of a role there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Gateway => self.gateways,
            Kind::Router => self.routers,
            Kind::Storage => self.storages,
            Kind::Presence => self.presences,
            Kind::Api => 1,
            Kind::Webhooks => self.webhooks,
            Kind::Files => self.files,
        }
    }
}

/// The way from one process to another, where it goes through a proxy.
#[derive(Debug)]
pub struct Detour {
    /// Who calls.
    pub from: Named,
    /// Who is called.
    pub to: Named,
    /// The way.
    pub proxy: Proxy,
}

/// Between which roles there are detours.
const DETOURS: [(Kind, Kind); 5] = [
    (Kind::Gateway, Kind::Router),
    (Kind::Router, Kind::Storage),
    (Kind::Gateway, Kind::Storage),
    (Kind::Api, Kind::Storage),
    (Kind::Router, Kind::Presence),
];

/// Processes of every role, and their backends.
#[derive(Debug)]
pub struct Cluster {
    /// The processes, each after those it needs.
    pub processes: Vec<Process>,
    /// Their backends.
    pub backends: Backends,
    /// Ways between them that can be made to fail.
    pub detours: Vec<Detour>,
    operator_key: String,
    // Dropped after the processes.
    _folder: Folder,
}

/// The servers behind a cluster.
#[derive(Debug)]
pub struct Backends {
    /// Kafka.
    pub kafka: Kafka,
    /// Where the rows are; without it they are in the one storage process.
    pub cassandra: Option<Cassandra>,
    /// Where presence is.
    pub redis: Redis,
    /// Where the bytes of files are; without it there are none.
    pub s3: Option<S3>,
}

/// The bucket for the bytes of files.
const BUCKET: &str = "files";

impl Backends {
    async fn start(plan: &Plan) -> Result<Self, BackendError> {
        let cassandra = async {
            match plan.storages {
                0 | 1 => Ok(None),
                _ => Cassandra::single(plan.size).await.map(Some),
            }
        };
        let kafka =
            async { if plan.brokers < 3 { Kafka::single(plan.size).await } else { Kafka::three(plan.size).await } };
        let s3 = async {
            match plan.files {
                0 => Ok(None),
                _ => S3::start().await.and_then(|s3| s3.make_bucket(BUCKET).map(|()| Some(s3))),
            }
        };
        let (kafka, cassandra, redis, s3) = tokio::join!(kafka, cassandra, Redis::single(), s3);
        Ok(Self { kafka: kafka?, cassandra: cassandra?, redis: redis?, s3: s3? })
    }
}

impl Backends {
    /// The process ids of all servers, each with its backend's name and its number.
    pub fn pids(&self) -> Vec<(String, u32)> {
        let kafka = (0..self.kafka.count()).map(|server| ("kafka", server, self.kafka.pid(server)));
        let cassandra = self.cassandra.iter().map(|it| ("cassandra", 0, it.pid()));
        let redis = (0..self.redis.addresses().len()).map(|server| ("redis", server, self.redis.pid(server)));
        let all = kafka.chain(cassandra).chain(redis);
        all.filter_map(|(name, server, pid)| Some((format!("{name}{}", server + 1), pid?))).collect()
    }

    /// Waits until all of them answer.
    ///
    /// # Errors
    /// One does not in time, or has ended.
    pub async fn ready(&mut self) -> Result<(), BackendError> {
        for broker in 0..self.kafka.count() {
            self.kafka.ready(broker).await?;
        }
        if let Some(cassandra) = &mut self.cassandra {
            cassandra.ready().await?;
        }
        self.redis.ready(0).await
    }
}

/// Where the processes of a cluster are.
struct Addresses {
    /// By role: where clients and where other roles find each process.
    of: Vec<(Kind, Vec<(SocketAddr, SocketAddr)>)>,
}

impl Addresses {
    fn new(plan: &Plan) -> Result<Self, BackendError> {
        let mut of = Vec::new();
        for kind in Kind::ALL {
            let ports = free_ports(2 * plan.count(kind))?;
            let local = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
            of.push((kind, ports.chunks(2).map(|pair| (local(&pair[0]), local(&pair[1]))).collect()));
        }
        Ok(Self { of })
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = SocketAddr> {
        let of_kind = self.of.iter().filter(move |(of, _)| *of == kind).flat_map(|(_, addresses)| addresses);
        of_kind.map(|(_, internal)| *internal)
    }

    fn internal(&self, kind: Kind) -> String {
        self.of_kind(kind).map(|internal| internal.to_string()).collect::<Vec<_>>().join(",")
    }

    async fn detours(&self) -> Result<Vec<Detour>, BackendError> {
        let mut detours = Vec::new();
        for (from, to) in DETOURS {
            for caller in 0..self.of_kind(from).count() {
                for (called, address) in self.of_kind(to).enumerate() {
                    let proxy = Proxy::start(vec![address]).await?;
                    detours.push(Detour { from: (from, caller), to: (to, called), proxy });
                }
            }
        }
        Ok(detours)
    }
}

/// Where a process finds others by detours.
fn detoured(process: Named, detours: &[Detour]) -> Vec<(String, String)> {
    let names = [(Kind::Router, "ROUTERS"), (Kind::Storage, "STORAGE"), (Kind::Presence, "PRESENCE")];
    let setting = |(kind, name): (Kind, &str)| {
        let ways = detours.iter().filter(|it| it.from == process && it.to.0 == kind);
        let addresses: Vec<_> = ways.map(|it| it.proxy.address().to_string()).collect();
        (!addresses.is_empty()).then(|| (format!("STONECHAT_CLUSTER__{name}"), addresses.join(",")))
    };
    names.into_iter().filter_map(setting).collect()
}

fn settings(
    plan: &Plan,
    (backends, addresses): (&Backends, &Addresses),
    (operator_key, master_keys): (&str, &Path),
) -> Vec<(String, String)> {
    let Backends { kafka, cassandra, redis, s3 } = backends;
    let replication = if kafka.count() < 3 { ("1", "1") } else { ("3", "2") };
    let mut settings: Vec<(String, String)> = [
        ("CLUSTER__ROUTERS", addresses.internal(Kind::Router)),
        ("CLUSTER__STORAGE", addresses.internal(Kind::Storage)),
        ("CLUSTER__PRESENCE", addresses.internal(Kind::Presence)),
        ("LOG__BACKEND", "kafka".to_owned()),
        ("LOG__PARTITIONS", plan.partitions.to_string()),
        ("KAFKA__BROKERS", kafka.bootstrap()),
        ("KAFKA__REPLICATION", replication.0.to_owned()),
        ("KAFKA__MIN_INSYNC_REPLICAS", replication.1.to_owned()),
        ("KAFKA__SESSION_TIMEOUT_MS", "6000".to_owned()),
        ("PRESENCE__BACKEND", "redis".to_owned()),
        ("REDIS__NODES", redis.addresses().join(",")),
        ("API__OPERATOR_KEY", operator_key.to_owned()),
    ]
    .map(|(name, value)| (format!("STONECHAT_{name}"), value))
    .into();
    if let Some(cassandra) = cassandra {
        let rows = [("ROWS__BACKEND", "cql".to_owned()), ("CQL__NODES", cassandra.address())];
        settings.extend(rows.map(|(name, value)| (format!("STONECHAT_{name}"), value)));
        settings.push(("STONECHAT_CQL__REPLICATION".to_owned(), "1".to_owned()));
    }
    if let Some(s3) = s3 {
        let files = [
            ("FILES__STORE", "s3".to_owned()),
            ("FILES__MASTER_KEY_FILE", master_keys.display().to_string()),
            ("S3__ENDPOINT", s3.endpoint()),
            ("S3__BUCKET", BUCKET.to_owned()),
            ("S3__REGION", "us-east-1".to_owned()),
            ("S3__ACCESS_KEY", s3::ACCESS_KEY.to_owned()),
            ("S3__SECRET_KEY", s3::SECRET_KEY.to_owned()),
        ];
        settings.extend(files.map(|(name, value)| (format!("STONECHAT_{name}"), value)));
    }
    settings.extend(plan.settings.iter().cloned());
    settings
}

impl Cluster {
    /// Starts backends and processes, and waits until all of them are ready.
    ///
    /// # Errors
    /// A backend was not fetched; something does not start.
    pub async fn start(plan: &Plan) -> Result<Self, ClusterError> {
        let backends = Backends::start(plan).await?;
        let folder = Folder::new()?;
        let addresses = Addresses::new(plan)?;
        let operator_key = random_key();
        let master_keys = folder.write("master.keys", &format!("{}\n", random_key()))?;
        let settings = settings(plan, (&backends, &addresses), (&operator_key, &master_keys));
        let program = plan.upgraded_from.as_ref().unwrap_or(&plan.program);
        prepare(program, folder.path(), &settings)?;
        let detours = if plan.detours { addresses.detours().await? } else { Vec::new() };
        let mut processes = Vec::new();
        for (kind, of_kind) in &addresses.of {
            for (index, addresses) in of_kind.iter().enumerate() {
                let named = (*kind, index);
                let mut settings = settings.clone();
                settings.extend(detoured(named, &detours));
                processes.push(Process::start(named, *addresses, program, folder.path(), settings)?);
            }
        }
        for process in &mut processes {
            process.ready().await?;
        }
        Ok(Self { processes, backends, detours, operator_key, _folder: folder })
    }

    /// A process.
    ///
    /// # Errors
    /// There is none.
    pub fn process(&mut self, (kind, index): Named) -> Result<&mut Process, BackendError> {
        let found = self.processes.iter_mut().find(|it| it.kind == kind && it.index == index);
        let what = format!("{}{} is not of this cluster", kind.role(), index + 1);
        found.ok_or_else(|| BackendError::Io { what, source: std::io::ErrorKind::NotFound.into() })
    }

    /// Where the processes of a role have their clients, or their health and metrics.
    pub fn publics(&self, kind: Kind) -> Vec<SocketAddr> {
        self.processes.iter().filter(|it| it.kind == kind).map(|it| it.public).collect()
    }

    /// Starts again what has ended, as an orchestrator would; says whether anything had.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn keep_up(&mut self) -> Result<bool, BackendError> {
        let mut had_ended = false;
        for process in &mut self.processes {
            if !process.server().is_running() {
                process.server().restart()?;
                had_ended = true;
            }
        }
        Ok(had_ended)
    }

    /// Shows what the processes said last.
    #[expect(clippy::print_stderr, reason = "what went wrong, for people")]
    pub fn show_logs(&mut self) {
        for process in &mut self.processes {
            let (name, program) = (process.name(), process.server().program().clone());
            eprintln!("{}", program.failed(format!("{name}:")));
        }
    }

    /// The processes of a role.
    pub fn of(&mut self, kind: Kind) -> impl Iterator<Item = &mut Process> {
        self.processes.iter_mut().filter(move |process| process.kind == kind)
    }

    /// Where a process of a role has its clients.
    pub fn public(&self, kind: Kind, index: usize) -> Option<SocketAddr> {
        self.processes.iter().find(|it| it.kind == kind && it.index == index).map(|it| it.public)
    }

    /// The key of the operator.
    pub fn operator_key(&self) -> &str {
        &self.operator_key
    }

    /// Makes a tenant to chat in.
    ///
    /// # Errors
    /// The api does not answer, or refuses.
    pub async fn demo(&self) -> Result<Demo, ClusterError> {
        let api = self.public(Kind::Api, 0).ok_or_else(|| ClusterError::Tenant("there is no api".to_owned()))?;
        demo_tenant(api, &self.operator_key).await
    }
}

/// Makes topics and tables, as an operator would before the first start.
fn prepare(program: &Path, folder: &Path, settings: &[(String, String)]) -> Result<(), BackendError> {
    // Where the first storage process works, whose folder may hold the rows.
    let mut program = Program::new(program, &folder.join("storage1")).with(["admin", "prepare"]);
    program.environment = settings.to_vec();
    program.run()
}

/// 256 bits as hexadecimal digits.
fn random_key() -> String {
    (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect()
}
