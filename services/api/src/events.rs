//! Events for who pulls them: server-sent events, and a gRPC stream of the same.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, limits};
use stonechat_operations::{Call, Gate};
use stonechat_proto::v1::{PullEventsRequest, PulledEvent, event_service_server};
use stonechat_webhooks::{Pull, Webhooks};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes};

use crate::operations;

/// How often it is looked whether the caller still may.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often the feed is looked at.
const POLL_EVERY: Duration = Duration::from_millis(limits::PULL_POLL_MS);
/// How long nothing is said at most.
const SIGN_OF_LIFE: Duration = Duration::from_secs(limits::PULL_SIGN_OF_LIFE_S);
/// The pause after the rows did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Gives events to who pulls them.
#[derive(Clone)]
pub(crate) struct Events {
    webhooks: Webhooks,
    gate: Arc<Gate>,
    /// Ends every stream, so that its reader goes elsewhere.
    drain: CancellationToken,
    pulls: Arc<Mutex<HashMap<TenantId, usize>>>,
}

/// One of the streams that a tenant may have.
struct Counted {
    pulls: Arc<Mutex<HashMap<TenantId, usize>>>,
    tenant: TenantId,
}

impl Counted {
    fn new(pulls: &Arc<Mutex<HashMap<TenantId, usize>>>, tenant: &TenantId) -> Result<Self, Error> {
        let mut counts = pulls.lock();
        let count = counts.entry(tenant.clone()).or_default();
        if *count >= limits::PULLS {
            let reason = format!("at most {} requests pull events at the same time", limits::PULLS);
            return Err(Error::new(Code::RateLimited, reason).retry_after(RETRY_PAUSE));
        }
        *count += 1;
        Ok(Self { pulls: Arc::clone(pulls), tenant: tenant.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.pulls.lock();
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
    }
}

/// Who pulls: what to ask the gate with, again and again.
struct Credentials {
    authorization: Option<String>,
    tenant: TenantId,
}

type Given = Result<PulledEvent, Error>;

impl Events {
    pub fn new(webhooks: Webhooks, gate: Arc<Gate>, drain: CancellationToken) -> Self {
        Self { webhooks, gate, drain, pulls: Arc::default() }
    }

    /// The gRPC service.
    pub fn routes(&self) -> axum::Router {
        let service = event_service_server::EventServiceServer::new(self.clone());
        let service = service.max_decoding_message_size(limits::HTTP_BODY_BYTES);
        Routes::new(service).into_axum_router().reset_fallback()
    }

    async fn begin(&self, who: Credentials, request: PullEventsRequest) -> Result<mpsc::Receiver<Given>, Error> {
        let counted = Counted::new(&self.pulls, &who.tenant)?;
        let cursor = Some(request.cursor.as_str()).filter(|cursor| !cursor.is_empty());
        let pull = Pull::begin(self.webhooks.clone(), who.tenant.clone(), cursor, request.events).await?;
        let (to, events) = mpsc::channel(limits::PULL_WAITING);
        let this = self.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                end = give(pull, &to, request.once) => end,
                end = this.watch(&who) => Some(end),
                () = this.drain.cancelled() => Some(Error::unavailable("the server ends; go on from the cursor")),
                () = to.closed() => None,
            };
            if let Some(error) = end {
                // A reader that does not read need not hear it.
                let _ = to.try_send(Err(error));
            }
            drop(counted);
        });
        Ok(events)
    }

    /// Until the caller may no longer.
    async fn watch(&self, who: &Credentials) -> Error {
        loop {
            sleep(CHECK_EVERY).await;
            match self.gate.identify(who.authorization.as_deref(), None).await {
                Ok(_) => {}
                // Whether it may cannot be told now.
                Err(error) if error.is_retryable() => {}
                Err(error) => return error,
            }
        }
    }

    /// Answers a REST request with server-sent events.
    pub async fn answer(&self, call: Call, headers: HeaderMap) -> Result<Response, Error> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let fields = serde_json::Value::Object(call.fields);
        let mut request: PullEventsRequest =
            serde_json::from_value(fields).map_err(|error| Error::invalid(error.to_string()))?;
        // What a browser that connects again has seen counts before where its page began.
        if let Some(last) = text(header::HeaderName::from_static("last-event-id")).filter(|last| !last.is_empty()) {
            last.clone_into(&mut request.cursor);
        }
        let authorization = text(header::AUTHORIZATION).map(ToOwned::to_owned);
        let who = Credentials { authorization, tenant: call.caller.tenant()?.clone() };
        let events = self.begin(who, request).await?;
        let pieces = stream_of(events).map(|given| given.map_err(|e| std::io::Error::other(e.to_string())).map(piece));
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // Proxies hand each piece on at once.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Ok((headers, Body::from_stream(pieces)).into_response())
    }
}

