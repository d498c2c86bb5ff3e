//! `stonechat config`.

use std::path::PathBuf;

use super::{CliError, output};
use crate::run::role::Role;
use clap::Subcommand;

/// What to do about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file together with the environment.
    Check {
        /// The file.
        file: Option<PathBuf>,
        /// The role that is to run with it, given again for each; all of them when not given. The operator's key is
        /// looked at where the api is among them.
        #[arg(long)]
        role: Vec<Role>,
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
        ConfigCommand::Check { file, role } => {
            crate::run::check(file.as_deref(), &role)?;
            output::line("configuration is good");
        }
        ConfigCommand::Defaults => output::line(stonechat_config::defaults().trim_end()),
        ConfigCommand::Docs { limits: true } => output::line(stonechat_config::limits_docs().trim_end()),
        ConfigCommand::Docs { limits: false } => output::line(stonechat_config::docs().trim_end()),
    }
    Ok(())
}
