//! Frames as bytes, in either encoding.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use stonechat_proto::v1::{ClientFrame, Event, EventFrame, ServerFrame, server_frame};

/// How a session writes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf in binary messages.
    Protobuf,
    /// JSON in text messages.
    Json,
}

impl Encoding {
    /// The subprotocol that asks for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Protobuf => "stonechat.v1.proto",
            Self::Json => "stonechat.v1.json",
        }
    }

    /// The encoding of a subprotocol.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        [Self::Protobuf, Self::Json].into_iter().find(|encoding| encoding.subprotocol() == name)
    }

    /// A server's frame as bytes.
    pub fn encode(self, kind: server_frame::Kind) -> Bytes {
        let frame = ServerFrame { kind: Some(kind) };
        match self {
            Self::Protobuf => frame.encode_to_vec().into(),
            Self::Json => serde_json::to_vec(&frame).unwrap_or_default().into(),
        }
    }

    /// A client's frame; or why it is none.
    pub fn decode(self, bytes: Bytes) -> Result<ClientFrame, String> {
        match self {
            Self::Protobuf => ClientFrame::decode(bytes).map_err(|e| e.to_string()),
            Self::Json => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
        }
    }
}

/// Events encoded at most once in each encoding.
pub(crate) struct EncodedEvents<'a> {
    conversation: &'a str,
    events: &'a [Arc<Event>],
    protobuf: Option<Vec<Bytes>>,
    json: Option<Vec<Bytes>>,
}

impl<'a> EncodedEvents<'a> {
    /// Events of a conversation; of a user log where its id is empty.
    pub fn new(conversation: &'a str, events: &'a [Arc<Event>]) -> Self {
        Self { conversation, events, protobuf: None, json: None }
    }

    /// The frames in an encoding.
    pub fn frames(&mut self, encoding: Encoding) -> &[Bytes] {
        let Self { conversation, events, protobuf, json } = self;
        let slot = match encoding {
            Encoding::Protobuf => protobuf,
            Encoding::Json => json,
        };
        slot.get_or_insert_with(|| {
            let frame = |event: &Arc<Event>| EventFrame {
                conversation: (*conversation).to_owned(),
                event: Some(Event::clone(event)),
            };
            events.iter().map(|event| encoding.encode(server_frame::Kind::Event(frame(event)))).collect()
        })
    }
}
