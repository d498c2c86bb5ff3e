//! Presence in memory passes the suite of every backend.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use stonechat_model::{GatewayId, TimeUs};
use stonechat_presence::{MemoryPresence, PresenceConfig, conformance::Subject};
use stonechat_rpc::Presence;

const LEASE: Duration = Duration::from_secs(1);

struct Memory {
    presence: Arc<MemoryPresence>,
    now_us: Arc<AtomicI64>,
}

#[async_trait]
impl Subject for Memory {
    fn instances(&self) -> Vec<Arc<dyn Presence>> {
        vec![Arc::clone(&self.presence) as Arc<dyn Presence>]
    }

    async fn lapse(&self, gateway: &GatewayId) {
        // Every other one renews halfway.
        let half = TimeUs::try_from(LEASE.as_micros()).unwrap() / 2 + 1;
        for _ in 0..2 {
            self.now_us.fetch_add(half, Ordering::Relaxed);
            for other in
                (0..10).flat_map(|n| [format!("g{n}"), format!("s0g{n}"), format!("s1g{n}"), format!("s2g{n}")])
            {
                if other != gateway.as_str() {
                    self.presence.renew(&GatewayId::parse(&other).unwrap()).await.unwrap();
                }
            }
        }
        self.presence.expire();
    }

    async fn lose_everything(&self) {
        self.presence.forget_everything();
    }
}

async fn fresh() -> Box<dyn Subject> {
    let now_us = Arc::new(AtomicI64::new(1_000_000));
    let clock = Arc::clone(&now_us);
    let presence =
        MemoryPresence::new(PresenceConfig { lease: LEASE }, Arc::new(move || clock.load(Ordering::Relaxed)));
    Box::new(Memory { presence, now_us })
}

stonechat_presence::presence_conformance!(fresh);
