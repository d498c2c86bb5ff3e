//! `stonechat send`, `history` and `listen`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stonechat_client::{
    Event,
    core::Bootstrap,
    v1::{History, Message, action},
};

use super::{
    CliError, files,
    forward::{self, ForwardArgs},
    output,
    platform::context,
    show,
    target::{ConversationArgs, ServerArgs, ignore},
};

/// What to send.
#[derive(Debug, Args)]
pub struct SendArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
    /// A UUID: the same message is sent once, however often this is run.
    #[arg(long)]
    client_id: Option<String>,
    /// The seq of the message this one answers.
    #[arg(long, default_value_t = 0)]
    reply_to: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// A file that goes along; again for each.
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// The text.
    #[arg(required_unless_present = "files", default_value = "", hide_default_value = true)]
    text: String,
}

/// Sends a message.
pub async fn send(args: SendArgs) -> Result<(), CliError> {
    let attachments = files::attach(&args.server, &args.files).await?;
    let connected = args.server.connect(Bootstrap::Live).await?;
    ignore(connected.events);
    let client = connected.client;
    let conversation = args.conversation.resolve(&client).await?;
    let message = Message { text: args.text, reply_to: args.reply_to, attachments, ..Message::default() };
    let action = action::Kind::Send(message);
    let sent = match &args.client_id {
        Some(id) => client.command_as(id, &conversation, action).await?,
        None => client.command(&conversation, action).await?,
    };
    client.close().await;
    match args.json {
        true => output::json(&json!({ "conversation": sent.conversation, "seq": sent.seq })),
        false => output::line(&format!("{} #{}", sent.conversation, sent.seq)),
    }
    Ok(())
}

/// Which messages to show.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
    /// How many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Those after a seq, oldest first.
    #[arg(long, conflicts_with_all = ["before", "around"])]
    after: Option<u64>,
    /// Those before a seq.
    #[arg(long, conflicts_with = "around")]
    before: Option<u64>,
    /// Those on both sides of a seq.
    #[arg(long)]
    around: Option<u64>,
    /// Print a line of JSON for each.
    #[arg(long)]
    json: bool,
}

/// Shows messages.
pub async fn history(args: HistoryArgs) -> Result<(), CliError> {
    let connected = args.server.connect(Bootstrap::Live).await?;
    ignore(connected.events);
    let client = connected.client;
    let conversation = args.conversation.resolve(&client).await?;
    let window = History {
        after: args.after,
        before: args.before,
        around: args.around,
        limit: args.limit,
        ..History::default()
    };
    let page = client.history(&conversation, window).await?;
    client.close().await;
    for event in &page.events {
        match args.json {
            true => output::json(event),
            false => output::line(&show::event(event)),
        }
    }
    if page.more && !args.json {
        output::note("there is more; see --before and --after");
    }
    Ok(())
}

/// Whose events to print.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// The server's URL.
    #[arg(long, env = "STONECHAT_URL")]
    url: Option<String>,
    /// A user token.
    #[arg(long, env = "STONECHAT_TOKEN", hide_env_values = true, required_unless_present = "forward_to")]
    token: Option<String>,
    /// The device's id; a new one when not given.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    forward: ForwardArgs,
    /// Print everything that ever happened first.
    #[arg(long)]
    all: bool,
    /// Print a line of JSON for each.
    #[arg(long)]
    json: bool,
}

/// Prints events until it is interrupted or the session ends for good.
pub async fn listen(args: ListenArgs) -> Result<(), CliError> {
    if let Some(to) = args.forward.forward_to.clone() {
        return Box::pin(forward::forward(args.forward, to, args.url)).await;
    }
    let bootstrap = if args.all { Bootstrap::Full } else { Bootstrap::Live };
    let url = args.url.unwrap_or_else(|| context::DEFAULT_URL.to_owned());
    let server = ServerArgs { url, token: args.token.unwrap_or_default(), device: args.device };
    let mut connected = server.connect(bootstrap).await?;
    output::note(&format!("listening as {}", connected.user));
    while let Some(event) = connected.events.recv().await {
        match event {
            Event::Event(frame) if args.json => output::json(&frame),
            Event::Event(frame) => {
                let log = if frame.conversation.is_empty() { "(own log)" } else { &frame.conversation };
                output::line(&format!("{log} {}", frame.event.as_ref().map(show::event).unwrap_or_default()));
            }
            Event::Disconnected { reason } => output::note(&format!("disconnected: {reason}")),
            Event::Connected(_) => output::note("connected again"),
            Event::Ended(error) => return Err(error.into()),
            Event::Signal(_) | Event::Synced | Event::Conversation(_) | Event::Overlays(..) => {}
        }
    }
    Ok(())
}
