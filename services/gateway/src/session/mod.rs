//! A session: what one connection says, from hello to end. No sockets here.

mod bucket;
mod hello;
mod hooked;
mod requests;

pub(crate) use hello::tell_heads;
pub(crate) use hooked::HookLane;

use std::sync::Arc;

use stonechat_errors::Error;
use stonechat_model::TimeUs;
use stonechat_proto::v1::{ClientFrame, Pong, client_frame, server_frame};

use crate::{
    Encoding, Outbox,
    close::Close,
    hub::{Attached, Hub, Turn},
};
use bucket::Bucket;

/// One connection's session.
pub struct Session {
    hub: Arc<Hub>,
    encoding: Encoding,
    outbox: Arc<Outbox>,
    /// Set by the hello.
    attached: Option<Arc<Attached>>,
    bucket: Bucket,
}

impl Session {
    /// A session that has not said hello.
    pub fn new(hub: Arc<Hub>, encoding: Encoding) -> Self {
        let outbox = Arc::new(Outbox::new(hub.config.session_queue_bytes));
        let bucket = Bucket::new(hub.config.commands_per_s, hub.config.commands_burst);
        Self { hub, encoding, outbox, attached: None, bucket }
    }

    /// What it has to say.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// How it writes frames.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether the hello was taken.
    pub fn is_open(&self) -> bool {
        self.attached.is_some()
    }

    /// Takes a frame. Answers and refusals go to the outbox.
    pub async fn handle(&mut self, frame: ClientFrame, now_us: TimeUs) {
        let Some(kind) = frame.kind else {
            return self.outbox.close(Close::bad_frame("frame has no known kind"));
        };
        let Some(session) = self.attached.clone() else {
            return match kind {
                client_frame::Kind::Hello(hello) => self.hello(hello, now_us).await,
                _ => self.outbox.close(Close::bad_frame("the first frame must be hello")),
            };
        };
        if !self.bucket.take(now_us) {
            let error = self.bucket.refusal();
            return session.refuse(frame_id(&kind), &error);
        }
        let id = frame_id(&kind);
        if let Err(error) = self.answer(&session, kind, now_us).await {
            session.refuse(id, &error);
        }
    }

    async fn answer(&mut self, session: &Arc<Attached>, kind: client_frame::Kind, now_us: TimeUs) -> Result<(), Error> {
        match kind {
            client_frame::Kind::Hello(_) => self.outbox.close(Close::bad_frame("hello comes once")),
            client_frame::Kind::Command(command) => return self.command(session, command, now_us).await,
            client_frame::Kind::Sync(sync) => {
                let (hub, mut turn) = (&self.hub, Turn::default());
                return hello::sync(hub, session, &mut turn, sync.id, &sync.cursors, sync.user_log_seq).await;
            }
            client_frame::Kind::History(history) => return self.history(session, history).await,
            client_frame::Kind::Read(mark) => return self.mark(session, mark).await,
            client_frame::Kind::Typing(typing) => return self.typing(session, typing).await,
            client_frame::Kind::Subscribe(subscribe) => return self.subscribe(session, subscribe).await,
            client_frame::Kind::Refresh(refresh) => return self.refresh(session, refresh, now_us).await,
            client_frame::Kind::SetStatus(status) => return self.set_status(session, status).await,
            client_frame::Kind::Ping(ping) => {
                session.tell(server_frame::Kind::Pong(Pong { id: ping.id, time_us: now_us }));
            }
        }
        Ok(())
    }

    /// Ends the session; to be called once the connection is gone.
    pub async fn end(self) {
        if let Some(session) = &self.attached {
            self.hub.detach(session).await;
        }
    }
}

/// The client's id of a frame; 0 where it has none.
fn frame_id(kind: &client_frame::Kind) -> u64 {
    match kind {
        client_frame::Kind::Hello(_) | client_frame::Kind::Typing(_) => 0,
        client_frame::Kind::Command(it) => it.id,
        client_frame::Kind::Sync(it) => it.id,
        client_frame::Kind::History(it) => it.id,
        client_frame::Kind::Read(it) => it.id,
        client_frame::Kind::Subscribe(it) => it.id,
        client_frame::Kind::Refresh(it) => it.id,
        client_frame::Kind::Ping(it) => it.id,
        client_frame::Kind::SetStatus(it) => it.id,
    }
}
