//! A node that submits commands and waits for each outcome.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::{Either, select};
use parking_lot::Mutex;
use stonechat_errors::{Code, Error};
use stonechat_model::GatewayId;
use stonechat_proto::internal::v1::{CommandRecord, Origin};
use tokio::sync::oneshot;

use crate::{Control, Delivery, Done, Inbox, Outcome, RouterLink, SignalDelivery};

type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<Done, Error>>>>;

/// Submits commands over a link and gives each its outcome; the inbox of a node without sessions.
pub struct CommandCaller {
    node: GatewayId,
    link: Arc<dyn RouterLink>,
    next: AtomicU64,
    waiting: Waiting,
    on_control: Box<dyn Fn(Control) + Send + Sync>,
}

impl CommandCaller {
    /// A caller that is known to routers as `node`; `on_control` hears of changed credentials.
    pub fn new(
        node: GatewayId,
        link: Arc<dyn RouterLink>,
        on_control: impl Fn(Control) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let waiting = Mutex::default();
        Arc::new(Self { node, link, next: AtomicU64::new(1), waiting, on_control: Box::new(on_control) })
    }

    /// The link commands go over.
    pub fn link(&self) -> &Arc<dyn RouterLink> {
        &self.link
    }

    /// Submits a command and waits for its outcome, `timeout` at most; then it may or may not be done.
    pub async fn call(&self, command: CommandRecord, timeout: Duration) -> Result<Done, Error> {
        self.call_until(command, tokio::time::sleep(timeout)).await
    }

    /// Submits a command and waits for its outcome until the deadline; then it may or may not be done.
    pub async fn call_until(
        &self,
        command: CommandRecord,
        deadline: impl Future<Output = ()> + Send,
    ) -> Result<Done, Error> {
        let work = std::pin::pin!(async { self.start(command).await?.outcome().await });
        match select(work, std::pin::pin!(deadline)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(late()),
        }
    }

    /// Submits a command, after those that were submitted before it; its outcome is waited for later.
    pub async fn start(&self, mut command: CommandRecord) -> Result<Started<'_>, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        command.origin = Some(Origin { node: self.node.to_string(), session: 0, id });
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let started = Started { receiver, _forget: Forget { waiting: &self.waiting, id } };
        self.link.submit(command).await?;
        Ok(started)
    }
}

fn late() -> Error {
    Error::new(Code::DeadlineExceeded, "command was not decided in time")
}

/// A command that was submitted and whose outcome is to come. Whoever waits needs a deadline.
pub struct Started<'a> {
    receiver: oneshot::Receiver<Result<Done, Error>>,
    _forget: Forget<'a>,
}

impl Started<'_> {
    /// Waits for the outcome.
    pub async fn outcome(self) -> Result<Done, Error> {
        self.receiver.await.unwrap_or_else(|_| Err(late()))
    }
}

/// Takes a waiting caller out, also when its future is dropped.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

impl Inbox for CommandCaller {
    fn outcome(&self, outcome: Outcome) {
        if let Some(sender) = self.waiting.lock().remove(&outcome.origin.id) {
            // Whoever waited may have gone meanwhile.
            let _ = sender.send(outcome.result);
        }
    }

    fn deliver(&self, _: Delivery) {}

    fn signal(&self, _: SignalDelivery) {}

    fn control(&self, control: Control) {
        (self.on_control)(control);
    }

    fn unsure(&self) {}
}
