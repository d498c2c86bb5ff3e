//! Every key of the configuration.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use stonechat_model::limits;

use crate::{Problem, Secret, check};

/// A key, as the documentation shows it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// Its default.
    pub default: serde_json::Value,
    /// The value's unit or form.
    pub unit: &'static str,
    /// What it does, as lines.
    pub doc: &'static [&'static str],
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("STONECHAT_{}__{}", self.section, self.name).to_uppercase()
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What keeps the command log and the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogBackend {
    /// This process, and its rows.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// What keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsBackend {
    /// A folder of this process.
    Embedded,
    /// ScyllaDB or Cassandra.
    Cql,
}

/// What keeps presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceBackend {
    /// This process's memory.
    Memory,
    /// Redis.
    Redis,
}

/// What keeps the bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesStore {
    /// A folder.
    Folder,
    /// S3 and what speaks like it.
    S3,
}

/// How consumer groups of Kafka share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaProtocol {
    /// The classic protocol, cooperative-sticky.
    Cooperative,
    /// KIP-848, of Kafka 4.
    Consumer,
}

/// How Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisTopology {
    /// One server.
    Standalone,
    /// A master that sentinels name.
    Sentinel,
    /// Redis Cluster.
    Cluster,
}

macro_rules! config {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $unit:literal, $check:expr; )+
        }
    )+) => {
        /// The configuration of a process.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $doc])+ #[doc = concat!("Unit: ", $unit, ".")] pub $key: $type, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        impl Config {
            /// Every section with its documentation, in order.
            pub(crate) const SECTIONS: &[(&str, &[&str])] =
                &[$( (stringify!($section), &[$( $section_doc ),+]) ),+];

            /// Every key, in order.
            pub fn keys() -> Vec<Key> {
                let mut keys = Vec::new();
                $($(
                    let default: $type = $default;
                    keys.push(Key {
                        section: stringify!($section),
                        name: stringify!($key),
                        default: serde_json::to_value(default).unwrap_or_default(),
                        unit: $unit,
                        doc: &[$( $doc ),+],
                    });
                )+)+
                keys
            }

            /// What is wrong with single values.
            pub(crate) fn problems(&self) -> Vec<Problem> {
                let mut problems = Vec::new();
                $($(
                    let check: fn(&$type) -> Result<(), String> = $check;
                    if let Err(reason) = check(&self.$section.$key) {
                        problems.push(Problem::new(concat!(stringify!($section), ".", stringify!($key)), reason));
                    }
                )+)+
                problems
            }
        }
    };
}

