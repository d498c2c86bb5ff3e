//! `stonechat config`.

use std::path::PathBuf;

use clap::Subcommand;
use stonechat_config::Config;

use super::{CliError, output};

/// What to do about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file together with the environment.
    Check {
        /// The file.
        file: Option<PathBuf>,
    },
    /// Print a file with every key at its default.
    Defaults,
    /// Print the documentation of every key, or of every limit.
    Docs {
        /// The table of limits instead.
        #[arg(long)]
        limits: bool,
    },
}

/// Does it.
pub fn execute(command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { file } => {
            let config = Config::load(file.as_deref()).map_err(|e| CliError::Failed(e.to_string()))?;
            config.check_secrets().map_err(|e| CliError::Failed(e.to_string()))?;
            output::line("configuration is good");
        }
        ConfigCommand::Defaults => output::line(stonechat_config::defaults().trim_end()),
        ConfigCommand::Docs { limits: true } => output::line(stonechat_config::limits_docs().trim_end()),
        ConfigCommand::Docs { limits: false } => output::line(stonechat_config::docs().trim_end()),
    }
    Ok(())
}
