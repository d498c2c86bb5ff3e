//! Messages that pass the tenant's hook, beside whatever else the session says and hears.
//!
//! The hook is asked about several at once; they go on in the order in which they came.

use std::sync::Arc;

use parking_lot::Mutex;
use stonechat_commands::CommandRequest;
use stonechat_errors::{Code, Error};
use stonechat_model::limits;
use stonechat_webhooks::hook::{Hook, Hooks};
use tokio::sync::{Semaphore, oneshot};
use tracing::{Instrument as _, Span};

use super::requests::submit;
use crate::hub::{Attached, HookAccess, Hub};

/// A session's messages that pass a hook.
pub(crate) struct HookLane {
    places: Arc<Semaphore>,
    /// Ends when the newest of them went on.
    newest: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Default for HookLane {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(limits::HOOK_SESSION_WAITING)), newest: Mutex::default() }
    }
}

impl HookLane {
    /// Whether there are any.
    pub(super) fn is_busy(&self) -> bool {
        self.places.available_permits() < limits::HOOK_SESSION_WAITING
    }
}

/// A message that passes a hook.
pub(super) struct Hooked {
    /// The client's id of its command.
    pub id: u64,
    /// What is wanted.
    pub request: CommandRequest,
    /// The hook; `None`: it only waits for those before it.
    pub hook: Option<Hook>,
}

impl Hooked {
    /// Has it pass in the background; the session is told what comes of it.
    pub fn begin(self, hub: &Arc<Hub>, access: &HookAccess, session: &Arc<Attached>, span: Span) -> Result<(), Error> {
        let lane = &session.hooked;
        let place = Arc::clone(&lane.places).try_acquire_owned();
        let place = place.map_err(|_| Error::new(Code::RateLimited, "too many messages wait for a hook"))?;
        let (went_on, newest) = oneshot::channel();
        let before = lane.newest.lock().replace(newest);
        let (hub, hooks, session) = (Arc::clone(hub), Arc::clone(&access.hooks), Arc::clone(session));
        let work = async move {
            let id = self.id;
            let passed = self.pass(&hooks).await;
            if let Some(before) = before {
                // It ends with an error when the one before is done.
                let _ = before.await;
            }
            if let Err(error) = go_on(&hub, &session, id, passed).await {
                session.refuse(id, &error);
            }
            drop((went_on, place));
        };
        access.tasks.spawn(work.instrument(span));
        Ok(())
    }

    async fn pass(self, hooks: &Hooks) -> Result<CommandRequest, Error> {
        match &self.hook {
            Some(hook) => hooks.pass(hook, self.request).await,
            None => Ok(self.request),
        }
    }
}

async fn go_on(hub: &Hub, session: &Attached, id: u64, passed: Result<CommandRequest, Error>) -> Result<(), Error> {
    let request = passed?;
    // Who was put out meanwhile says nothing any more.
    if !hub.holds(session.id) {
        return Ok(());
    }
    let record = stonechat_commands::command(&hub.views, request).await?;
    submit(hub, session, id, record).await
}
