//! The presence role's service.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId, limits};
use stonechat_proto::internal::v1::{
    AttachFrame, AttachRequest, CallFrame, PresenceReply, PresenceRequest, QueryTarget, QueryTargets, Registration,
    ReplyFrame, SignalToNode, TargetsQuery, presence_request::Kind, presence_server,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    FRAME_BYTES,
    convert::signal_to_wire,
    errors::unreadable,
    gather::{Bounds, Gather},
    serving::{Handler, Serving},
};
use crate::{Control, Delivery, Inbox, Outcome, Presence, SignalDelivery, StatusUpdate, Target, TargetQuery};

/// Bytes of a signal, about.
const SIGNAL_BYTES: usize = 128;
/// Signals that wait for one gateway.
const SIGNALS: usize = 65_536;
/// Users of a query that are searched one after the other.
const SEARCHED_USERS: usize = 16;

/// The presence role's service over a backend.
pub struct PresenceServer {
    serving: Serving,
    presence: Arc<dyn Presence>,
    sharing: Sharing,
    drain: CancellationToken,
}

/// Who knows what a presence process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Every presence process of the cluster: there may be several.
    All,
    /// This one only: gateways take it for a mistake when there is another one.
    Alone,
}

impl PresenceServer {
    /// Serves this presence; after `drain` callers and gateways are told to go elsewhere.
    pub fn service(
        presence: Arc<dyn Presence>,
        sharing: Sharing,
        drain: CancellationToken,
    ) -> presence_server::PresenceServer<impl presence_server::Presence> {
        let serving = Serving::new("presence", Arc::new(Backend(Arc::clone(&presence))), drain.clone());
        let server = presence_server::PresenceServer::new(Self { serving, presence, sharing, drain });
        server.max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES)
    }
}

#[async_trait]
impl presence_server::Presence for PresenceServer {
    type CallsStream = BoxStream<'static, Result<ReplyFrame, Status>>;
    type AttachStream = BoxStream<'static, Result<AttachFrame, Status>>;

    async fn calls(&self, request: Request<Streaming<CallFrame>>) -> Result<Response<Self::CallsStream>, Status> {
        Ok(Response::new(Box::pin(self.serving.serve(request.into_inner()))))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<Self::AttachStream>, Status> {
        let gateway = GatewayId::parse(&request.get_ref().gateway).map_err(unreadable)?;
        let bounds = Bounds { items: SIGNALS, bytes: limits::LINK_QUEUE_BYTES };
        let out = Arc::new(Gather::new(bounds));
        // The first frame, before any signal.
        let _ = out.push(None, 0);
        self.presence.attach(&gateway, Arc::new(Attached(Arc::clone(&out)))).await?;
        let unshared = self.sharing == Sharing::Alone;
        let frames = futures::stream::unfold(Told(out), move |told| async move {
            let items = told.0.take(limits::PEER_GATHER_BYTES).await?;
            let mut frame = AttachFrame::default();
            for item in items {
                let Some(item) = item else {
                    frame.unshared = unshared;
                    continue;
                };
                match item {
                    Item::Signal(signal) => frame.signals.push(signal),
                    Item::Unsure => frame.unsure = true,
                }
            }
            Some((Ok(frame), told))
        });
        let drained = self.drain.clone().cancelled_owned();
        Ok(Response::new(Box::pin(futures::StreamExt::take_until(frames, drained))))
    }
}

enum Item {
    Signal(SignalToNode),
    Unsure,
}

/// A gateway in another process.
struct Attached(Arc<Gather<Option<Item>>>);

/// What a gateway is told; when it is gone nothing more is gathered.
struct Told(Arc<Gather<Option<Item>>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.drain();
    }
}

impl Attached {
    fn push(&self, item: Item) {
        if self.0.push(Some(item), SIGNAL_BYTES).is_err() {
            // It reads nothing: its stream ends, and it registers again.
            self.0.drain();
        }
    }
}

impl Inbox for Attached {
    fn outcome(&self, _: Outcome) {}

    fn deliver(&self, _: Delivery) {}

    fn signal(&self, signal: SignalDelivery) {
        self.push(Item::Signal(signal_to_wire(signal)));
    }

    fn control(&self, _: Control) {}

    fn unsure(&self) {
        self.push(Item::Unsure);
    }
}

struct Backend(Arc<dyn Presence>);

#[async_trait]
impl Handler for Backend {
    async fn handle(&self, request: Bytes) -> Result<Bytes, Error> {
        let request = PresenceRequest::decode(request).map_err(unreadable)?;
        let kind = request.kind.ok_or_else(|| unreadable("nothing is asked"))?;
        Ok(self.answer(kind).await?.encode_to_vec().into())
    }
}

