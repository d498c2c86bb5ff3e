//! `stonechat run`: roles in this process, on the backends of the configuration.

mod backends;
mod dev;
pub mod operations;
mod outbound;
mod peers;
mod prepare;
mod readiness;
mod rewrap;
pub mod role;
mod roles;
#[cfg(feature = "cluster")]
mod settings;
#[cfg(feature = "cluster")]
mod trust;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use stonechat_config::{Config, LogBackend, LogFormat, PresenceBackend, RowsBackend};
use stonechat_lifecycle::{Health, Shutdown};
use stonechat_telemetry::Settings;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{RunArgs, output};
use backends::{Backends, Opening};
use dev::Demo;
use peers::Others;
pub use prepare::prepare;
pub use rewrap::rewrap;
use role::{Role, Roles};
use roles::Starting;

/// Why the process does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not as it should be.
    #[error(transparent)]
    Config(#[from] stonechat_config::ConfigError),
    /// Something that only the development mode may do.
    #[error("{0}")]
    Refused(String),
    /// Logs or traces cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] stonechat_telemetry::TelemetryError),
    /// The rows cannot be opened.
    #[error(transparent)]
    Rows(#[from] stonechat_rows::RowsError),
    /// The command log or event stream cannot be opened.
    #[error(transparent)]
    Log(#[from] stonechat_log::LogError),
    /// Kafka does not answer, or does not fit.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Kafka(#[from] stonechat_log::KafkaSetupError),
    /// The demo tenant cannot be made.
    #[error("demo tenant: {0}")]
    Dev(String),
    /// A service refused.
    #[error(transparent)]
    Service(#[from] stonechat_errors::Error),
    /// The network refused.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate for other roles.
    #[error(transparent)]
    Identity(#[from] stonechat_peers::IdentityError),
    /// Signals cannot be heard.
    #[error("hear signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Runs until a signal; a second one ends it at once.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let roles = Roles::new(&args.role);
    let config = configure(&args, &roles)?;
    let telemetry = stonechat_telemetry::init(&settings(&config, &roles))?;
    let shutdown = Shutdown::on_signals().map_err(RunError::Signals)?;
    let (listener, bound) = listen(config.server.listen).await?;

    let health = Health::new();
    let end = CancellationToken::new();
    let others = Others::of(&config.cluster, end.clone())?;
    let opening = Opening { config: &config, roles: &roles, health: &health, others: &others, end: end.clone() };
    let Some(backends) = shutdown.drain().run_until_cancelled(Box::pin(opening.open())).await else {
        return Ok(());
    };
    let backends = backends?;
    let demo = match args.dev {
        true => Some(Demo::prepare(&backends.rows, &config.server.data).await?),
        false => None,
    };
    let metrics = telemetry.metrics();
    let dev_key = demo.as_ref().map(|demo| demo.server_key.clone());
    let drain = shutdown.drain();
    let starting = Starting {
        config: &config,
        roles: &roles,
        backends,
        others: &others,
        health: &health,
        dev_key,
        metrics,
        drain,
        end,
    };
    let running = starting.start();
    let internal = match running.is_called() {
        true => Some(listen_internal(&config).await?),
        false => None,
    };
    let serving = running.serve(listener, internal, &others, &shutdown);
    tracing::info!(listen = %bound, roles = roles.name(), "ready");
    match &demo {
        Some(demo) => announce(demo, bound, args.json)?,
        None if args.json => output::json(&serde_json::json!({ "url": format!("http://{bound}") })),
        None => {}
    }
    serving.await;
    telemetry.shutdown();
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn listen_internal(config: &Config) -> Result<TcpListener, RunError> {
    let (listener, bound) = listen(config.cluster.listen).await?;
    tracing::info!(listen = %bound, "other roles are served");
    Ok(listener)
}

fn configure(args: &RunArgs, roles: &Roles) -> Result<Config, RunError> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.server.data.clone_from(data);
    }
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    check_roles(&config, roles)?;
    if args.dev {
        if !config.server.listen.ip().is_loopback() {
            let reason = "--dev has well-known users and listens on loopback only";
            return Err(RunError::Refused(reason.to_owned()));
        }
        if !roles.are_all() {
            return Err(RunError::Refused("--dev runs every role in one process".to_owned()));
        }
        // Whoever tries webhooks out has a receiver on this machine.
        let loopback = ["127.0.0.0/8", "::1/128"].map(str::to_owned);
        config.webhooks.allowed_addresses.extend(loopback);
        config.webhooks.ports.clear();
        config.webhooks.allow_http = true;
        if args.data.is_none() && config.server.data == Config::default().server.data {
            config.server.data = PathBuf::from("data/dev");
        }
    } else if roles.has(Role::Api) {
        config.check_secrets()?;
    }
    Ok(config)
}

/// Whether a file, together with the environment, fits these roles; all of them where none is named.
pub fn check(file: Option<&Path>, roles: &[Role]) -> Result<(), RunError> {
    let (config, roles) = (Config::load(file)?, Roles::new(roles));
    check_roles(&config, &roles)?;
    if roles.has(Role::Api) {
        config.check_secrets()?;
    }
    Ok(())
}

/// Whether the roles can work as the configuration says.
fn check_roles(config: &Config, roles: &Roles) -> Result<(), RunError> {
    let refused = |reason: &str| Err(RunError::Refused(reason.to_owned()));
    let cluster = &config.cluster;
    if roles.has(Role::Webhooks) && !roles.has(Role::Router) && config.log.backend == LogBackend::Embedded {
        return refused("log.backend: webhooks without a router in their process need kafka");
    }
    if roles.has(Role::Router) && config.log.backend == LogBackend::Embedded {
        let has_rows = roles.has(Role::Storage) && config.rows.backend == RowsBackend::Embedded;
        if !has_rows {
            return refused("log.backend: a router without the embedded rows in its process needs kafka");
        }
    }
    let needs_routers = (roles.has(Role::Gateway) || roles.has(Role::Api)) && !roles.has(Role::Router);
    if needs_routers && cluster.routers.is_empty() {
        return refused("cluster.routers: a gateway or api without a router in its process needs their addresses");
    }
    let needs_rows = !roles.has(Role::Storage) && *roles != Roles::new(&[Role::Presence]);
    if needs_rows && cluster.storage.is_empty() {
        return refused("cluster.storage: a process without storage needs the addresses of those with it");
    }
    let is_one_of_several = roles.has(Role::Presence) && cluster.presence.len() > 1;
    if is_one_of_several && config.presence.backend == PresenceBackend::Memory {
        return refused(
            "presence.backend: memory is kept by one process, and cluster.presence names several; they need redis",
        );
    }
    let has_own_rows = roles.has(Role::Storage) && config.rows.backend == RowsBackend::Embedded;
    if roles.has(Role::Files) && !has_own_rows && config.files.master_key_file.as_os_str().is_empty() {
        return refused(
            "files.master_key_file: files whose keys are in rows of other processes need a file they share",
        );
    }
    let needs_presence = !roles.has(Role::Presence) && !roles.are_among(&[Role::Storage, Role::Webhooks, Role::Files]);
    if needs_presence && cluster.presence.is_empty() {
        return refused("cluster.presence: a process without presence needs the addresses of those with it");
    }
    Ok(())
}

fn settings(config: &Config, roles: &Roles) -> Settings {
    Settings {
        json: config.telemetry.log_format == LogFormat::Json,
        filter: config.telemetry.log_filter.clone(),
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        trace_ratio: config.telemetry.trace_ratio,
        metrics: config.telemetry.metrics,
        service: if roles.are_all() { "stonechat".to_owned() } else { format!("stonechat-{}", roles.name()) },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn announce(demo: &Demo, bound: SocketAddr, json: bool) -> Result<(), RunError> {
    let announcement = demo.announce(&format!("http://{bound}"))?;
    if json {
        output::json(&announcement);
    } else {
        output::line(&announcement.for_people());
    }
    Ok(())
}

/// The configured time for draining.
fn drain_time(config: &Config) -> Duration {
    Duration::from_secs(config.server.drain_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_in_memory_is_refused_as_one_of_several() {
        let roles = Roles::new(&[Role::Presence]);
        let mut config = Config::default();
        config.cluster.storage = vec!["127.0.0.1:1".to_owned()];
        let mut refused = |backend, presence: &[&str]| {
            config.presence.backend = backend;
            config.cluster.presence = presence.iter().map(|&it| it.to_owned()).collect();
            check_roles(&config, &roles).err().map(|error| error.to_string())
        };
        let several = ["127.0.0.1:2", "127.0.0.1:3"];
        assert!(refused(PresenceBackend::Memory, &several).is_some_and(|why| why.starts_with("presence.backend")));
        assert_eq!(refused(PresenceBackend::Memory, &several[..1]), None);
        assert_eq!(refused(PresenceBackend::Redis, &several), None);
    }
}
