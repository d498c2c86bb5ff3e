//! A session as the hub knows it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, DeviceId, KeyId, TenantId, TimeUs, UserId};
use stonechat_proto::v1::server_frame;
use stonechat_quotas::{OpenConnection, Quotas};

use crate::{Encoding, Outbox, session::HookLane};

/// A session after its hello.
pub struct Attached {
    /// Its number on this gateway.
    pub id: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When it began.
    pub opened_us: TimeUs,
    /// How it writes frames.
    pub encoding: Encoding,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    pub(crate) credential: Mutex<Credential>,
    expires_us: AtomicI64,
    /// When it was noted last that it is open.
    pub(crate) noted_us: AtomicI64,
    /// Commands without an outcome.
    in_flight: AtomicUsize,
    pub(crate) interests: Mutex<BTreeSet<ConversationId>>,
    pub(crate) watched: Mutex<BTreeSet<UserId>>,
    /// Messages of it that pass the tenant's hook.
    pub(crate) hooked: HookLane,
    /// Counts as one of the tenant's connections while the session lives.
    _connection: OpenConnection,
}

/// What a session came by.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub key: KeyId,
    pub issued_us: TimeUs,
    /// What the tenant may use.
    pub quotas: Quotas,
}

impl Credential {
    fn of(claims: &stonechat_auth::Claims) -> Self {
        Self { key: claims.key.clone(), issued_us: claims.issued_us, quotas: claims.quotas }
    }
}

impl Attached {
    pub(crate) fn new(
        id: u64,
        claims: stonechat_auth::Claims,
        device: DeviceId,
        opened_us: TimeUs,
        encoding: Encoding,
        outbox: Arc<Outbox>,
        connection: OpenConnection,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            tenant: claims.tenant.clone(),
            user: claims.user.clone(),
            device,
            opened_us,
            encoding,
            outbox,
            credential: Mutex::new(Credential::of(&claims)),
            expires_us: AtomicI64::new(claims.expires_us),
            noted_us: AtomicI64::new(opened_us),
            in_flight: AtomicUsize::new(0),
            interests: Mutex::default(),
            watched: Mutex::default(),
            hooked: HookLane::default(),
            _connection: connection,
        })
    }

    /// Tells the session something.
    pub fn tell(&self, kind: server_frame::Kind) {
        self.outbox.push([self.encoding.encode(kind)]);
    }

    /// Tells the session that its frame was refused.
    pub fn refuse(&self, id: u64, error: &Error) {
        self.tell(server_frame::Kind::Error(error.to_frame(id)));
    }

    /// What its token said.
    pub(crate) fn claims(&self) -> stonechat_auth::Claims {
        let Credential { key, issued_us, quotas } = self.credential.lock().clone();
        let (tenant, user) = (self.tenant.clone(), self.user.clone());
        let device = Some(self.device.clone());
        stonechat_auth::Claims { tenant, user, key, device, issued_us, expires_us: self.expires_us(), quotas }
    }

    /// What its tenant may use.
    pub(crate) fn quotas(&self) -> Quotas {
        self.credential.lock().quotas
    }

    /// When its token expires.
    pub fn expires_us(&self) -> TimeUs {
        self.expires_us.load(Ordering::Relaxed)
    }

    pub(crate) fn renew(&self, claims: stonechat_auth::Claims) {
        *self.credential.lock() = Credential::of(&claims);
        self.expires_us.store(claims.expires_us, Ordering::Relaxed);
    }

    /// Takes up what holds now of the token that the session came by; a newer token stays.
    pub(crate) fn adjust(&self, claims: &stonechat_auth::Claims) {
        let mut credential = self.credential.lock();
        if credential.key == claims.key && credential.issued_us == claims.issued_us {
            credential.quotas = claims.quotas;
            self.expires_us.fetch_min(claims.expires_us, Ordering::Relaxed);
        }
    }

    /// Counts a command; `false` when there are too many already.
    pub(crate) fn begin_command(&self, max: usize) -> bool {
        let more = |count: usize| (count < max).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn end_command(&self) {
        let fewer = |count: usize| count.checked_sub(1);
        // An outcome may come twice, after a change of owner.
        let _ = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    /// Forgets commands whose outcomes got lost with a router.
    pub(crate) fn forget_commands(&self) {
        self.in_flight.store(0, Ordering::Relaxed);
    }
}
