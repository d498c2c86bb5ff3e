//! What an operator does to backends before processes are started.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliError;

/// Operators' commands.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Make topics, keyspace and tables where they are missing, and look whether all fits. It can be repeated, and is
    /// to be run before the first start, before an upgrade, and after settings of the backends were changed.
    #[command(after_help = "Examples:\n  stonechat admin prepare --config stonechat.toml")]
    Prepare(PrepareArgs),
    /// Wrap the keys of tenants' files with the first of the master keys, so that older ones can be taken away. It can be
    /// repeated. Where the embedded rows are, stop the process with the role storage first.
    #[command(after_help = "Examples:\n  stonechat admin rewrap --config stonechat.toml")]
    Rewrap(RewrapArgs),
}

/// What is prepared.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// A configuration file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Print what was done as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is wrapped.
#[derive(Debug, Args)]
pub struct RewrapArgs {
    /// A configuration file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Print what was done as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does what the command line says.
pub async fn execute(command: AdminCommand) -> Result<(), CliError> {
    match command {
        AdminCommand::Prepare(args) => Ok(crate::run::prepare(args.config.as_deref(), args.json).await?),
        AdminCommand::Rewrap(args) => Ok(crate::run::rewrap(args.config.as_deref(), args.json).await?),
    }
}
