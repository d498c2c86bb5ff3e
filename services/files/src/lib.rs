//! The role files: uploads by the tus protocol and by one request, downloads, and what is known of files.
//!
//! `tus` and `download` are HTTP by hand, since bytes stream; `operations` is the table of what is known of files, from
//! which REST, gRPC and the documents follow. What files are is in `stonechat-filing`.

mod callers;
mod documents;
mod download;
mod headers;
mod operations;
mod service;
mod tus;
mod upload;

pub use documents::paths;
pub use operations::OPERATIONS;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::{get, options, post},
};
use stonechat_filing::Files;
use stonechat_operations::Gate;
use tracing::Instrument as _;

/// What the handlers share.
pub(crate) struct Shared {
    files: Arc<Files>,
    gate: Arc<Gate>,
}

/// Everything under `/v1/files` and `/v1/uploads`, and the gRPC service.
pub fn router(files: Arc<Files>, gate: Arc<Gate>) -> Router {
    let service = Arc::new(service::Service::new(Arc::clone(&files)));
    let served = Arc::new(service::Served::new(service, Arc::clone(&gate)));
    let shared = Arc::new(Shared { files, gate: Arc::clone(&gate) });
    let bytes = Router::new()
        .route("/v1/uploads", options(tus::options).post(tus::create))
        .route(
            "/v1/uploads/{file}",
            options(tus::options).head(tus::head).patch(tus::patch).delete(tus::terminate).post(tus::overridden),
        )
        .route("/v1/files", post(upload::upload))
        .route("/v1/files/{file}", get(download::file))
        .route("/v1/files/{file}/thumbnails/{size}", get(download::thumbnail))
        .layer(middleware::from_fn(measure))
        .with_state(shared);
    service::routes(&served)
        .merge(stonechat_operations::routes(&gate, &served, OPERATIONS))
        .merge(bytes)
        .layer(middleware::from_fn(trace))
}

/// Begins a request's trace, or goes on with the caller's.
async fn trace(request: Request, next: Next) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let span = stonechat_telemetry::begin("files.request", traceparent);
    next.run(request).instrument(span).await
}

/// Counts requests by what they are and how they end.
async fn measure(request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let is_upload = request.uri().path().starts_with("/v1/uploads");
    let what = if is_upload || request.method() == axum::http::Method::POST { "upload" } else { "download" };
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("stonechat_files_requests_total", "what" => what, "status" => status).increment(1);
    metrics::histogram!("stonechat_files_request_seconds", "what" => what).record(started.elapsed().as_secs_f64());
    response
}
