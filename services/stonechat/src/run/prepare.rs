//! `stonechat admin prepare`: backends are made ready before processes start.

use std::path::Path;

use serde::Serialize;
use stonechat_config::{Config, LogBackend, RowsBackend};

use super::RunError;
use crate::cli::output;

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Prepared {
    /// What was made: topics, keyspaces, tables.
    made: Vec<String>,
    /// The command log of the generation before, which takes no commands any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// Makes what the configured backends lack, and looks whether all fits.
pub async fn prepare(config: Option<&Path>, json: bool) -> Result<(), RunError> {
    let config = Config::load(config)?;
    if config.rows.backend == RowsBackend::Embedded && config.log.backend == LogBackend::Embedded {
        let reason = "the embedded backends need no preparation; see log.backend and rows.backend";
        return Err(RunError::Refused(reason.to_owned()));
    }
    let prepared = prepare_all(&config).await?;
    if json {
        output::json(&prepared);
        return Ok(());
    }
    for name in &prepared.made {
        output::line(&format!("made {name}"));
    }
    if let Some(name) = &prepared.sealed {
        output::line(&format!("closed {name} to appends"));
    }
    output::line("everything fits");
    Ok(())
}

#[cfg(feature = "cluster")]
async fn prepare_all(config: &Config) -> Result<Prepared, RunError> {
    use super::{backends, settings};
    let mut prepared = Prepared::default();
    prepared.made.extend(backends::prepare_rows(config).await?);
    if config.log.backend == LogBackend::Kafka {
        let rows = backends::open_rows(config).await?;
        let topics = stonechat_log::prepare(&settings::kafka(config), rows.as_ref()).await?;
        prepared.made.extend(topics.made.into_iter().map(|name| format!("topic {name}")));
        prepared.sealed = topics.sealed;
    }
    Ok(prepared)
}

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn prepare_all(_: &Config) -> Result<Prepared, RunError> {
    Err(RunError::Refused("the cluster's backends need a build with the feature `cluster`".to_owned()))
}