/// Gives events until the reader is gone, or the rows stay silent for good; `None`: everything was given.
async fn give(mut pull: Pull, to: &mpsc::Sender<Given>, once: bool) -> Option<Error> {
    let sign_of_life = |pull: &Pull| PulledEvent { cursor: pull.cursor(), ..PulledEvent::default() };
    // Whoever has seen nothing yet goes on from here all the same.
    to.send(Ok(sign_of_life(&pull))).await.ok()?;
    let mut said = Instant::now();
    loop {
        let events = match pull.next().await {
            Ok(events) => events,
            Err(error) if error.is_retryable() => {
                sleep(RETRY_PAUSE).await;
                Vec::new()
            }
            Err(error) => return Some(error),
        };
        if events.is_empty() {
            if once || said.elapsed() >= SIGN_OF_LIFE {
                to.send(Ok(sign_of_life(&pull))).await.ok()?;
                said = Instant::now();
            }
            if once {
                return None;
            }
            sleep(POLL_EVERY).await;
            continue;
        }
        for event in events {
            to.send(Ok(event)).await.ok()?;
        }
        said = Instant::now();
    }
}

fn stream_of(events: mpsc::Receiver<Given>) -> impl Stream<Item = Given> + Send {
    stream::unfold(events, |mut events| async move { events.recv().await.map(|given| (given, events)) })
}

/// An event as the HTML standard writes it, section 9.2.6. A sign of life moves the last id and is not dispatched.
fn piece(event: PulledEvent) -> Bytes {
    if event.id.is_empty() {
        return format!("id: {}\n\n", event.cursor).into();
    }
    match stonechat_operations::write(&event) {
        Ok(data) => {
            let mut piece = format!("id: {}\nevent: {}\ndata: ", event.cursor, event.r#type).into_bytes();
            // JSON has no line break outside of texts, and in them it is escaped.
            piece.extend_from_slice(&data);
            piece.extend_from_slice(b"\n\n");
            piece.into()
        }
        Err(error) => {
            tracing::error!(%error, "an event cannot be written");
            Bytes::new()
        }
    }
}

#[async_trait]
impl event_service_server::EventService for Events {
    type PullEventsStream = Pin<Box<dyn Stream<Item = Result<PulledEvent, Status>> + Send>>;

    async fn pull_events(
        &self,
        request: Request<PullEventsRequest>,
    ) -> Result<tonic::Response<Self::PullEventsStream>, Status> {
        let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let operation = stonechat_operations::find(operations::events(), "EventService", "PullEvents");
        let operation = operation.ok_or_else(Error::internal)?;
        let authorization = text("authorization").map(ToOwned::to_owned);
        let caller = self.gate.identify(authorization.as_deref(), None).await?;
        self.gate.admit(operation, &caller).1?;
        let who = Credentials { authorization, tenant: caller.tenant()?.clone() };
        let events = self.begin(who, request.into_inner()).await?;
        let events = stream_of(events).map(|given| given.map_err(Status::from));
        Ok(tonic::Response::new(Box::pin(events)))
    }
}
