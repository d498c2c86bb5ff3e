//! A gateway at work: its hub, its connections, and what must be done every so often.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use stonechat_auth::Verifier;
use stonechat_model::now_us;
use stonechat_proto::v1::{GoAway, server_frame};
use stonechat_quotas::Clients;
use stonechat_rows::Rows;
use stonechat_rpc::{Inbox, Inboxes, Presence, RouterLink};
use stonechat_webhooks::hook::Hooks;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    GatewayConfig, Rules,
    close::Close,
    hub::{HookAccess, Hub, HubDependencies},
    socket::wait_until,
    upgrade,
};

/// How often the lease is renewed and expired tokens are looked for.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often everything is registered again, whether or not there is a doubt.
const REGISTER_EVERY: Duration = Duration::from_secs(300);
/// How often a session checks its heads, whether or not there is a doubt: that costs what opening it does, so each of
/// them does so in another step of that time.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
const LOOK_STEPS: u32 = 900;
/// The pause before presence is asked again at the start.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Work items in progress at once.
const WORKERS: usize = 4;
/// The share of the drain time after which sessions that stayed are closed.
const DRAIN_STEPS: u32 = 50;

/// What a gateway works with.
pub struct Dependencies {
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
    /// The hooks that messages pass.
    pub hooks: Arc<Hooks>,
    /// Where this process's routers find the gateway.
    pub inboxes: Arc<Inboxes>,
}

/// A gateway.
pub struct Gateway {
    pub(crate) hub: Arc<Hub>,
    pub(crate) tasks: TaskTracker,
    /// Ends every connection.
    pub(crate) end: CancellationToken,
    draining: AtomicBool,
    /// Whether presence knows this gateway: until then it would take no routes.
    registered: watch::Sender<bool>,
    inboxes: Arc<Inboxes>,
}

impl Gateway {
    /// A gateway without connections.
    pub fn new(config: GatewayConfig, dependencies: Dependencies) -> Arc<Self> {
        let Dependencies { rows, presence, link, verifier, clients, hooks, inboxes } = dependencies;
        let id = config.id.clone();
        let sleep = Arc::new(|time| Box::pin(tokio::time::sleep(time)) as _);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let hooks = Some(HookAccess { hooks, tasks: tasks.clone() });
        let now_us = Arc::new(now_us);
        let dependencies = HubDependencies { rows, presence, link, verifier, clients, hooks, sleep, now_us };
        let hub = Hub::new(config, dependencies, Rules::default());
        inboxes.insert(id, Arc::clone(&hub) as Arc<dyn Inbox>);
        Arc::new(Self {
            hub,
            tasks,
            end,
            draining: AtomicBool::new(false),
            registered: watch::Sender::new(false),
            inboxes,
        })
    }

    /// The routes that clients use.
    pub fn router(self: &Arc<Self>) -> Router {
        upgrade::router(Arc::clone(self))
    }

    /// Where routers of other processes tell the gateway.
    pub fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::clone(&self.hub) as Arc<dyn Inbox>
    }

    /// Waits until presence knows this gateway, for as long as a client may take for its hello; says whether it does.
    pub(crate) async fn registered(&self) -> bool {
        let mut registered = self.registered.subscribe();
        let known = registered.wait_for(|is_registered| *is_registered);
        tokio::time::timeout(self.hub.config.hello_timeout, known).await.is_ok_and(|known| known.is_ok())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Works until shutdown; then every connection has ended.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let hub = &self.hub;
        while let Err(error) = hub.start().await {
            tracing::warn!(%error, "presence does not take this gateway yet");
            if shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                return;
            }
        }
        self.registered.send_replace(true);
        let work = || async {
            loop {
                let work = hub.next_work().await;
                Box::pin(hub.perform(work)).await;
            }
        };
        let workers = futures::future::join_all((0..WORKERS).map(|_| work()));
        let regular = async { tokio::join!(self.renew_lease(), self.register_again(), self.look_again()) };
        let upkeep = async { tokio::join!(workers, hub.end_rests(), hub.write_notes(), regular) };
        shutdown.run_until_cancelled(Box::pin(upkeep)).await;
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = hub.flush_notes().await {
            tracing::debug!(%error, "when the last devices went is not written");
        }
        self.inboxes.remove(&hub.config.id);
        if let Err(error) = hub.dependencies.presence.detach(&hub.config.id).await {
            tracing::debug!(%error, "presence did not let this gateway go");
        }
    }

    async fn renew_lease(&self) {
        let mut every = tokio::time::interval(RENEW_EVERY);
        loop {
            every.tick().await;
            self.hub.renew().await;
            self.hub.tick(now_us());
        }
    }

    async fn register_again(&self) {
        let mut every = tokio::time::interval_at(tokio::time::Instant::now() + REGISTER_EVERY, REGISTER_EVERY);
        loop {
            every.tick().await;
            self.hub.register_again();
        }
    }

    async fn look_again(&self) {
        let mut every = tokio::time::interval(LOOK_EVERY / LOOK_STEPS);
        for step in (0..LOOK_STEPS).cycle() {
            every.tick().await;
            self.hub.look_again(step.into(), LOOK_STEPS.into());
        }
    }

    /// Sends clients elsewhere, spread over most of the time; then closes whoever stayed.
    pub async fn drain(&self, time: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let sessions = self.hub.all();
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
        for (index, session) in sessions.iter().enumerate() {
            let share = u32::try_from(index).unwrap_or(u32::MAX);
            let delay = time.mul_f64(0.5) * share / count;
            session.tell(server_frame::Kind::Goaway(GoAway {
                reconnect_after_ms: delay.as_millis().try_into().unwrap_or(u32::MAX),
                reason: "going away".to_owned(),
            }));
        }
        drop(sessions);
        let step = time / DRAIN_STEPS;
        wait_until(time.saturating_sub(step), || self.hub.sessions() == 0).await;
        for session in self.hub.all() {
            session.outbox.close(Close::GOING_AWAY);
        }
        wait_until(step, || self.hub.sessions() == 0).await;
    }
}
