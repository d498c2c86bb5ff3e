//! The one place that chooses backends. Everything else sees seams only.

use std::{sync::Arc, time::Duration};

use stonechat_config::Config;
use stonechat_log::{CommandLog, EmbeddedCommandLog, EmbeddedEventStream, EventStream, next_generation};
use stonechat_model::now_us;
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows};
use stonechat_rpc::Presence;
use tokio_util::sync::CancellationToken;

use super::RunError;

/// How often leases are looked at.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// The backends of this process.
pub struct Backends {
    /// Every durable row.
    pub rows: Arc<dyn Rows>,
    /// The command log.
    pub log: Arc<dyn CommandLog>,
    /// The event stream.
    pub stream: Arc<dyn EventStream>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// Counts the starts of this data; part of the names of this process's nodes.
    pub generation: u64,
}

impl Backends {
    /// The embedded ones, in the configured folder.
    pub async fn embedded(config: &Config, shutdown: CancellationToken) -> Result<Self, RunError> {
        let rows_config = EmbeddedRowsConfig {
            cache_bytes: config.rows.cache_bytes,
            commit_bytes: config.rows.commit_bytes,
            write_queue: config.rows.write_queue,
        };
        let rows: Arc<dyn Rows> = EmbeddedRows::open(&config.server.data, rows_config)?;
        let generation = next_generation(rows.as_ref()).await?;
        let log = EmbeddedCommandLog::new(config.log.partitions, generation, Arc::new(now_us));
        let stream = EmbeddedEventStream::open(Arc::clone(&rows), config.log.partitions).await?;
        let presence = MemoryPresence::new(PresenceConfig::default(), Arc::new(now_us));
        tokio::spawn(expire(Arc::clone(&presence), shutdown));
        Ok(Self { rows, log, stream, presence, generation })
    }
}

async fn expire(presence: Arc<MemoryPresence>, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(EXPIRE_EVERY);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        presence.expire();
    }
}