config! {
    /// The process: where it listens and where it keeps its data.
    server: Server {
        /// Address and port for REST, WebSocket and gRPC.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4000)), "address:port", check::any;
        /// The folder of the embedded store. One process at a time uses it.
        data: PathBuf = PathBuf::from("data"), "path", check::path;
        /// Open connections; more wait in the kernel.
        connections: usize = limits::CONNECTIONS, "connections", |v| check::between(*v, 1, 10_000_000);
        /// Reading a request's header, and silence of an HTTP connection between requests.
        header_timeout_s: u64 = limits::HTTP_HEADER_TIMEOUT_S, "seconds", |v| check::between(*v, 1, 300);
        /// How long sessions and requests may take to end after the signal to stop; clients are sent
        /// elsewhere spread over this time.
        drain_s: u64 = 20, "seconds", |v| check::between(*v, 0, 3_600);
    }
    /// Processes of a cluster: how they find and trust each other.
    cluster: Cluster {
        /// Address and port for other roles; the services there are not for callers outside the cluster.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4100)), "address:port", check::any;
        /// The routers: `host:port` of each, or a name with the addresses of all.
        routers: Vec<String> = Vec::new(), "list of host:port", check::peers;
        /// The storage processes.
        storage: Vec<String> = Vec::new(), "list of host:port", check::peers;
        /// The presence processes.
        presence: Vec<String> = Vec::new(), "list of host:port", check::peers;
        /// How often names are resolved again.
        resolve_s: u64 = 3, "seconds", |v| check::between(*v, 1, 3_600);
        /// The certificate that this process shows to other roles, with what is between it and the authority's;
        /// PEM. The three files are read again when they change.
        tls_cert: PathBuf = PathBuf::new(), "path", check::any;
        /// The certificate's private key; PEM.
        tls_key: PathBuf = PathBuf::new(), "path", check::any;
        /// The authority's certificates, by one of which every role's is signed; PEM.
        tls_ca: PathBuf = PathBuf::new(), "path", check::any;
        /// The name that the certificates of all roles have.
        tls_name: String = "stonechat".into(), "DNS name", check::not_empty;
        /// Talk to other roles without TLS beyond loopback, in a network that is trusted as a whole.
        allow_plaintext: bool = false, "true or false", check::any;
    }
    /// The command log and event stream.
    log: Log {
        /// `embedded`, or `kafka` where several routers share them.
        backend: LogBackend = LogBackend::Embedded, "embedded or kafka", check::any;
        /// Partitions, each with one owner that decides its commands in order. Set it before the first start:
        /// followers of the event stream know what they have read by partition.
        partitions: u32 = 8, "partitions", |v| check::between(*v, 1, 1_024);
    }
    /// Apache Kafka, where it keeps the logs. Every router must have the same.
    kafka: Kafka {
        /// Some of the brokers.
        brokers: Vec<String> = vec!["127.0.0.1:9092".into()], "list of host:port", check::peers;
        /// What the names of topics and groups begin with.
        prefix: String = "stonechat".into(), "text", check::not_empty;
        /// The generation of positions; counted up to change the number of partitions.
        generation: u64 = 1, "generation", |v| check::between(*v, 1, 1_023);
        /// On how many brokers each record is.
        replication: u32 = 3, "brokers", |v| check::between(*v, 1, 32);
        /// On how many of them a record is before it is acknowledged.
        min_insync_replicas: u32 = 2, "brokers", |v| check::between(*v, 1, 32);
        /// How long commands are kept; longer than every router may ever be away.
        command_retention_h: u64 = 168, "hours", |v| check::between(*v, 1, 87_600);
        /// How long events are kept for consumers that are away.
        event_retention_h: u64 = 168, "hours", |v| check::between(*v, 1, 87_600);
        /// How long a router may be silent before others get its partitions.
        session_timeout_ms: u64 = 10_000, "milliseconds", |v| check::between(*v, 500, 300_000);
        /// How groups share partitions: `cooperative`, or `consumer` (KIP-848).
        protocol: KafkaProtocol = KafkaProtocol::Cooperative, "cooperative or consumer", check::any;
        /// Settings of librdkafka, such as `security.protocol=SSL`.
        properties: Vec<String> = Vec::new(), "list of name=value", check::assignments;
    }
    /// The store of rows.
    rows: Rows {
        /// `embedded`, or `cql` where several processes share it.
        backend: RowsBackend = RowsBackend::Embedded, "embedded or cql", check::any;
        /// Memory for blocks of the store that were read lately.
        cache_bytes: u64 = 64 << 20, "bytes", |v| check::between(*v, 1 << 20, 1 << 40);
        /// Bytes written with one fsync at most.
        commit_bytes: usize = limits::COMMIT_BYTES, "bytes", |v| check::between(*v, 1 << 16, 1 << 30);
        /// Batches that wait for the writer; further callers wait.
        write_queue: usize = limits::WRITE_QUEUE, "batches", |v| check::between(*v, 1, 1_000_000);
    }
    /// ScyllaDB or Cassandra, where it keeps the rows.
    cql: Cql {
        /// Some of the nodes.
        nodes: Vec<String> = vec!["127.0.0.1:9042".into()], "list of host:port", check::peers;
        /// The keyspace.
        keyspace: String = "stonechat".into(), "text", check::not_empty;
        /// The datacenter whose nodes are asked; with it, rows are read and written with its quorum.
        datacenter: String = String::new(), "text", check::any;
        /// On how many nodes of the datacenter each row is; used when the keyspace is made.
        replication: u32 = 3, "nodes", |v| check::between(*v, 1, 32);
        /// Talk to them by TLS. Their certificates name their IP addresses.
        tls: bool = false, "true or false", check::any;
        /// The authorities that signed their certificates, as PEM; with none, those that the system knows.
        tls_ca: PathBuf = PathBuf::new(), "path", check::any;
        /// The user.
        user: String = String::new(), "text", check::any;
        /// The user's password.
        password: Secret = Secret::default(), "text", check::any;
        /// How long a request may take.
        request_timeout_ms: u64 = 5_000, "milliseconds", |v| check::between(*v, 10, 600_000);
        /// Requests of one process at once; more are refused as unavailable.
        in_flight: usize = 1_024, "requests", |v| check::between(*v, 1, 1_000_000);
    }
    /// Where users are.
    presence: Presence {
        /// `memory`, which one process keeps and several refuse to, or `redis`, which they share.
        backend: PresenceBackend = PresenceBackend::Memory, "memory or redis", check::any;
        /// How long what a gateway registered lives without being renewed.
        lease_s: u64 = 15, "seconds", |v| check::between(*v, 5, 300);
    }
    /// Redis, where it keeps presence.
    redis: Redis {
        /// `standalone`, `sentinel` or `cluster`.
        topology: RedisTopology = RedisTopology::Standalone, "standalone, sentinel or cluster", check::any;
        /// The server, the sentinels, or some nodes of the cluster.
        nodes: Vec<String> = vec!["127.0.0.1:6379".into()], "list of host:port", check::peers;
        /// Talk to them by TLS.
        tls: bool = false, "true or false", check::any;
        /// The authorities that signed their certificates, as PEM; with none, those that the system knows.
        tls_ca: PathBuf = PathBuf::new(), "path", check::any;
        /// The user; empty for the default one.
        user: String = String::new(), "text", check::any;
        /// The user's password.
        password: Secret = Secret::default(), "text", check::any;
        /// What the sentinels call the master.
        master: String = "stonechat".into(), "text", check::not_empty;
        /// What keys begin with.
        prefix: String = "stonechat".into(), "text", check::not_empty;
        /// How long a call may take.
        call_timeout_ms: u64 = 1_000, "milliseconds", |v| check::between(*v, 10, 60_000);
    }
    /// Client connections.
    gateway: Gateway {
        /// Origins (`https://chat.example`) of browser pages that may connect; `*` is every one. With none, only
        /// pages of the same host may. Clients that are no browsers send no origin and are not affected.
        allowed_origins: Vec<String> = Vec::new(), "list of origins", check::origins;
        /// From the connection to a valid hello.
        hello_timeout_s: u64 = limits::HELLO_TIMEOUT_S, "seconds", |v| check::between(*v, 1, 300);
        /// Silence after which a session is closed (4012).
        heartbeat_s: u64 = limits::HEARTBEAT_S, "seconds", |v| check::between(*v, 5, 3_600);
        /// Commands of a session, on average.
        commands_per_s: u32 = limits::SESSION_COMMANDS_PER_S, "commands/s", |v| check::between(*v, 1, 1_000_000);
        /// Commands of a session at once.
        commands_burst: u32 = limits::SESSION_COMMANDS_BURST, "commands", |v| check::between(*v, 1, 1_000_000);
        /// Bytes that wait for a session; beyond it the session is closed as too slow (4008).
        session_queue_bytes: usize = limits::SESSION_QUEUE_BYTES, "bytes", |v| check::between(*v, 1 << 16, 1 << 30);
        /// Sessions of one user; the oldest is closed beyond it.
        sessions_per_user: usize = limits::SESSIONS_PER_USER, "sessions", |v| check::between(*v, 1, 10_000);
        /// Sessions that open at once, at most: fewer do while reads take longer than usual.
        syncs_at_once: usize = limits::SYNCS_AT_ONCE, "sessions", |v| check::between(*v, 1, 10_000);
    }
    /// REST and gRPC for tenants and the operator.
    api: Api {
        /// The key of the operator, who makes tenants: at least 32 characters, for example from
        /// `openssl rand -hex 32`. It has no default; only `run --dev` starts without it.
        operator_key: Secret = Secret::default(), "text", check::any;
        /// How long a request waits for the outcome of its command.
        command_timeout_ms: u64 = limits::COMMAND_TIMEOUT_MS, "milliseconds", |v| check::between(*v, 100, 600_000);
    }
    /// Webhooks: requests to servers that tenants name.
    webhooks: Webhooks {
        /// Ranges such as `10.1.0.0/16` that may be sent to although they are not public. Whatever else is not public
        /// (loopback, private, link-local, metadata) is refused when a connection is made.
        allowed_addresses: Vec<String> = Vec::new(), "list of address ranges", check::ranges;
        /// Ports that may be sent to; with none, every port.
        ports: Vec<u16> = vec![443], "list of ports", check::any;
        /// Whether `http://` will do.
        allow_http: bool = false, "true or false", check::any;
        /// How long a receiver may take to answer.
        timeout_ms: u64 = limits::WEBHOOK_TIMEOUT_MS, "milliseconds", |v| check::between(*v, 100, limits::WEBHOOK_TIMEOUT_MS);
        /// The pauses after attempts that failed; after one attempt more an event is given up.
        retry_schedule_s: Vec<u64> = limits::WEBHOOK_RETRY_SCHEDULE_S.to_vec(), "list of seconds", check::pauses;
    }
    /// Files: uploads and downloads.
    files: Files {
        /// What keeps their bytes: `folder`, or `s3` where several processes share them.
        store: FilesStore = FilesStore::Folder, "folder or s3", check::any;
        /// The folder of their bytes; empty: `files` in the folder of the data.
        folder: PathBuf = PathBuf::new(), "path", check::any;
        /// The file with the master keys of what is stored: on each line one as 64 hexadecimal digits, the present one
        /// first, older ones after it. Empty: `master.keys` in the folder of the data, made at the first start, where this
        /// process keeps the rows too; otherwise it must be named.
        master_key_file: PathBuf = PathBuf::new(), "path", check::any;
        /// The largest file.
        max_bytes: u64 = limits::FILE_BYTES, "bytes", |v| check::between(*v, 1, limits::FILE_BYTES);
        /// How long a file is kept that no message refers to.
        unreferenced_h: u64 = limits::FILE_UNREFERENCED_TTL_S / 3_600, "hours", |v| check::between(*v, 1, 8_760);
        /// Where clamd is that scans each file before anybody but its owner may know of it: `host:port`, or `unix:` and
        /// an absolute path. Empty: files are not scanned. The same for every process with the role files.
        clamd: String = String::new(), "address", check::any;
        /// The largest file where files are scanned, at most clamd's `StreamMaxLength`; larger ones are refused.
        clamd_max_bytes: u64 = limits::SCAN_BYTES, "bytes", |v| check::between(*v, 1, limits::FILE_BYTES);
        /// How long clamd may take to accept a connection, to take 64 KiB, and to answer after the last byte, each.
        clamd_timeout_ms: u64 = 60_000, "milliseconds", |v| check::between(*v, 100, 600_000);
        /// How long a link is good with which a client fetches a large file from the store itself, where its tenant allows
        /// that. It is good as long for whoever was removed meanwhile. The store must be `s3`.
        direct_link_s: u64 = limits::DIRECT_LINK_S, "seconds", |v| check::between(*v, 1, limits::DIRECT_LINK_MAX_S);
    }
    /// S3 and what speaks like it, where it keeps the bytes of files.
    s3: S3 {
        /// The store, such as `https://s3.example:9000`; empty: AWS's of the region.
        endpoint: String = String::new(), "URL", check::origin_or_empty;
        /// The bucket, which must be there.
        bucket: String = String::new(), "text", check::any;
        /// The region.
        region: String = String::new(), "text", check::any;
        /// The id of the access key. It has no default.
        access_key: String = String::new(), "text", check::any;
        /// The access key's secret. It has no default.
        secret_key: Secret = Secret::default(), "text", check::any;
        /// Whether `http://` will do beyond this machine.
        allow_http: bool = false, "true or false", check::any;
        /// How long a request may take.
        timeout_ms: u64 = 30_000, "milliseconds", |v| check::between(*v, 100, 600_000);
        /// How often a request is tried again.
        retries: usize = 3, "times", |v| check::between(*v, 0, 20);
    }
    /// What tenants may use, where several processes share it: each enforces its part.
    quotas: Quotas {
        /// Processes with the role api, among which tenants' request rates are divided.
        api_processes: u32 = 1, "processes", |v| check::between(*v, 1, 10_000);
        /// Processes with the role gateway, among which tenants' connections and sends are divided.
        gateway_processes: u32 = 1, "processes", |v| check::between(*v, 1, 10_000);
    }
    /// Logs, metrics and traces.
    telemetry: Telemetry {
        /// `text` or `json`.
        log_format: LogFormat = LogFormat::Text, "text or json", check::any;
        /// Which log lines: a level, or levels by target such as `info,stonechat_router=debug`.
        log_filter: String = "info,fjall=warn,lsm_tree=warn".into(), "filter", check::not_empty;
        /// Where traces go, by OTLP over gRPC, for example `http://localhost:4317`; empty: nowhere.
        otlp_endpoint: String = String::new(), "URL", check::url_or_empty;
        /// The share of requests that begin a trace of their own; a request that comes with a trace is traced always.
        trace_ratio: f64 = 0.01, "0 to 1", check::ratio;
        /// Serve Prometheus metrics at `/metrics`.
        metrics: bool = true, "true or false", check::any;
    }
}
