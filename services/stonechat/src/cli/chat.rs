//! `stonechat chat`: a conversation in the terminal.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use stonechat_client::{
    Client, ClientError, Event,
    core::Bootstrap,
    v1::{Availability, Signal, Status, event, signal},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    CliError, output, show,
    target::{ConversationArgs, ServerArgs},
};

/// Messages shown when the chat begins.
const SHOWN: u64 = 20;
/// How long the last messages may take to be sent after the input ended.
const FINISH: Duration = Duration::from_secs(10);
const HELP: &str =
    "/status TEXT says what you are at, /away, /back, /who is there, /help, /quit; anything else is sent";

/// Which chat.
#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
}

struct Chat {
    client: Client,
    user: String,
    conversation: String,
    /// What is known of others.
    statuses: HashMap<String, Status>,
    /// How far this user has read, as far as was told to the server.
    read_seq: u64,
    sending: JoinSet<Result<(), ClientError>>,
    /// Whether the connection is lost.
    is_away: bool,
}

/// Chats until the input ends or `/quit`.
pub async fn chat(args: ChatArgs) -> Result<(), CliError> {
    let connected = args.server.connect(Bootstrap::Tail(SHOWN)).await?;
    let mut events = connected.events;
    let conversation = args.conversation.resolve(&connected.client).await?;
    output::note(&format!("you are {}; {HELP}", connected.user));
    let mut chat = Chat {
        client: connected.client,
        user: connected.user,
        conversation,
        statuses: HashMap::new(),
        read_seq: 0,
        sending: JoinSet::new(),
        is_away: false,
    };
    if let Some(other) = &args.conversation.to {
        let (client, other) = (chat.client.clone(), other.clone());
        chat.sending.spawn(async move { client.subscribe(vec![other]).await });
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => chat.show(event)?,
                None => return Ok(()),
            },
            line = lines.next_line() => match line {
                Ok(Some(line)) if line.trim() == "/quit" => break,
                Ok(Some(line)) => chat.enter(line.trim_end()),
                Ok(None) => break,
                Err(error) => return Err(CliError::Failed(format!("read input: {error}"))),
            },
            Some(sent) = chat.sending.join_next() => tell_failure(sent.unwrap_or(Ok(()))),
        }
    }
    chat.finish(events).await;
    Ok(())
}

fn tell_failure(sent: Result<(), ClientError>) {
    if let Err(error) = sent {
        output::note(&format!("not sent: {error}"));
    }
}

impl Chat {
    /// Takes a line of input.
    fn enter(&mut self, line: &str) {
        let client = self.client.clone();
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.to_owned();
        match command {
            "" => {}
            "/who" => self.who(),
            "/help" => output::note(HELP),
            "/status" => {
                self.spawn(async move { client.set_status(Availability::Unspecified, Some(rest), None).await });
            }
            "/away" => self.spawn(async move { client.set_status(Availability::Away, None, None).await }),
            "/back" => self.spawn(async move { client.set_status(Availability::Online, None, None).await }),
            _ if command.starts_with('/') => output::note(HELP),
            _ => {
                // The terminal has shown the line; it is shown again with its place.
                output::take_back_line();
                if self.is_away {
                    output::note(&format!("… goes out when connected again: {line}"));
                }
                let (conversation, text) = (self.conversation.clone(), line.to_owned());
                self.spawn(async move {
                    // Input comes line by line: the others see that a line is on its way.
                    client.typing(&conversation, false).await?;
                    client.send_text(&conversation, &text).await.map(drop)
                });
            }
        }
    }

    fn spawn(&mut self, request: impl Future<Output = Result<(), ClientError>> + Send + 'static) {
        self.sending.spawn(request);
    }

    fn who(&self) {
        if self.statuses.is_empty() {
            output::note("nobody's status is known");
        }
        for status in self.statuses.values() {
            output::note(&describe(status));
        }
    }

    fn show(&mut self, event: Event) -> Result<(), CliError> {
        match event {
            Event::Event(frame) if frame.conversation == self.conversation => {
                if let Some(event) = &frame.event {
                    output::line(&show::event(event));
                    self.read(event.seq, matches!(event.body, Some(event::Body::Message(_))));
                }
            }
            Event::Signal(signal) => self.show_signal(*signal),
            Event::Disconnected { reason } => {
                // Once, however often it is tried again.
                if !std::mem::replace(&mut self.is_away, true) {
                    output::note(&format!("… disconnected, trying again; what you write is kept ({reason})"));
                }
            }
            Event::Connected(_) => {
                self.is_away = false;
                output::note("… connected again");
            }
            Event::Ended(error) => return Err(error.into()),
            Event::Event(_) | Event::Synced | Event::Conversation(_) | Event::Overlays(..) => {}
        }
        Ok(())
    }

    /// Tells the server that a message was shown.
    fn read(&mut self, seq: u64, is_message: bool) {
        if is_message && seq > self.read_seq {
            self.read_seq = seq;
            let (client, conversation) = (self.client.clone(), self.conversation.clone());
            self.spawn(async move { client.mark_read(&conversation, seq).await });
        }
    }

    fn show_signal(&mut self, signal: Signal) {
        match signal.kind {
            Some(signal::Kind::Status(status)) => {
                output::note(&format!("… {}", describe(&status)));
                self.statuses.insert(signal.user, status);
            }
            Some(signal::Kind::Typing(typing)) if signal.conversation == self.conversation && !typing.stopped => {
                output::note(&format!("… {} is typing", signal.user));
            }
            Some(signal::Kind::Receipt(receipt))
                if signal.conversation == self.conversation && signal.user != self.user =>
            {
                output::note(&format!("… {} has read up to #{}", signal.user, receipt.read_seq));
            }
            _ => {}
        }
    }

    /// Waits for what was entered to be sent.
    async fn finish(mut self, mut events: mpsc::Receiver<Event>) {
        let finishing = async {
            loop {
                tokio::select! {
                    sent = self.sending.join_next() => match sent {
                        Some(sent) => tell_failure(sent.unwrap_or(Ok(()))),
                        None => return,
                    },
                    Some(_) = events.recv() => {}
                }
            }
        };
        if tokio::time::timeout(FINISH, finishing).await.is_err() {
            output::note("some messages were not sent");
        }
    }
}

fn describe(status: &Status) -> String {
    let mut text = match status.availability() {
        Availability::Online => format!("{} is online", status.user),
        Availability::Away => format!("{} is away", status.user),
        _ if status.last_seen_us > 0 => {
            format!("{} is offline, last seen at {} UTC", status.user, show::clock(status.last_seen_us))
        }
        _ => format!("{} is offline", status.user),
    };
    if !status.text.is_empty() || !status.emoji.is_empty() {
        text.push_str(&format!(": {} {}", status.emoji, status.text));
    }
    text
}
