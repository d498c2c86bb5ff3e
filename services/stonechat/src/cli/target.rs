//! Which server, as whom, which conversation.

use std::time::Duration;

use clap::Args;
use stonechat_client::{Client, ClientError, Event, Options, core::Bootstrap};
use tokio::{sync::mpsc, time::timeout};

use super::CliError;

/// How long a command waits for its session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's URL.
    #[arg(long, env = "STONECHAT_URL", default_value = "http://127.0.0.1:4000")]
    pub url: String,
    /// A user token.
    #[arg(long, env = "STONECHAT_TOKEN", hide_env_values = true)]
    pub token: String,
    /// The device's id; a new one when not given.
    #[arg(long)]
    pub device: Option<String>,
}

/// Which conversation.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ConversationArgs {
    /// The other user of a direct conversation.
    #[arg(long)]
    pub to: Option<String>,
    /// A conversation's id.
    #[arg(long)]
    pub conversation: Option<String>,
}

/// A client, the events it hears, and the user it is.
pub struct Connected {
    pub client: Client,
    pub events: mpsc::Receiver<Event>,
    pub user: String,
}

impl ServerArgs {
    fn options(&self, bootstrap: Bootstrap) -> Options {
        let mut options = Options::new(&self.url, &self.token);
        options.bootstrap = bootstrap;
        if let Some(device) = &self.device {
            options.device.clone_from(device);
        }
        options
    }

    /// Connects; fails when the session is not open in a while.
    pub async fn connect(&self, bootstrap: Bootstrap) -> Result<Connected, CliError> {
        let (client, mut events) = Client::connect(self.options(bootstrap))?;
        let mut last = "it does not answer".to_owned();
        let opened = async {
            loop {
                match events.recv().await {
                    Some(Event::Connected(ready)) => return Ok(ready.user),
                    Some(Event::Ended(error)) => return Err(error),
                    Some(Event::Disconnected { reason }) => {
                        // Said once is enough.
                        last = reason.trim_start_matches("server cannot be reached: ").to_owned();
                    }
                    Some(_) => {}
                    None => return Err(ClientError::Stopped),
                }
            }
        };
        match timeout(CONNECT_TIMEOUT, opened).await {
            Ok(Ok(user)) => Ok(Connected { client, events, user }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ClientError::Unreachable(last).into()),
        }
    }
}

impl ConversationArgs {
    /// The conversation's id; a direct conversation is made when it is not there.
    pub async fn resolve(&self, client: &Client) -> Result<String, CliError> {
        match (&self.to, &self.conversation) {
            (Some(user), _) => Ok(client.create_direct(user).await?),
            (None, Some(id)) => Ok(id.clone()),
            (None, None) => Err(CliError::Usage("name --to or --conversation".to_owned())),
        }
    }
}

/// Reads events away, for commands that do not look at them.
pub fn ignore(mut events: mpsc::Receiver<Event>) {
    tokio::spawn(async move { while events.recv().await.is_some() {} });
}
