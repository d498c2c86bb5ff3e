//! The command line.

mod admin;
mod bench;
mod chat;
mod config;
mod doctor;
mod files;
mod forward;
mod messages;
pub mod output;
mod platform;
mod show;
mod target;
mod token;
mod transfer;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use stonechat_client::ClientError;

use self::platform::Platform;

/// Exit codes, as `--help` says them.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server cannot be reached, 4 refused.";

/// Stonechat: instant messaging, in one binary.
#[derive(Debug, Parser)]
#[command(name = "stonechat", version, about, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    #[command(
        after_help = "Examples:\n  stonechat run --dev\n  stonechat run --config stonechat.toml\n  stonechat run --config stonechat.toml --role gateway"
    )]
    Run(RunArgs),
    /// Prepare the backends of a cluster.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Make user tokens, without a server.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Send a message.
    #[command(
        after_help = "Examples:\n  stonechat send --to bob hello\n  stonechat send --conversation team --json hi\n  stonechat send --to bob --file holiday.jpg --file plan.pdf look"
    )]
    Send(messages::SendArgs),
    /// Show a conversation's messages.
    #[command(
        after_help = "Examples:\n  stonechat history --to bob\n  stonechat history --conversation team --limit 200 --json"
    )]
    History(messages::HistoryArgs),
    /// Print events as they come, or send a tenant's on to a server of your own.
    #[command(
        after_help = "Examples:\n  stonechat listen\n  stonechat listen --json | jq .event\n  stonechat listen --forward-to http://localhost:3000/hook --events 'message.*'"
    )]
    Listen(messages::ListenArgs),
    /// Upload and download files.
    #[command(subcommand)]
    File(files::FileCommand),
    /// Chat in the terminal.
    #[command(after_help = "Examples:\n  stonechat chat --to bob\n  stonechat chat --conversation team")]
    Chat(chat::ChatArgs),
    /// Bring a tenant's history in, with its own times.
    #[command(after_help = "Examples:\n  stonechat import history.ndjson\n  stonechat import --resume history.ndjson")]
    Import(transfer::ImportArgs),
    /// Take a tenant's or a user's data out, as lines of JSON.
    #[command(after_help = "Examples:\n  stonechat export -o all.ndjson\n  stonechat export --user alice | jq .entry")]
    Export(transfer::ExportArgs),
    /// Measure a server.
    #[command(
        subcommand,
        after_help = "Examples:\n  stonechat bench all --spawn\n  stonechat bench direct --spawn --users 1000 --json"
    )]
    Bench(bench::BenchCommand),
    /// Show and check the configuration.
    #[command(
        subcommand,
        after_help = "Examples:\n  stonechat config defaults > stonechat.toml\n  stonechat config check stonechat.toml"
    )]
    Config(config::ConfigCommand),
    /// Keep servers and keys under names.
    #[command(subcommand)]
    Context(platform::context::ContextCommand),
    /// Print a script that completes this command line in a shell.
    #[command(after_help = "Example:\n  source <(stonechat completions bash)")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Look for what keeps a server or a client from working.
    #[command(after_help = "Examples:\n  stonechat doctor\n  stonechat doctor --url https://chat.example --json")]
    Doctor(doctor::DoctorArgs),
}

/// How to run the server.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// For development: loopback only, with a demo tenant and the users alice and bob.
    #[arg(long)]
    pub dev: bool,
    /// The folder of the data.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Address and port to listen on.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// A configuration file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// A role to run, given again for each; all of them when not given.
    #[arg(long)]
    pub role: Vec<crate::run::role::Role>,
    /// Print one JSON line when ready.
    #[arg(long)]
    pub json: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server did not start, or failed.
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// Whether the same may go well later.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_retryable())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Client(ClientError::Url(_)) => 2,
            Self::Client(ClientError::Unreachable(_)) => 3,
            Self::Refused(_)
            | Self::Client(ClientError::Refused(_) | ClientError::Closed(..) | ClientError::Token(_)) => 4,
            Self::Client(_) | Self::Run(_) | Self::Failed(_) => 1,
        }
    }
}

/// A command line that can be parsed: what is declared here, and a command for each operation of the api.
pub struct CommandLine {
    platform: Platform,
    own: clap::Command,
    whole: clap::Command,
}

impl CommandLine {
    /// Every command that the process may have been started for. Where the first argument is a command without any
    /// below it, like `run`, the operations are not looked at: they are a noun and a verb each.
    pub fn new() -> Self {
        let own = Cli::command();
        let platform = match std::env::args_os().nth(1) {
            Some(first) if first.to_str().is_some_and(|first| stands_alone(&own, first)) => Platform::default(),
            _ => Platform::new(&crate::run::operations::document()),
        };
        let whole = platform.add_to(own.clone());
        Self { platform, own, whole }
    }

    /// What the process was started with; ends it where that is none of ours.
    pub fn parse(&mut self) -> ArgMatches {
        self.whole.get_matches_mut()
    }

    /// Does what the command line says.
    pub async fn execute(mut self, given: ArgMatches) -> ExitCode {
        let done = match self.platform.asked(&self.own, &given) {
            Some((operation, given)) => platform::execute(operation, given).await,
            None => match Cli::from_arg_matches(&given) {
                Ok(Cli { command: Command::Completions { shell } }) => {
                    clap_complete::generate(shell, &mut self.whole, "stonechat", &mut std::io::stdout());
                    Ok(())
                }
                Ok(cli) => execute(cli).await,
                Err(error) => error.exit(),
            },
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::error(&error.to_string());
                ExitCode::from(error.exit_code())
            }
        }
    }
}

/// Whether a command is declared here, has none below it, and needs to know of no other.
fn stands_alone(own: &clap::Command, name: &str) -> bool {
    let is_leaf = own.find_subcommand(name).is_some_and(|command| !command.has_subcommands());
    // It prints all of them.
    is_leaf && name != "completions"
}

async fn execute(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Run(args) => Box::pin(crate::run::run(args)).await.map_err(CliError::from),
        Command::Admin(command) => Box::pin(admin::execute(command)).await,
        Command::Token(command) => token::execute(command),
        Command::Send(args) => Box::pin(messages::send(args)).await,
        Command::History(args) => messages::history(args).await,
        Command::Listen(args) => messages::listen(args).await,
        Command::File(command) => Box::pin(files::execute(command)).await,
        Command::Import(args) => Box::pin(transfer::import(args)).await,
        Command::Export(args) => Box::pin(transfer::export(args)).await,
        Command::Chat(args) => Box::pin(chat::chat(args)).await,
        Command::Bench(command) => Box::pin(bench::execute(command)).await,
        Command::Config(command) => config::execute(command),
        Command::Context(command) => platform::context::execute(command),
        // It takes the whole command line, which is not here.
        Command::Completions { .. } => Ok(()),
        Command::Doctor(args) => doctor::doctor(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operation_is_below_a_command_that_stands_alone() {
        let own = Cli::command();
        let whole = Platform::new(&crate::run::operations::document()).add_to(own.clone());
        let names = own.get_subcommands().map(clap::Command::get_name).filter(|name| stands_alone(&own, name));
        let alone: Vec<&str> = names.collect();
        assert!(alone.contains(&"run") && !alone.contains(&"token"), "{alone:?}");
        for name in alone {
            assert!(whole.find_subcommand(name).is_some_and(|command| !command.has_subcommands()), "{name}");
        }
    }
}
