//! Two versions side by side, as during a rolling upgrade: what one adds the other neither sends nor knows.
//!
//! The older version's frames are written down here as they were, so that a change of the contract does not change
//! them; the connections and the other side are real.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use prost::Message;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, GatewayId, TenantId, UserId};
use stonechat_proto::{internal::v1 as now, v1};
use stonechat_rpc::{
    Control, Delivery, Inbox, Outcome, Presence, SignalDelivery, StatusUpdate, Target, TargetQuery,
    remote::{PresenceServer, RemotePresence, Sharing},
};
use support::{Server, peers};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(20);

/// `stonechat.internal.v1.AttachFrame` before it had `unshared`; signals are not looked at.
#[derive(Clone, PartialEq, Message)]
struct OldAttachFrame {
    #[prost(bytes = "vec", repeated, tag = "1")]
    signals: Vec<Vec<u8>>,
    #[prost(bool, tag = "2")]
    unsure: bool,
}

/// Presence that takes every gateway, and once it has tells it that something was missed.
struct Backend;

#[async_trait]
impl Presence for Backend {
    async fn attach(&self, _: &GatewayId, inbox: Arc<dyn Inbox>) -> Result<(), Error> {
        inbox.unsure();
        Ok(())
    }

    async fn renew(&self, _: &GatewayId) -> Result<bool, Error> {
        Ok(true)
    }

    async fn detach(&self, _: &GatewayId) -> Result<(), Error> {
        Ok(())
    }

    async fn add_routes(&self, _: &GatewayId, _: &[(TenantId, UserId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn remove_routes(&self, _: &GatewayId, _: &[(TenantId, UserId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn add_interest(&self, _: &GatewayId, _: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn remove_interest(&self, _: &GatewayId, _: &[(TenantId, ConversationId)]) -> Result<(), Error> {
        Ok(())
    }

    async fn targets(&self, queries: &[TargetQuery]) -> Result<Vec<Vec<Target>>, Error> {
        Ok(queries.iter().map(|_| Vec::new()).collect())
    }

    async fn set_status(&self, _: &TenantId, _: &UserId, _: StatusUpdate) -> Result<(), Error> {
        Ok(())
    }

    async fn statuses(&self, _: &TenantId, _: &[UserId]) -> Result<Vec<v1::Status>, Error> {
        Ok(Vec::new())
    }

    async fn watch(&self, _: &GatewayId, _: &TenantId, _: &[UserId]) -> Result<(), Error> {
        Ok(())
    }

    async fn unwatch(&self, _: &GatewayId, _: &TenantId, _: &[UserId]) -> Result<(), Error> {
        Ok(())
    }
}

/// A presence process of the older version. What it sends are today's frames with that field unset, which on the
/// wire is the same as not having it; that is asserted below.
struct OldProcess;

#[async_trait]
impl now::presence_server::Presence for OldProcess {
    type CallsStream = BoxStream<'static, Result<now::ReplyFrame, Status>>;
    type AttachStream = BoxStream<'static, Result<now::AttachFrame, Status>>;

    async fn calls(&self, _: Request<Streaming<now::CallFrame>>) -> Result<Response<Self::CallsStream>, Status> {
        // The first frame opens the stream.
        let open = futures::stream::once(async { Ok(now::ReplyFrame::default()) });
        Ok(Response::new(open.chain(futures::stream::pending()).boxed()))
    }

    async fn attach(&self, _: Request<now::AttachRequest>) -> Result<Response<Self::AttachStream>, Status> {
        let old = OldAttachFrame::default().encode_to_vec();
        let frame = now::AttachFrame::decode(old.as_slice()).unwrap();
        assert_eq!(frame.encode_to_vec(), old);
        Ok(Response::new(futures::stream::iter([Ok(frame)]).chain(futures::stream::pending()).boxed()))
    }
}

struct Deaf;

impl Inbox for Deaf {
    fn outcome(&self, _: Outcome) {}

    fn deliver(&self, _: Delivery) {}

    fn signal(&self, _: SignalDelivery) {}

    fn control(&self, _: Control) {}

    fn unsure(&self) {}
}

#[tokio::test]
async fn an_old_gateway_is_registered_with_a_new_presence_and_hears_of_it() {
    for sharing in [Sharing::All, Sharing::Alone] {
        let server = Server::start(|drain| PresenceServer::service(Arc::new(Backend), sharing, drain)).await;
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let mut old = Grpc::new(endpoint.connect().await.unwrap());
        old.ready().await.unwrap();
        let request = Request::new(now::AttachRequest { gateway: "old".to_owned() });
        let path = http::uri::PathAndQuery::from_static("/stonechat.internal.v1.Presence/Attach");
        let codec = ProstCodec::<now::AttachRequest, OldAttachFrame>::default();
        let mut frames = old.server_streaming(request, path, codec).await.unwrap().into_inner();
        let hears = async { while !frames.message().await.unwrap().unwrap().unsure {} };
        tokio::time::timeout(PATIENCE, hears).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_gateway_is_registered_with_old_presence_processes() {
    let service = |_| now::presence_server::PresenceServer::new(OldProcess);
    let (one, two) = (Server::start(service).await, Server::start(service).await);
    let end = CancellationToken::new();
    let (presence, run) = RemotePresence::new(peers(&[one.address, two.address]), end.clone());
    tokio::spawn(run);
    let mut ready = presence.ready();
    tokio::time::timeout(PATIENCE, ready.wait_for(|processes| *processes == 2)).await.unwrap().unwrap();
    // It does not say whether it is alone, which is no reason to refuse it.
    presence.attach(&GatewayId::parse("new").unwrap(), Arc::new(Deaf)).await.unwrap();
    end.cancel();
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    /// Any frame of a version to come.
    #[derive(Clone, PartialEq, Message)]
    struct Added {
        #[prost(string, tag = "900")]
        text: String,
        #[prost(message, optional, boxed, tag = "901")]
        more: Option<Box<Added>>,
    }
    let more = Some(Box::new(Added { text: "inside".to_owned(), more: None }));
    let added = Added { text: "what is this?".to_owned(), more }.encode_to_vec();
    fn still_reads<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, added: &[u8]) {
        let bytes = [message.encode_to_vec(), added.to_vec()].concat();
        assert_eq!(&M::decode(bytes.as_slice()).unwrap(), message);
    }
    let origin = Some(now::Origin { node: "node".to_owned(), session: 1, id: 2 });
    let (tenant, log) = ("t".to_owned(), "c".to_owned());
    let command = now::CommandRecord { tenant: tenant.clone(), log: log.clone(), origin, ..Default::default() };
    still_reads(&command, &added);
    still_reads(&now::NodeFrame { commands: vec![command], ..Default::default() }, &added);
    still_reads(&now::RouterFrame { welcome: true, draining: true, ..Default::default() }, &added);
    still_reads(&now::StreamRecord { tenant, log, position: 7, ..Default::default() }, &added);
    still_reads(&now::AttachFrame { unsure: true, unshared: true, ..Default::default() }, &added);
    still_reads(&now::PresenceReply { renewed: true, ..Default::default() }, &added);
    still_reads(&now::HeadRow { last_seq: 3, position: 9, ..Default::default() }, &added);
}
