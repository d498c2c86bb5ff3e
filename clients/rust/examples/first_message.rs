//! The guide's first message from Rust: `first_message TOKEN` sends one to bob and waits until it is heard of.

#![expect(clippy::print_stdout, reason = "it shows what came")]

use std::error::Error;

use stonechat_client::{Client, Event, Options, v1::event::Body};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::args().nth(1).ok_or("give a user token")?;
    let (client, mut events) = Client::connect(Options::new("http://127.0.0.1:4000", token))?;
    let conversation = client.create_direct("bob").await?;
    let sent = client.send_text(&conversation, "hello from Rust").await?;
    // What happened while it was away comes first, each event once and in order.
    while let Some(event) = events.recv().await {
        let Event::Event(frame) = event else { continue };
        let Some(event) = frame.event.filter(|_| frame.conversation == conversation) else { continue };
        if let Some(Body::Message(message)) = event.body {
            println!("{conversation} #{} {}: {}", event.seq, event.sender, message.text);
        }
        if event.seq >= sent.seq {
            break;
        }
    }
    client.close().await;
    Ok(())
}
