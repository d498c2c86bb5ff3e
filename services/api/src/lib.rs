//! Tenants' and the operator's API: REST and gRPC on one port, one implementation below both.
//!
//! `operations` is the table from which the REST routes, the permissions and the OpenAPI document follow. `service`
//! holds the operations, typed by the messages of `proto/stonechat/v1/api.proto`; `grpc` serves them.

mod documents;
mod events;
mod grpc;
mod operations;
mod service;
mod tenant_data;

pub use documents::Others;
pub use service::{ApiConfig, Dependencies};
pub use tenant_data::Jobs;

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    body::Body,
    extract::Request,
    http::HeaderMap,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use stonechat_errors::Error;
use stonechat_operations::{Backend, Call, Operation};
use tracing::Instrument as _;

/// REST and gRPC on one port. What it does not know is answered as an unknown path. `others` is what the other services
/// have, which the documents show as well; those services serve it.
///
/// Somebody has to do the [`Jobs`] that come with it.
pub fn router(config: ApiConfig, dependencies: Dependencies, others: &Others) -> (axum::Router, Arc<Jobs>) {
    let gate = Arc::clone(&dependencies.gate);
    let dev = config.dev_key.clone();
    let (data, transfer, jobs) = tenant_data::serve(&config, &dependencies);
    let webhooks = stonechat_webhooks::Webhooks::new(Arc::clone(&dependencies.rows));
    let events = events::Events::new(webhooks, Arc::clone(&gate), dependencies.drain.clone());
    let service = Arc::new(service::Service::new(config, dependencies, Arc::clone(&jobs)));
    let served = Arc::new(grpc::Served::new(service, Arc::clone(&gate)));
    let app = grpc::routes(&served)
        .merge(tenant_data::routes(&data, &transfer))
        .merge(events.routes())
        .merge(stonechat_operations::routes(
            &gate,
            &Arc::new(Rest { served, data, transfer, events }),
            operations::every(),
        ))
        .merge(documents::routes(others, dev))
        .fallback(|| async { Error::not_found("path").into_response() })
        .layer(middleware::from_fn(trace));
    (app, jobs)
}

/// What does every operation in its REST form. One for all, since the methods of one path belong to one router.
struct Rest {
    served: Arc<grpc::Served>,
    data: Arc<tenant_data::Served>,
    transfer: Arc<tenant_data::Transfer>,
    events: events::Events,
}

#[async_trait]
impl Backend for Rest {
    async fn call(&self, call: Call) -> Result<Vec<u8>, Error> {
        let is_data = operations::data().iter().any(|operation| operation.service == call.operation.service);
        if is_data { self.data.call(call).await } else { self.served.call(call).await }
    }

    async fn raw(&self, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Error> {
        match call.operation.service {
            "EventService" => self.events.answer(call, headers).await,
            _ => self.transfer.raw(call, headers, body).await,
        }
    }
}

/// The OpenAPI document of this service's operations and those of others.
pub fn openapi_document(others: &Others) -> serde_json::Value {
    documents::openapi_document(others)
}

/// Every operation of this service.
pub fn operations() -> &'static [Operation] {
    operations::every()
}

/// Begins a request's trace, or goes on with the caller's.
async fn trace(request: Request, next: Next) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let span = stonechat_telemetry::begin("api.request", traceparent);
    next.run(request).instrument(span).await
}

#[cfg(test)]
mod tests;