impl Backend {
    async fn answer(&self, kind: Kind) -> Result<PresenceReply, Error> {
        let mut reply = PresenceReply::default();
        match kind {
            Kind::Renew(it) => reply.renewed = self.0.renew(&gateway(&it.gateway)?).await?,
            Kind::Detach(it) => self.0.detach(&gateway(&it.gateway)?).await?,
            Kind::Routes(it) => self.routes(it).await?,
            Kind::Interest(it) => self.interest(it).await?,
            Kind::Watch(it) => self.watch(it).await?,
            Kind::Targets(it) => {
                let queries = it.queries.iter().map(query_from_wire).collect::<Result<Vec<_>, _>>()?;
                let targets = self.0.targets(&queries).await?;
                let pairs = queries.iter().zip(targets);
                reply.targets = pairs.map(|(query, targets)| targets_to_wire(query, targets)).collect();
            }
            Kind::SetStatus(it) => {
                let (tenant, user) = (tenant(&it.tenant)?, user(&it.user)?);
                let update = StatusUpdate { away: it.away, text: it.text, emoji: it.emoji };
                self.0.set_status(&tenant, &user, update).await?;
            }
            Kind::Statuses(it) => {
                let users = it.users.iter().map(|id| user(id)).collect::<Result<Vec<_>, _>>()?;
                reply.statuses = self.0.statuses(&tenant(&it.tenant)?, &users).await?;
            }
        }
        Ok(reply)
    }

    async fn routes(&self, it: Registration) -> Result<(), Error> {
        let gateway = gateway(&it.gateway)?;
        let item = |item: &stonechat_proto::internal::v1::TenantItem| Ok((tenant(&item.tenant)?, user(&item.id)?));
        let users = it.items.iter().map(item).collect::<Result<Vec<_>, Error>>()?;
        match it.removed {
            false => self.0.add_routes(&gateway, &users).await,
            true => self.0.remove_routes(&gateway, &users).await,
        }
    }

    async fn interest(&self, it: Registration) -> Result<(), Error> {
        let gateway = gateway(&it.gateway)?;
        let item = |item: &stonechat_proto::internal::v1::TenantItem| {
            Ok((tenant(&item.tenant)?, ConversationId::parse(&item.id).map_err(unreadable)?))
        };
        let channels = it.items.iter().map(item).collect::<Result<Vec<_>, Error>>()?;
        match it.removed {
            false => self.0.add_interest(&gateway, &channels).await,
            true => self.0.remove_interest(&gateway, &channels).await,
        }
    }

    async fn watch(&self, it: Registration) -> Result<(), Error> {
        let gateway = gateway(&it.gateway)?;
        let mut by_tenant: HashMap<TenantId, Vec<UserId>> = HashMap::new();
        for item in &it.items {
            by_tenant.entry(tenant(&item.tenant)?).or_default().push(user(&item.id)?);
        }
        for (tenant, users) in by_tenant {
            match it.removed {
                false => self.0.watch(&gateway, &tenant, &users).await?,
                true => self.0.unwatch(&gateway, &tenant, &users).await?,
            }
        }
        Ok(())
    }
}

fn gateway(text: &str) -> Result<GatewayId, Error> {
    GatewayId::parse(text).map_err(unreadable)
}

fn tenant(text: &str) -> Result<TenantId, Error> {
    TenantId::parse(text).map_err(unreadable)
}

fn user(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).map_err(unreadable)
}

fn query_from_wire(query: &TargetsQuery) -> Result<TargetQuery, Error> {
    let tenant = tenant(&query.tenant)?;
    if query.channel.is_empty() {
        let users = query.users.iter().map(|id| user(id)).collect::<Result<Vec<_>, _>>()?;
        Ok(TargetQuery::Users(tenant, users.into()))
    } else {
        Ok(TargetQuery::Channel(tenant, ConversationId::parse(&query.channel).map_err(unreadable)?))
    }
}

fn targets_to_wire(query: &TargetQuery, targets: Vec<Target>) -> QueryTargets {
    let users: &[UserId] = match query {
        TargetQuery::Users(_, users) => users,
        TargetQuery::Channel(..) => &[],
    };
    // Of two or three users a look at each costs less than a map.
    let map: Option<HashMap<&UserId, u32>> = (users.len() > SEARCHED_USERS).then(|| users.iter().zip(0..).collect());
    let place = |user: &UserId| match &map {
        Some(map) => map.get(user).copied(),
        None => users.iter().zip(0..).find(|(known, _)| *known == user).map(|(_, place)| place),
    };
    let target = |target: Target| QueryTarget {
        gateway: target.gateway.to_string(),
        users: target.users.iter().filter_map(place).collect(),
    };
    QueryTargets { targets: targets.into_iter().map(target).collect() }
}
