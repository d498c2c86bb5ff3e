//! One send is one trace through every role, as a collector sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::{
    server::Server,
    session::{Session, client_id},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Spans come in batches, every few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes spans as any collector does.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            // The test may be over.
            let _ = self.0.send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collect() -> (SocketAddr, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = mpsc::unbounded_channel();
    let service = TraceServiceServer::new(Collector(sender));
    let incoming = TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, receiver)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_command_is_one_trace_through_gateway_router_storage_and_fan_out() {
    let (collector, mut spans) = collect().await;
    let endpoint = format!("http://{collector}");
    let server = Server::start_with(&[
        ("STONECHAT_TELEMETRY__OTLP_ENDPOINT", &endpoint),
        ("STONECHAT_TELEMETRY__TRACE_RATIO", "0"),
    ])
    .await;
    let mut alice = Session::open(server.address, server.token("alice"), "phone").await;
    let mut bob = Session::open(server.address, server.token("bob"), "phone").await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let create = json!({"kind": "group", "members": ["bob"]});
    let frame = json!({"type": "command", "conversation": "team", "client_id": client_id(),
        "traceparent": traceparent, "create": create});
    let ack = alice.ask(frame).await;
    assert_eq!(ack["type"], "ack", "{ack}");
    bob.event("team", |event| event["type"] == "created").await;

    let expected =
        ["gateway.command", "router.decide", "storage.write", "router.deliver", "gateway.deliver", "router.follow"];
    let mut names = BTreeSet::new();
    let mut parents = BTreeMap::new();
    let is_whole = |names: &BTreeSet<String>, parents: &BTreeMap<String, String>| {
        let is_known = |parent: &String| parent == PARENT || parents.contains_key(parent);
        expected.iter().all(|name| names.contains(*name)) && parents.values().all(is_known)
    };
    while !is_whole(&names, &parents) {
        let next = timeout(PATIENCE, spans.recv()).await;
        let span = next.unwrap_or_else(|_| panic!("only {names:?} came, with the parents {parents:?}"));
        let span = span.expect("the collector runs");
        assert_eq!(hex(&span.trace_id), TRACE, "nothing else is traced: {}", span.name);
        names.insert(span.name);
        parents.insert(hex(&span.span_id), hex(&span.parent_span_id));
    }
}
