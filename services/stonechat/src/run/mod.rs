//! `stonechat run`: every role in this process, on the backends of the configuration.

mod backends;
mod dev;
mod roles;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use stonechat_config::{Config, LogFormat};
use stonechat_lifecycle::{Health, Shutdown};
use stonechat_telemetry::Settings;
use tokio::net::TcpListener;

use crate::cli::{RunArgs, output};
use backends::Backends;
use dev::Demo;
use roles::Roles;

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
    /// Signals cannot be heard.
    #[error("hear signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Runs until a signal; a second one ends it at once.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let config = configure(&args)?;
    let telemetry = stonechat_telemetry::init(&settings(&config))?;
    let shutdown = Shutdown::on_signals().map_err(RunError::Signals)?;
    let address = config.server.listen;
    let listen = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;

    let health = Health::new();
    let backends = Backends::embedded(&config, shutdown.force()).await?;
    let demo = match args.dev {
        true => Some(Demo::prepare(&backends.rows, &config.server.data).await?),
        false => None,
    };
    let roles = Roles::start(&config, backends, &health, telemetry.metrics());
    let serving = roles.serve(listener, &shutdown);
    tracing::info!(listen = %bound, data = %config.server.data.display(), "ready");
    if let Some(demo) = &demo {
        announce(demo, bound, args.json)?;
    }
    serving.await;
    telemetry.shutdown();
    Ok(())
}

fn configure(args: &RunArgs) -> Result<Config, RunError> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(data) = &args.data {
        config.server.data.clone_from(data);
    }
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if !args.role.is_empty() && args.role != ["all"] {
        let reason = "roles on their own need the cluster's backends, which this build does not have";
        return Err(RunError::Refused(reason.to_owned()));
    }
    if args.dev {
        if !config.server.listen.ip().is_loopback() {
            let reason = "--dev has well-known users and listens on loopback only";
            return Err(RunError::Refused(reason.to_owned()));
        }
        if args.data.is_none() && config.server.data == Config::default().server.data {
            config.server.data = PathBuf::from("data/dev");
        }
    } else {
        config.check_secrets()?;
    }
    Ok(config)
}

fn settings(config: &Config) -> Settings {
    Settings {
        json: config.telemetry.log_format == LogFormat::Json,
        filter: config.telemetry.log_filter.clone(),
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        trace_ratio: config.telemetry.trace_ratio,
        metrics: config.telemetry.metrics,
        service: "stonechat".to_owned(),
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
