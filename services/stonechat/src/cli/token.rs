//! `stonechat token`: offline, as a tenant's own server would.

use std::time::Duration;

use clap::{Args, Subcommand};
use stonechat_auth::sign_user_token;
use stonechat_model::{DeviceId, KeyId, UserId, now_us};

use super::{CliError, output};

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a user token.
    #[command(
        after_help = "Example:\n  stonechat token create --key-id k1 --key-secret \"$SECRET\" --user alice --ttl 3600"
    )]
    Create(CreateArgs),
}

/// Which token.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The id of the key that signs it.
    #[arg(long, env = "STONECHAT_KEY_ID")]
    key_id: String,
    /// The key's secret, which may begin like an argument does.
    #[arg(long, env = "STONECHAT_KEY_SECRET", hide_env_values = true, allow_hyphen_values = true)]
    key_secret: String,
    /// The user it is for.
    #[arg(long)]
    user: String,
    /// The only device it is good for.
    #[arg(long)]
    device: Option<String>,
    /// How long it is good, in seconds.
    #[arg(long, default_value_t = 3_600)]
    ttl: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn execute(command: TokenCommand) -> Result<(), CliError> {
    let TokenCommand::Create(args) = command;
    let usage = |what: &str, error: stonechat_model::InvalidId| CliError::Usage(format!("--{what}: {error}"));
    let key = KeyId::parse(&args.key_id).map_err(|e| usage("key-id", e))?;
    let user = UserId::parse(&args.user).map_err(|e| usage("user", e))?;
    let device = args.device.as_deref().map(DeviceId::parse).transpose().map_err(|e| usage("device", e))?;
    let ttl = Duration::from_secs(args.ttl);
    let token = sign_user_token(&key, args.key_secret.as_bytes(), &user, device.as_ref(), now_us(), ttl)
        .map_err(|e| CliError::Failed(e.to_string()))?;
    match args.json {
        true => output::json(&serde_json::json!({ "token": token })),
        false => output::line(&token),
    }
    Ok(())
}
