//! The one place that chooses backends. Everything else sees seams only.

use std::{path::PathBuf, sync::Arc, time::Duration};

use stonechat_blobs::{BlobsConfig, MasterKeySource, Store, StoreConfig};
use stonechat_config::{Config, Files, FilesStore, LogBackend, PresenceBackend, RowsBackend};
use stonechat_lifecycle::Health;
use stonechat_log::{CommandLog, EmbeddedCommandLog, EmbeddedEventStream, EventStream, next_generation};
use stonechat_model::now_us;
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows};
use stonechat_rpc::{
    Presence,
    remote::{RemotePresence, RemoteRows},
};
use stonechat_scan::{ScanConfig, Scanner};
use tokio_util::sync::CancellationToken;

use super::{
    RunError,
    peers::Others,
    readiness,
    role::{Role, Roles},
};

/// How often leases are looked at.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// The backends of this process.
pub struct Backends {
    /// Every durable row.
    pub rows: Arc<dyn Rows>,
    /// What routers share; only where this process is one.
    pub logs: Option<Logs>,
    /// What happened; only where this process is a router or delivers webhooks.
    pub events: Option<Arc<dyn EventStream>>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The bytes of files; only where this process serves them.
    pub store: Option<Arc<Store>>,
    /// How files are scanned, if they are.
    scan: Option<ScanConfig>,
    /// What the names of this process's nodes end with; another one at each start.
    pub start: String,
}

/// The command log and the event stream.
#[derive(Clone)]
pub struct Logs {
    /// The command log.
    pub commands: Arc<dyn CommandLog>,
    /// The event stream.
    pub events: Arc<dyn EventStream>,
}

impl Backends {
    /// What scans files, if anything does.
    pub fn scanner(&self) -> Option<Scanner> {
        self.scan.clone().map(Scanner::new)
    }
}

/// How files are scanned.
fn scan(files: &Files) -> Result<Option<ScanConfig>, RunError> {
    if files.clamd.is_empty() {
        return Ok(None);
    }
    let address = files
        .clamd
        .parse()
        .map_err(|error: stonechat_scan::InvalidAddress| RunError::Refused(format!("files.clamd: {error}")))?;
    let timeout = Duration::from_millis(files.clamd_timeout_ms);
    Ok(Some(ScanConfig { address, timeout, max_bytes: files.clamd_max_bytes }))
}

/// Opens backends for the roles of a process.
pub struct Opening<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The roles.
    pub roles: &'a Roles,
    /// Where it says what can be reached.
    pub health: &'a Health,
    /// Where other processes are.
    pub others: &'a Others,
    /// Ends what works behind the seams.
    pub end: CancellationToken,
}

impl Opening<'_> {
    /// Opens what the configuration names, in this process or in those of other roles.
    pub async fn open(self) -> Result<Backends, RunError> {
        let rows = self.rows().await?;
        let presence = self.presence().await?;
        let (logs, start) = match (self.roles.has(Role::Router), self.config.log.backend) {
            (false, _) => (None, uuid::Uuid::now_v7().simple().to_string()),
            (true, LogBackend::Embedded) => {
                let generation = next_generation(rows.as_ref()).await?;
                (Some(self.embedded_logs(&rows, generation).await?), generation.to_string())
            }
            (true, LogBackend::Kafka) => (Some(self.kafka_logs().await?), uuid::Uuid::now_v7().simple().to_string()),
        };
        let events = match &logs {
            Some(logs) => Some(Arc::clone(&logs.events)),
            None if self.roles.has(Role::Webhooks) => Some(self.kafka_events().await?),
            None => None,
        };
        let store = match self.roles.has(Role::Files) {
            true => Some(self.store(&rows).await?),
            false => None,
        };
        let scan = scan(&self.config.files)?;
        Ok(Backends { rows, logs, events, presence, store, scan, start })
    }

    async fn rows(&self) -> Result<Arc<dyn Rows>, RunError> {
        if !self.roles.has(Role::Storage) {
            let peers = self.others.find(&self.config.cluster.storage);
            let (rows, run) = RemoteRows::new(peers, self.end.clone());
            tokio::spawn(run);
            readiness::follow(self.health.part("storage"), rows.ready(), self.end.clone());
            return Ok(rows);
        }
        let rows = open_rows(self.config).await?;
        readiness::probe(self.health.part("rows"), Arc::clone(&rows), self.end.clone());
        Ok(rows)
    }

    /// The bytes of files.
    async fn store(&self, rows: &Arc<dyn Rows>) -> Result<Arc<Store>, RunError> {
        let (data, files) = (&self.config.server.data, &self.config.files);
        let master_keys = match files.master_key_file.as_os_str().is_empty() {
            true => MasterKeySource::Made(master_keys(self.config)),
            false => MasterKeySource::File(master_keys(self.config)),
        };
        let blobs = match files.store {
            FilesStore::Folder if files.folder.as_os_str().is_empty() => BlobsConfig::Folder(data.join("files")),
            FilesStore::Folder => BlobsConfig::Folder(files.folder.clone()),
            FilesStore::S3 => s3_blobs(self.config)?,
        };
        let opened = stonechat_blobs::open(StoreConfig { blobs, master_keys }, Arc::clone(rows)).await;
        opened.map_err(|error| RunError::Refused(error.to_string()))
    }

    async fn embedded_logs(&self, rows: &Arc<dyn Rows>, generation: u64) -> Result<Logs, RunError> {
        let partitions = self.config.log.partitions;
        let commands = EmbeddedCommandLog::new(partitions, generation, Arc::new(now_us));
        let events = EmbeddedEventStream::open(Arc::clone(rows), partitions).await?;
        Ok(Logs { commands, events })
    }

    async fn presence(&self) -> Result<Arc<dyn Presence>, RunError> {
        if !self.roles.has(Role::Presence) {
            let peers = self.others.find(&self.config.cluster.presence);
            let (presence, run) = RemotePresence::new(peers, self.end.clone());
            tokio::spawn(run);
            if !self.roles.are_among(&[Role::Storage, Role::Webhooks, Role::Files]) {
                readiness::follow(self.health.part("presence"), presence.ready(), self.end.clone());
            }
            return Ok(presence);
        }
        match self.config.presence.backend {
            PresenceBackend::Memory => {
                let config = PresenceConfig { lease: Duration::from_secs(self.config.presence.lease_s) };
                let presence = MemoryPresence::new(config, Arc::new(now_us));
                tokio::spawn(expire(Arc::clone(&presence), self.end.clone()));
                Ok(presence)
            }
            PresenceBackend::Redis => self.redis_presence().await,
        }
    }
}

