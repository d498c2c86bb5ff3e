//! The configuration of a Stonechat process: defaults, below a TOML file, below the environment.
//!
//! Every key stands once, in `keys.rs`, with its default, its check and its documentation; the structs, the
//! validation, the commented defaults and `docs/configuration.md` are made from there. A key that does not
//! exist is an error that names it, never ignored.
//!
//! ```
//! # use stonechat_config::Config;
//! let config = Config::parse("[gateway]\nheartbeat_s = 30\n", [("STONECHAT_LOG__PARTITIONS".into(), "2".into())])?;
//! assert_eq!((config.gateway.heartbeat_s, config.log.partitions), (30, 2));
//! # Ok::<(), stonechat_config::ConfigError>(())
//! ```

mod check;
mod docs;
mod error;
mod keys;
mod load;
mod secret;

pub use docs::{defaults, docs, limits_docs};
pub use error::{ConfigError, Problem};
pub use keys::{
    Api, Cluster, Config, Cql, Files, FilesStore, Gateway, Kafka, KafkaProtocol, Key, Log, LogBackend, LogFormat,
    Presence, PresenceBackend, Redis, RedisTopology, Rows, RowsBackend, S3, Server, Telemetry,
};
pub use secret::Secret;
