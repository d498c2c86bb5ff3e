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

/// Does what the command line says.
pub async fn execute(command: AdminCommand) -> Result<(), CliError> {
    match command {
        AdminCommand::Prepare(args) => Ok(crate::run::prepare(args.config.as_deref(), args.json).await?),
    }
}
