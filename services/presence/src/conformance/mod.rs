//! What every backend of presence must do. `presence_conformance!(make)` makes a test of each case.
//!
//! `make` is an async function that gives a fresh [`Subject`]. What comes in its time is waited for: signals may pass
//! through other processes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod routes;
mod statuses;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};
use stonechat_proto::v1::{Status, signal};
use stonechat_rpc::{Control, Delivery, Inbox, Outcome, Presence, SignalDelivery, Target, TargetQuery};

pub use model::*;
pub use routes::*;
pub use statuses::*;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A backend to be tested.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Presence, through each of the processes that share it.
    fn instances(&self) -> Vec<Arc<dyn Presence>>;
    /// Has a gateway's lease lapse.
    async fn lapse(&self, gateway: &GatewayId);
    /// Has everything be lost that was registered.
    async fn lose_everything(&self);
}

/// Makes a `#[tokio::test]` of every case; `$make` is an async function that gives a fresh `Box<dyn Subject>`.
#[macro_export]
macro_rules! presence_conformance {
    ($make:path) => {
        $crate::presence_conformance!(@cases $make:
            a_user_is_where_its_gateways_are,
            registering_twice_is_registering_once,
            a_query_of_many_is_answered_in_order,
            a_channel_is_where_interest_is,
            tenants_are_apart,
            a_gateway_that_attaches_again_has_no_routes,
            a_gateway_that_detaches_is_gone_with_all_it_registered,
            a_lease_that_lapsed_takes_everything_along,
            a_gateway_without_a_lease_registers_nothing,
            what_was_lost_is_registered_again,
            who_follows_hears_of_coming_and_going,
            who_follows_hears_of_a_status_once,
            who_follows_no_more_hears_nothing,
            a_lapse_tells_those_who_follow,
            a_status_stays_while_away_goes_with_the_session,
            random_work_agrees_with_a_model,
        );
    };
    (@cases $make:path: $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let subject: Box<dyn $crate::conformance::Subject> = $make().await;
                $crate::conformance::$case(subject.as_ref()).await;
            }
        )*
    };
}

/// A gateway that remembers what it was told.
#[derive(Default)]
pub struct Heard {
    statuses: Mutex<Vec<Status>>,
    unsure: AtomicU64,
}

impl Heard {
    fn take(&self) -> Vec<Status> {
        std::mem::take(&mut self.statuses.lock())
    }

    /// How often it was told that something may be missing.
    pub fn unsure(&self) -> u64 {
        self.unsure.load(Ordering::Relaxed)
    }
}

impl Inbox for Heard {
    fn outcome(&self, _: Outcome) {}

    fn deliver(&self, _: Delivery) {}

    fn signal(&self, signal: SignalDelivery) {
        if let Some(signal::Kind::Status(status)) = signal.signal.kind {
            self.statuses.lock().push(status);
        }
    }

    fn control(&self, _: Control) {}

    fn unsure(&self) {
        self.unsure.fetch_add(1, Ordering::Relaxed);
    }
}

fn gateway(name: &str) -> GatewayId {
    GatewayId::parse(name).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn user(name: &str) -> (TenantId, UserId) {
    (tenant("t"), UserId::parse(name).unwrap())
}

fn channel(name: &str) -> (TenantId, ConversationId) {
    (tenant("t"), ConversationId::parse(name).unwrap())
}

/// Presence through one process after the other, for those who may call any.
struct Any {
    instances: Vec<Arc<dyn Presence>>,
    turn: AtomicU64,
}

impl Any {
    fn of(subject: &dyn Subject) -> Self {
        Self { instances: subject.instances(), turn: AtomicU64::new(0) }
    }

    fn next(&self) -> &dyn Presence {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.instances[usize::try_from(turn).unwrap() % self.instances.len()].as_ref()
    }

    async fn attach(&self, name: &str) -> (GatewayId, Arc<Heard>) {
        let (gateway, heard) = (gateway(name), Arc::new(Heard::default()));
        self.next().attach(&gateway, Arc::clone(&heard) as Arc<dyn Inbox>).await.unwrap();
        (gateway, heard)
    }

    /// The names of the gateways where a user is, sorted.
    async fn gateways_of(&self, name: &str) -> Vec<String> {
        let (tenant, user) = user(name);
        names(&self.ask(TargetQuery::Users(tenant, [user].into())).await)
    }

    async fn gateways_of_channel(&self, name: &str) -> Vec<String> {
        let (tenant, id) = channel(name);
        names(&self.ask(TargetQuery::Channel(tenant, id)).await)
    }

    async fn ask(&self, query: TargetQuery) -> Vec<Target> {
        self.next().targets(std::slice::from_ref(&query)).await.unwrap().remove(0)
    }

    async fn status(&self, name: &str) -> Status {
        let (tenant, user) = user(name);
        self.next().statuses(&tenant, &[user]).await.unwrap().remove(0)
    }
}

fn names(targets: &[Target]) -> Vec<String> {
    let mut names: Vec<String> = targets.iter().map(|target| target.gateway.to_string()).collect();
    names.sort();
    names
}

/// Waits until a condition holds; says whether it did in time.
async fn until(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// The statuses that a gateway is told, as soon as there are so many.
async fn told(heard: &Heard, count: usize) -> Vec<Status> {
    let mut all = Vec::new();
    until(async || {
        all.append(&mut heard.take());
        all.len() >= count
    })
    .await;
    all
}
