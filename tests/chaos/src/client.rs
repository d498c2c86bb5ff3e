//! The real client as a device's link.

use async_trait::async_trait;
use stonechat_chaos_checker::ClientKey;
use stonechat_client::{Client, ClientError, Event, Options, Sent};
use stonechat_model::ConversationId;
use stonechat_proto::v1;
use tokio::sync::mpsc;

use crate::{
    content_of,
    link::{Incident, Link},
    shelf::Shelf,
};

type Answer = (ClientKey, Result<Sent, ClientError>);

/// A client that connects in the background, again and again.
pub struct ClientLink {
    client: Client,
    events: mpsc::Receiver<Event>,
    answers: mpsc::UnboundedReceiver<Answer>,
    answer: mpsc::UnboundedSender<Answer>,
    uploads: mpsc::UnboundedReceiver<Incident>,
    uploaded: mpsc::UnboundedSender<Incident>,
    shelf: Option<Shelf>,
}

impl ClientLink {
    /// Begins to connect.
    ///
    /// # Errors
    /// A URL that is none of a server.
    pub fn open(url: &str, token: String, device: &str) -> Result<Self, ClientError> {
        let options = Options { device: device.to_owned(), ..Options::new(url, token) };
        let (client, events) = Client::connect(options)?;
        let (answer, answers) = mpsc::unbounded_channel();
        let (uploaded, uploads) = mpsc::unbounded_channel();
        Ok(Self { client, events, answers, answer, uploads, uploaded, shelf: None })
    }

    /// Keeps its files here.
    #[must_use]
    pub fn with_files(mut self, shelf: Shelf) -> Self {
        self.shelf = Some(shelf);
        self
    }
}

#[async_trait]
impl Link for ClientLink {
    fn send(&mut self, conversation: &ConversationId, action: v1::Action) -> ClientKey {
        let id = uuid::Uuid::now_v7();
        let (client, answer, conversation) = (self.client.clone(), self.answer.clone(), conversation.to_string());
        tokio::spawn(async move {
            if let Some(kind) = action.kind {
                let result = client.command_as(&id.to_string(), &conversation, kind).await;
                // Whoever is gone needs no answer.
                let _ = answer.send((id.as_u128(), result));
            }
        });
        id.as_u128()
    }

    fn upload(&mut self, bytes: Vec<u8>) -> bool {
        let Some(shelf) = self.shelf.clone() else { return false };
        let uploaded = self.uploaded.clone();
        tokio::spawn(async move {
            let uploading = shelf.upload(&bytes);
            // Whoever is gone needs no file.
            let file = tokio::select! {
                file = uploading => file,
                () = uploaded.closed() => return,
            };
            let _ = uploaded.send(Incident::Uploaded { file, content: content_of(&bytes) });
        });
        true
    }

    async fn fetch(&mut self, file: &str) -> Option<Vec<u8>> {
        self.shelf.as_ref()?.fetch(file).await
    }

    async fn next(&mut self) -> Incident {
        loop {
            let incident = tokio::select! {
                Some((client, result)) = self.answers.recv() => of_answer(client, result),
                Some(uploaded) = self.uploads.recv() => Some(uploaded),
                Some(event) = self.events.recv() => of_event(event),
                // The client has ended for good; what it was asked stays unanswered.
                else => std::future::pending().await,
            };
            if let Some(incident) = incident {
                return incident;
            }
        }
    }
}

fn of_answer(client: ClientKey, result: Result<Sent, ClientError>) -> Option<Incident> {
    match result {
        Ok(sent) => Some(Incident::Acked { client, seq: sent.seq }),
        Err(ClientError::Refused(error)) => Some(Incident::Refused { client, code: error.code }),
        Err(_) => None,
    }
}

fn of_event(event: Event) -> Option<Incident> {
    match event {
        Event::Connected(_) => Some(Incident::Connected),
        Event::Disconnected { .. } => Some(Incident::Disconnected),
        Event::Event(frame) => {
            let v1::EventFrame { conversation, event } = *frame;
            event.map(|event| Incident::Event { conversation, event: Box::new(event) })
        }
        _ => None,
    }
}
