//! A broker that the tests of this process share, and logs on it.

use std::{
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stonechat_backends::{kafka::Kafka, server::Size};
use stonechat_log::{KafkaCommandLog, KafkaConfig, KafkaEventStream, prepare};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The one broker, while any test uses it.
pub async fn broker() -> Arc<Kafka> {
    static SHARED: LazyLock<Mutex<Weak<Kafka>>> = LazyLock::new(Mutex::default);
    let mut shared = SHARED.lock().await;
    if let Some(kafka) = shared.upgrade() {
        return kafka;
    }
    let kafka = Arc::new(Kafka::single(Size::Small).await.unwrap());
    *shared = Arc::downgrade(&kafka);
    kafka
}

/// Names that no other test has, for one broker. `RUST_LOG=info` shows what the logs say.
pub fn config(brokers: String) -> KafkaConfig {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
    static NEXT: AtomicU64 = AtomicU64::new(1);
    KafkaConfig {
        brokers,
        prefix: format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        partitions: 4,
        replication: 1,
        min_insync_replicas: 1,
        ..KafkaConfig::default()
    }
}

/// Rows in a folder of their own.
pub fn rows() -> (Arc<dyn Rows>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    (rows, folder)
}

/// Topics of their own on a broker, and what must live as long as they are used.
pub struct World {
    pub config: KafkaConfig,
    pub rows: Arc<dyn Rows>,
    _guard: (TempDir, Arc<Kafka>),
}

impl World {
    /// Topics on the shared broker.
    pub async fn new() -> Self {
        let kafka = broker().await;
        let config = config(kafka.bootstrap());
        Self::with(config, kafka).await
    }

    /// Topics as configured.
    pub async fn with(config: KafkaConfig, kafka: Arc<Kafka>) -> Self {
        let (rows, folder) = rows();
        prepare(&config, rows.as_ref()).await.unwrap();
        Self { config, rows, _guard: (folder, kafka) }
    }

    /// The command log, as another process opens it.
    pub async fn commands(&self) -> Arc<KafkaCommandLog> {
        KafkaCommandLog::open(&self.config).await.unwrap()
    }

    /// The event stream, as another process opens it.
    pub async fn events(&self) -> Arc<KafkaEventStream> {
        KafkaEventStream::open(&self.config).await.unwrap()
    }
}