/// The file of the master keys.
pub fn master_keys(config: &Config) -> PathBuf {
    match config.files.master_key_file.as_os_str().is_empty() {
        true => config.server.data.join("master.keys"),
        false => config.files.master_key_file.clone(),
    }
}

/// Opens the engine that keeps the rows.
pub async fn open_rows(config: &Config) -> Result<Arc<dyn Rows>, RunError> {
    match config.rows.backend {
        RowsBackend::Embedded => {
            let rows = EmbeddedRowsConfig {
                cache_bytes: config.rows.cache_bytes,
                commit_bytes: config.rows.commit_bytes,
                write_queue: config.rows.write_queue,
            };
            Ok(EmbeddedRows::open(&config.server.data, rows)?)
        }
        RowsBackend::Cql => cql_rows(config).await,
    }
}

#[cfg(feature = "s3")]
#[expect(clippy::unnecessary_wraps, reason = "as without the feature")]
fn s3_blobs(config: &Config) -> Result<BlobsConfig, RunError> {
    let s3 = &config.s3;
    Ok(BlobsConfig::S3(stonechat_blobs::S3Config {
        endpoint: s3.endpoint.clone(),
        bucket: s3.bucket.clone(),
        region: s3.region.clone(),
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.expose().to_owned(),
        allow_http: s3.allow_http,
        timeout: Duration::from_millis(s3.timeout_ms),
        retries: s3.retries,
    }))
}

#[cfg(not(feature = "s3"))]
fn s3_blobs(_: &Config) -> Result<BlobsConfig, RunError> {
    Err(RunError::Refused("files.store: s3 needs a build with the feature `s3` or `cluster`".to_owned()))
}

#[cfg(feature = "cluster")]
async fn cql_rows(config: &Config) -> Result<Arc<dyn Rows>, RunError> {
    Ok(stonechat_rows::cql::CqlRows::open(&super::settings::cql(config)?).await?)
}

/// Makes the keyspace and the tables where the rows are kept in CQL; gives what was made.
#[cfg(feature = "cluster")]
pub async fn prepare_rows(config: &Config) -> Result<Vec<String>, RunError> {
    if config.rows.backend != RowsBackend::Cql {
        return Ok(Vec::new());
    }
    let replication = stonechat_rows::cql::Replication(config.cql.replication);
    Ok(stonechat_rows::cql::prepare(&super::settings::cql(config)?, replication).await?.made)
}

#[cfg(not(feature = "cluster"))]
async fn cql_rows(_: &Config) -> Result<Arc<dyn Rows>, RunError> {
    Err(missing("rows.backend: cql"))
}

#[cfg(feature = "cluster")]
impl Opening<'_> {
    async fn kafka_logs(&self) -> Result<Logs, RunError> {
        let config = super::settings::kafka(self.config);
        let commands = stonechat_log::KafkaCommandLog::open(&config).await?;
        let events = self.kafka_events().await?;
        Ok(Logs { commands, events })
    }

    async fn kafka_events(&self) -> Result<Arc<dyn EventStream>, RunError> {
        Ok(stonechat_log::KafkaEventStream::open(&super::settings::kafka(self.config)).await?)
    }

    async fn redis_presence(&self) -> Result<Arc<dyn Presence>, RunError> {
        let config = super::settings::redis(self.config)?;
        let opened = stonechat_presence::redis::RedisPresence::open(config, Arc::new(now_us), self.end.clone());
        let (presence, run) = opened.map_err(|error| RunError::Refused(error.to_string()))?;
        tokio::spawn(run);
        readiness::follow(self.health.part("redis"), presence.ready(), self.end.clone());
        Ok(presence)
    }
}

#[cfg(not(feature = "cluster"))]
impl Opening<'_> {
    async fn kafka_logs(&self) -> Result<Logs, RunError> {
        Err(missing("log.backend: kafka"))
    }

    async fn kafka_events(&self) -> Result<Arc<dyn EventStream>, RunError> {
        Err(missing("log.backend: kafka"))
    }

    async fn redis_presence(&self) -> Result<Arc<dyn Presence>, RunError> {
        Err(missing("presence.backend: redis"))
    }
}

#[cfg(not(feature = "cluster"))]
fn missing(what: &str) -> RunError {
    RunError::Refused(format!("{what} needs a build with the feature `cluster`"))
}

async fn expire(presence: Arc<MemoryPresence>, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(EXPIRE_EVERY);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        presence.expire();
    }
}
