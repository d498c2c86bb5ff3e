//! The hub of a gateway: its sessions, where they are registered, and what routers tell it.
//!
//! For whoever drives it (the shell in `run.rs`, or the simulation): nothing here spawns, sleeps or looks at a
//! clock by itself.
//! - [`Hub::start`] once, before the first session: registers with presence.
//! - [`Hub::next_work`] and [`Hub::perform`] in a loop: what deliveries leave to be done.
//! - [`Hub::end_rests`] beside them: what was held to be written together.
//! - [`Hub::write_notes`] beside them: what is to be known of devices.
//! - [`Hub::renew`] every few seconds, well within presence's lease.
//! - [`Hub::unsure`](Inbox::unsure) whenever something may have been missed.
//! - [`Hub::register_again`] and [`Hub::look_again`] every so often even so.
//! - [`Hub::tick`] every few seconds with the time: closes sessions whose tokens expired.
//! - one [`Session`](crate::Session) per connection: frames go into `Session::handle`, what it has to say comes out of
//!   its outbox, and `Session::end` when the connection is gone.

mod attached;
mod deliver;
mod devices;
mod fanouts;
mod opening;
mod registration;
mod state;
mod upkeep;

pub use attached::Attached;
pub(crate) use opening::Turn;
pub use upkeep::Work;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stonechat_auth::Verifier;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, TimeUs, UserId};
use stonechat_quotas::Clients;
use stonechat_rows::Rows;
use stonechat_rpc::{Inbox, Presence, RouterLink};
use stonechat_views::Views;
use stonechat_webhooks::hook::Hooks;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::{GatewayConfig, Rules};
use devices::Notes;
use fanouts::Fanouts;
use opening::Opening;
use registration::Locks;
use state::State;

pub(crate) type User = (TenantId, UserId);
pub(crate) type Channel = (TenantId, ConversationId);
/// Sleeps.
pub type Sleep = dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// How a hub asks tenants' hooks.
#[derive(Clone)]
pub struct HookAccess {
    /// The hooks.
    pub hooks: Arc<Hooks>,
    /// Messages that pass them.
    pub tasks: TaskTracker,
}

/// What a hub works with.
#[derive(Clone)]
pub struct HubDependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The routers.
    pub link: Arc<dyn RouterLink>,
    /// Verifies credentials.
    pub verifier: Arc<Verifier>,
    /// What tenants' clients are held to.
    pub clients: Arc<Clients>,
    /// The hooks that messages pass; none where nobody can be asked.
    pub hooks: Option<HookAccess>,
    /// Spreads work over time.
    pub sleep: Arc<Sleep>,
    /// Tells the time.
    pub now_us: Arc<dyn Fn() -> TimeUs + Send + Sync>,
}

/// The sessions of a gateway.
pub struct Hub {
    pub(crate) config: GatewayConfig,
    pub(crate) dependencies: HubDependencies,
    pub(crate) views: Views,
    pub(crate) rules: Rules,
    this: Weak<Self>,
    state: Mutex<State>,
    fanouts: Fanouts,
    locks: Locks,
    next_session: AtomicU64,
    /// For sessions that open, so that many at once leave something for those that are open.
    pub(crate) opening: Opening,
    work: Mutex<VecDeque<Work>>,
    has_work: Notify,
    notes: Notes,
}

impl Hub {
    /// A hub without sessions.
    pub fn new(config: GatewayConfig, dependencies: HubDependencies, rules: Rules) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            opening: Opening::new(
                config.syncs_at_once,
                Arc::clone(&dependencies.sleep),
                Arc::clone(&dependencies.now_us),
            ),
            config,
            views: Views::new(Arc::clone(&dependencies.rows)),
            dependencies,
            rules,
            this: this.clone(),
            state: Mutex::default(),
            fanouts: Fanouts::default(),
            locks: Locks::default(),
            next_session: AtomicU64::new(1),
            work: Mutex::default(),
            has_work: Notify::new(),
            notes: Notes::default(),
        })
    }

    /// The gateway's name.
    pub fn id(&self) -> &GatewayId {
        &self.config.id
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.state.lock().len()
    }

    /// Every open session, the oldest first.
    pub fn all(&self) -> Vec<Arc<Attached>> {
        self.state.lock().all()
    }

    /// Whether a session is still open.
    pub(crate) fn holds(&self, session: u64) -> bool {
        self.state.lock().get(session).is_some()
    }

    pub(crate) fn next_session_id(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    fn as_inbox(&self) -> Result<Arc<dyn Inbox>, Error> {
        let this: Arc<dyn Inbox> = self.this.upgrade().ok_or_else(Error::internal)?;
        Ok(this)
    }
}
