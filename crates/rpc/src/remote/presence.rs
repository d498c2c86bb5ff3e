//! Presence in another process.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{
        AttachFrame, AttachRequest, ChangeStatus, NamedGateway, PresenceReply, PresenceRequest, QueryTargets,
        Registration, StatusesRequest, TargetsQuery, TargetsRequest, TenantItem, presence_client::PresenceClient,
        presence_request::Kind,
    },
    v1,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{
    FRAME_BYTES, Peers,
    calls::{Caller, Repeat},
    convert::signal_from_wire,
};
use crate::{Inbox, Presence, StatusUpdate, Target, TargetQuery};

const ROLE: &str = "presence";
const TIMEOUT: Duration = Duration::from_millis(limits::PRESENCE_CALL_TIMEOUT_MS);
/// Registrations of one call; more go in several.
const REGISTRATIONS: usize = 5_000;

/// Presence as its role keeps it.
pub struct RemotePresence {
    caller: Arc<Caller>,
    attached: Mutex<HashMap<GatewayId, Attached>>,
}

/// The stream by which a gateway is told of signals.
struct Attached {
    alive: Arc<AtomicBool>,
    end: CancellationToken,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl RemotePresence {
    /// Presence of these processes; they are called until shutdown by the future that comes with it.
    pub fn new(peers: Peers, shutdown: CancellationToken) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let caller = Caller::new(ROLE);
        let run = Arc::clone(&caller).run(
            peers,
            |channel, frames| Box::pin(async move { Ok(client(channel).calls(frames).await?.into_inner()) }),
            shutdown,
        );
        (Arc::new(Self { caller, attached: Mutex::default() }), run)
    }

    /// How many processes can be called.
    pub fn ready(&self) -> watch::Receiver<usize> {
        self.caller.ready()
    }

    async fn call(&self, kind: Kind) -> Result<PresenceReply, Error> {
        let body = PresenceRequest { kind: Some(kind) }.encode_to_vec();
        let reply = self.caller.call(body.into(), TIMEOUT, Repeat::Harmless).await?;
        PresenceReply::decode(reply).map_err(unreadable)
    }

    async fn register(
        &self,
        kind: fn(Registration) -> Kind,
        gateway: &GatewayId,
        items: impl Iterator<Item = TenantItem>,
        removed: bool,
    ) -> Result<(), Error> {
        let mut items = items.peekable();
        while items.peek().is_some() {
            let some = items.by_ref().take(REGISTRATIONS).collect();
            self.call(kind(Registration { gateway: gateway.to_string(), items: some, removed })).await?;
        }
        Ok(())
    }
}

fn client(channel: tonic::transport::Channel) -> PresenceClient<tonic::transport::Channel> {
    PresenceClient::new(channel).max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES)
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    tracing::error!(%error, "presence sent what cannot be read");
    Error::internal()
}

fn lost(status: tonic::Status) -> Error {
    tracing::debug!(%status, "presence was lost");
    Error::unavailable("presence was lost")
}

fn users_of(users: &[(TenantId, UserId)]) -> impl Iterator<Item = TenantItem> {
    users.iter().map(|(tenant, user)| TenantItem { tenant: tenant.to_string(), id: user.to_string() })
}

fn channels_of(channels: &[(TenantId, ConversationId)]) -> impl Iterator<Item = TenantItem> {
    channels.iter().map(|(tenant, id)| TenantItem { tenant: tenant.to_string(), id: id.to_string() })
}

fn of_tenant<'a>(tenant: &'a TenantId, users: &'a [UserId]) -> impl Iterator<Item = TenantItem> + 'a {
    users.iter().map(|user| TenantItem { tenant: tenant.to_string(), id: user.to_string() })
}

#[async_trait]
impl Presence for RemotePresence {
    async fn attach(&self, gateway: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        self.attached.lock().remove(gateway);
        let deadline = Instant::now() + TIMEOUT;
        let peer = self.caller.pick(deadline).await?;
        let request = AttachRequest { gateway: gateway.to_string() };
        let mut client = client(peer.channel.clone());
        let attaching = async {
            let mut frames = client.attach(request).await.map_err(lost)?.into_inner();
            // The first frame says that the gateway is registered.
            let first = frames.message().await.map_err(lost)?.ok_or_else(|| Error::unavailable("presence ends"))?;
            if first.unshared && *self.caller.ready().borrow() > 1 {
                let reason = "presence is kept in the memory of each of several processes; there may be one, or \
                              presence.backend is to be redis";
                return Err(Error::unavailable(reason));
            }
            Ok(frames)
        };
        let late = |_| Error::unavailable("presence did not reply in time");
        let frames = tokio::time::timeout_at(deadline, attaching).await.map_err(late)??;
        let attached = Attached { alive: Arc::new(AtomicBool::new(true)), end: CancellationToken::new() };
        let (alive, end) = (Arc::clone(&attached.alive), attached.end.clone());
        tokio::spawn(async move {
            if end.run_until_cancelled(hear(frames, inbox.as_ref())).await.is_some() {
                tracing::warn!("presence tells this gateway nothing any more, registering again");
                alive.store(false, Ordering::Relaxed);
                inbox.unsure();
            }
        });
        self.attached.lock().insert(gateway.clone(), attached);
        Ok(())
    }

