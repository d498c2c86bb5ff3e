//! A session over a hand-made WebSocket, in JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::wire::{CLOSE, JSON, TEXT, Wire};

/// A session.
pub struct Session {
    pub wire: Wire,
    ids: u64,
}

/// A new client id.
pub fn client_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Session {
    /// Connects and says hello; gives the session after `synced`.
    pub async fn open(address: SocketAddr, token: &str, device: &str) -> Self {
        let mut session = Self::hello(address, token, device).await;
        let synced = session.until("synced").await;
        assert_eq!(synced["type"], "synced", "{synced}");
        session
    }

    /// A session over an open WebSocket; hello is still to be said.
    pub fn on(wire: Wire) -> Self {
        Self { wire, ids: 0 }
    }

    /// Connects and says hello; whatever the server answers is still to be read.
    pub async fn hello(address: SocketAddr, token: &str, device: &str) -> Self {
        let mut session = Self::on(Wire::open(address, JSON).await);
        session.say(&json!({"type": "hello", "token": token, "device": device})).await;
        session
    }

    /// Sends a frame.
    pub async fn say(&mut self, frame: &Value) {
        self.wire.frame(TEXT, frame.to_string().as_bytes()).await.expect("the socket is open");
    }

    /// The next frame; `None` after the end. A close frame comes as `{"close": code}`.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let (first, payload) = self.wire.next().await?;
            match first {
                TEXT => return Some(serde_json::from_slice(&payload).expect("JSON")),
                CLOSE => {
                    let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Some(json!({"close": code}));
                }
                _ => {}
            }
        }
    }

    /// Reads until a frame of a type, an error or the end; what lies between is dropped.
    pub async fn until(&mut self, kind: &str) -> Value {
        self.until_where(|frame| frame["type"] == kind || frame["type"] == "error").await
    }

    /// Reads until a frame that fits, or the end; what lies between is dropped.
    pub async fn until_where(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        while let Some(frame) = self.next().await {
            if fits(&frame) || frame.get("close").is_some() {
                return frame;
            }
        }
        json!({"close": 0})
    }

    /// Gives a frame the next id, sends it, and waits for the answer that carries the id.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        self.ids += 1;
        let id = self.ids;
        frame["id"] = json!(id);
        self.say(&frame).await;
        self.until_where(|answer| answer["id"] == id && answer["type"] != "event").await
    }

    /// Sends a command; gives the ack or error.
    pub async fn command(&mut self, conversation: &str, action: Value) -> Value {
        let frame = json!({"type": "command", "conversation": conversation, "client_id": client_id()});
        let mut frame = frame.as_object().expect("an object").clone();
        frame.extend(action.as_object().expect("an object").clone());
        self.ask(Value::Object(frame)).await
    }

    /// Sends a text; gives the ack or error.
    pub async fn send(&mut self, conversation: &str, text: &str) -> Value {
        self.command(conversation, json!({"send": {"text": text}})).await
    }

    /// Creates a group with these members beside the session's user; gives its id.
    pub async fn group(&mut self, id: &str, members: &[&str]) -> String {
        let ack = self.command(id, json!({"create": {"kind": "group", "members": members}})).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        ack["conversation"].as_str().unwrap_or(id).to_owned()
    }

    /// Waits for an event of a conversation that fits.
    pub async fn event(&mut self, conversation: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let frame = self
            .until_where(|frame| {
                frame["type"] == "event" && frame["conversation"] == conversation && fits(&frame["event"])
            })
            .await;
        assert!(frame.get("close").is_none(), "closed while waiting for an event: {frame}");
        frame["event"].clone()
    }
}
