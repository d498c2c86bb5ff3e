//! `stonechat admin rewrap`: keys of tenants' files come under a new master key.

use std::path::Path;

use serde::Serialize;
use stonechat_blobs::{MasterKeys, Sealer};
use stonechat_config::Config;
use stonechat_model::TenantId;
use stonechat_rows::tables;

use super::{RunError, backends};
use crate::cli::output;

/// Tenants that are read at once.
const PAGE: usize = 500;

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Rewrapped {
    /// Tenants that were looked at.
    tenants: usize,
    /// Keys that an older master key had wrapped.
    keys: usize,
    /// The name of the master key that all keys are wrapped with now.
    master: String,
}

/// Wraps the keys of every tenant's files with the first master key. What is sealed stays as it is; processes that run
/// go on, as long as they know both master keys.
pub async fn rewrap(config: Option<&Path>, json: bool) -> Result<(), RunError> {
    let refused = |error: stonechat_blobs::BlobError| RunError::Refused(error.to_string());
    let config = Config::load(config)?;
    let masters = MasterKeys::load(&backends::master_keys(&config)).map_err(refused)?;
    let mut done = Rewrapped { master: masters.current().to_owned(), ..Rewrapped::default() };
    let rows = backends::open_rows(&config).await?;
    let sealer = Sealer::new(rows.clone(), masters);
    let mut from: Option<String> = None;
    loop {
        let mut page = rows.range(tables::tenants(from.as_deref(), PAGE + 1)).await?;
        from = if page.len() > PAGE { page.pop().map(|next| next.key.text(1).to_owned()) } else { None };
        for row in &page {
            let id = row.key.text(1);
            let tenant = TenantId::parse(id).map_err(|_| RunError::Refused(format!("{id:?} is no tenant's id")))?;
            done.keys += sealer.rewrap(&tenant).await.map_err(refused)?;
            done.tenants += 1;
        }
        if from.is_none() {
            break;
        }
    }
    if json {
        output::json(&done);
        return Ok(());
    }
    output::line(&format!("wrapped {} keys of {} tenants with master key {}", done.keys, done.tenants, done.master));
    output::line("older master keys can be taken out of the file when every process was started with this one");
    Ok(())
}
