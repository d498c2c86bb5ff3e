//! Tenants' and the operator's API: REST and gRPC on one port, one implementation below both.
//!
//! `service` holds the operations, typed by the messages of `proto/stonechat/v1/api.proto`. `rest` and `grpc` only
//! find out who calls, fill the request in, and write the answer.

mod caller;
mod grpc;
mod rest;
mod service;

pub use service::{ApiConfig, Dependencies};

use std::sync::Arc;

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use tracing::Instrument as _;

/// REST and gRPC on one port. What it does not know is answered as an unknown path.
pub fn router(config: ApiConfig, dependencies: Dependencies) -> axum::Router {
    let service = Arc::new(service::Service::new(config, dependencies));
    grpc::routes(&service).merge(rest::routes(service)).layer(middleware::from_fn(trace))
}

/// Begins a request's trace, or goes on with the caller's.
async fn trace(request: Request, next: Next) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let span = stonechat_telemetry::begin("api.request", traceparent);
    next.run(request).instrument(span).await
}