    async fn renew(&self, gateway: &GatewayId) -> Result<bool, Error> {
        let is_heard = self.attached.lock().get(gateway).is_some_and(|it| it.alive.load(Ordering::Relaxed));
        if !is_heard {
            return Ok(false);
        }
        Ok(self.call(Kind::Renew(NamedGateway { gateway: gateway.to_string() })).await?.renewed)
    }

    async fn detach(&self, gateway: &GatewayId) -> Result<(), Error> {
        self.attached.lock().remove(gateway);
        self.call(Kind::Detach(NamedGateway { gateway: gateway.to_string() })).await?;
        Ok(())
    }

    async fn add_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.register(Kind::Routes, gateway, users_of(users), false).await
    }

    async fn remove_routes(&self, gateway: &GatewayId, users: &[(TenantId, UserId)]) -> Result<(), Error> {
        self.register(Kind::Routes, gateway, users_of(users), true).await
    }

    async fn add_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.register(Kind::Interest, gateway, channels_of(channels), false).await
    }

    async fn remove_interest(&self, gateway: &GatewayId, channels: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        self.register(Kind::Interest, gateway, channels_of(channels), true).await
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        let wire = queries.iter().map(query_to_wire).collect();
        let reply = self.call(Kind::Targets(TargetsRequest { queries: wire })).await?;
        if reply.targets.len() != queries.len() {
            return Err(unreadable("targets of other queries"));
        }
        queries.iter().zip(reply.targets).map(|(query, targets)| targets_from_wire(query, targets)).collect()
    }

    async fn set_status(&self, tenant: &TenantId, user: &UserId, update: StatusUpdate) -> Result<(), Error> {
        let StatusUpdate { away, text, emoji } = update;
        let change = ChangeStatus { tenant: tenant.to_string(), user: user.to_string(), away, text, emoji };
        self.call(Kind::SetStatus(change)).await?;
        Ok(())
    }

    async fn statuses(&self, tenant: &TenantId, users: &[UserId]) -> Result<Vec<v1::Status>, Error> {
        let users = users.iter().map(ToString::to_string).collect();
        let request = StatusesRequest { tenant: tenant.to_string(), users };
        Ok(self.call(Kind::Statuses(request)).await?.statuses)
    }

    async fn watch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.register(Kind::Watch, gateway, of_tenant(tenant, users), false).await
    }

    async fn unwatch(&self, gateway: &GatewayId, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.register(Kind::Watch, gateway, of_tenant(tenant, users), true).await
    }
}

async fn hear(mut frames: Streaming<AttachFrame>, inbox: &dyn Inbox) {
    while let Ok(Some(frame)) = frames.message().await {
        for signal in frame.signals {
            match signal_from_wire(signal) {
                Ok(signal) => inbox.signal(signal),
                Err(error) => tracing::error!(%error, "signal of presence cannot be read"),
            }
        }
        if frame.unsure {
            inbox.unsure();
        }
    }
}

fn query_to_wire(query: &TargetQuery) -> TargetsQuery {
    match query {
        TargetQuery::Users(tenant, users) => TargetsQuery {
            tenant: tenant.to_string(),
            users: users.iter().map(ToString::to_string).collect(),
            channel: String::new(),
        },
        TargetQuery::Channel(tenant, id) => {
            TargetsQuery { tenant: tenant.to_string(), users: Vec::new(), channel: id.to_string() }
        }
    }
}

fn targets_from_wire(query: &TargetQuery, targets: QueryTargets) -> Result<Vec<Target>, Error> {
    let known: &[UserId] = match query {
        TargetQuery::Users(_, users) => users,
        TargetQuery::Channel(..) => &[],
    };
    let target = |target: stonechat_proto::internal::v1::QueryTarget| {
        let user = |place: u32| usize::try_from(place).ok().and_then(|place| known.get(place)).cloned();
        let users = target.users.into_iter().map(user).collect::<Option<_>>();
        let users = users.ok_or_else(|| unreadable("a place beyond the query"))?;
        Ok(Target { gateway: GatewayId::parse(&target.gateway).map_err(unreadable)?, users })
    };
    targets.targets.into_iter().map(target).collect()
}
