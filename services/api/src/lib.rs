//! Tenants' and the operator's API: REST and gRPC on one port, one implementation below both.
//!
//! `operations` is the table from which the REST routes, the permissions and the OpenAPI document follow. `service`
//! holds the operations, typed by the messages of `proto/stonechat/v1/api.proto`; `grpc` serves them.

mod documents;
mod grpc;
mod operations;
mod service;

pub use service::{ApiConfig, Dependencies};

use std::sync::Arc;

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use stonechat_errors::Error;
use stonechat_operations::Operation;
use tracing::Instrument as _;

/// REST and gRPC on one port. What it does not know is answered as an unknown path. `others` are the operations of the
/// other services, which the documents show as well; those services serve them.
pub fn router(config: ApiConfig, dependencies: Dependencies, others: &[&'static [Operation]]) -> axum::Router {
    let gate = Arc::clone(&dependencies.gate);
    let service = Arc::new(service::Service::new(config, dependencies));
    let served = Arc::new(grpc::Served::new(service, Arc::clone(&gate)));
    grpc::routes(&served)
        .merge(stonechat_operations::routes(&gate, &served, operations::all()))
        .merge(documents::routes(others))
        .fallback(|| async { Error::not_found("path").into_response() })
        .layer(middleware::from_fn(trace))
}

/// Every operation of this service.
pub fn operations() -> &'static [Operation] {
    operations::all()
}

/// Begins a request's trace, or goes on with the caller's.
async fn trace(request: Request, next: Next) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let span = stonechat_telemetry::begin("api.request", traceparent);
    next.run(request).instrument(span).await
}

#[cfg(test)]
mod tests;
