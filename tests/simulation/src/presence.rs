//! The real presence behind calls that fail, and that forgets everything as an emptied Redis does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_proto::v1;
use stonechat_rpc::{Inbox, Presence, StatusUpdate, Target, TargetQuery};

use crate::{
    executor::WORLD,
    faults::{Fate, Faults},
    random::Random,
};

/// How long a gateway that does not renew is believed.
const LEASE: Duration = Duration::from_secs(15);
/// How often lapsed leases are looked for.
const EXPIRE_EVERY_US: u64 = 3_000_000;

/// The simulated presence. Clones are the same one.
#[derive(Clone)]
pub struct SimPresence {
    real: Arc<MemoryPresence>,
    faults: Faults,
    random: Random,
}

impl SimPresence {
    /// Nobody is there.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let runtime = faults.runtime.clone();
        let real = MemoryPresence::new(PresenceConfig { lease: LEASE }, Arc::new(move || runtime.now_us()));
        let (runtime, expiring) = (faults.runtime.clone(), Arc::clone(&real));
        faults.runtime.spawn(WORLD, async move {
            loop {
                runtime.sleep(EXPIRE_EVERY_US).await;
                expiring.expire();
            }
        });
        Self { real, faults, random: Random::new(seed, "presence") }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.real.forget_everything();
    }

    /// Makes a call that may fail before or after it was done.
    async fn call<T>(&self, work: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let fate = self.faults.fate(&self.random, self.faults.mix.presence_fail);
        self.faults.latency(&self.random, 0).await;
        if fate == Fate::NotDone {
            return Err(Error::unavailable("presence is simulated to fail"));
        }
        let answer = work.await;
        if self.random.chance(300) {
            self.faults.latency(&self.random, 0).await;
        }
        if fate == Fate::Done { answer } else { Err(Error::unavailable("presence is simulated to fail")) }
    }
}

#[async_trait]
impl Presence for SimPresence {
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        self.call(self.real.attach(gateway, inbox)).await
    }

    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error> {
        self.call(self.real.renew(gateway)).await
    }

    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error> {
        self.call(self.real.detach(gateway)).await
    }

    async fn add_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.call(self.real.add_routes(gateway, users)).await
    }

    async fn remove_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.call(self.real.remove_routes(gateway, users)).await
    }

    async fn add_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.call(self.real.add_interest(gateway, channels)).await
    }

    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.call(self.real.remove_interest(gateway, channels)).await
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        self.call(self.real.targets(queries)).await
    }

    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error> {
        self.call(self.real.set_status(tenant, user, update)).await
    }

    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<v1::Status>, Error> {
        self.call(self.real.statuses(tenant, users)).await
    }

    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.call(self.real.watch(gateway, tenant, users)).await
    }

    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.call(self.real.unwatch(gateway, tenant, users)).await
    }
}
