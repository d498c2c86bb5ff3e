//! The backends' settings, from the configuration.

use std::time::Duration;

use stonechat_config::{Config, KafkaProtocol, RedisTopology};
use stonechat_log::{GroupProtocol, KafkaConfig};
use stonechat_presence::redis::{RedisConfig, Topology, Trust};
use stonechat_rows::cql::CqlConfig;

use super::{RunError, trust};

/// Of Kafka.
pub fn kafka(config: &Config) -> KafkaConfig {
    let kafka = &config.kafka;
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let property = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    KafkaConfig {
        brokers: kafka.brokers.join(","),
        prefix: kafka.prefix.clone(),
        generation: kafka.generation,
        partitions: config.log.partitions,
        replication: kafka.replication,
        min_insync_replicas: kafka.min_insync_replicas,
        command_retention: hours(kafka.command_retention_h),
        event_retention: hours(kafka.event_retention_h),
        session_timeout: Duration::from_millis(kafka.session_timeout_ms),
        protocol: match kafka.protocol {
            KafkaProtocol::Cooperative => GroupProtocol::Cooperative,
            KafkaProtocol::Consumer => GroupProtocol::Consumer,
        },
        properties: kafka.properties.iter().map(property).collect(),
        ..KafkaConfig::default()
    }
}

/// Of ScyllaDB or Cassandra.
///
/// # Errors
/// The authorities of its certificates cannot be read.
pub fn cql(config: &Config) -> Result<CqlConfig, RunError> {
    let cql = &config.cql;
    Ok(CqlConfig {
        nodes: cql.nodes.clone(),
        tls: cql.tls.then(|| trust::client("cql.tls_ca", &cql.tls_ca)).transpose()?,
        keyspace: cql.keyspace.clone(),
        datacenter: (!cql.datacenter.is_empty()).then(|| cql.datacenter.clone()),
        credentials: (!cql.user.is_empty()).then(|| (cql.user.clone(), cql.password.expose().to_owned())),
        request_timeout: Duration::from_millis(cql.request_timeout_ms),
        in_flight: cql.in_flight,
    })
}

/// Of Redis.
///
/// # Errors
/// The authorities of its certificates cannot be read.
pub fn redis(config: &Config) -> Result<RedisConfig, RunError> {
    let redis = &config.redis;
    let has_credentials = !redis.user.is_empty() || !redis.password.expose().is_empty();
    let trust = || {
        let authorities = trust::authorities("redis.tls_ca", &redis.tls_ca)?;
        Ok::<_, RunError>(authorities.map_or(Trust::System, |(pem, _)| Trust::Ca(pem)))
    };
    Ok(RedisConfig {
        topology: match redis.topology {
            RedisTopology::Standalone => Topology::Standalone,
            RedisTopology::Sentinel => Topology::Sentinel { master: redis.master.clone() },
            RedisTopology::Cluster => Topology::Cluster,
        },
        nodes: redis.nodes.clone(),
        tls: redis.tls.then(trust).transpose()?,
        credentials: has_credentials.then(|| (redis.user.clone(), redis.password.expose().to_owned())),
        prefix: redis.prefix.clone(),
        lease: Duration::from_secs(config.presence.lease_s),
        call_timeout: Duration::from_millis(redis.call_timeout_ms),
    })
}
