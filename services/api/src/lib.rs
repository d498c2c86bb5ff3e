//! Tenants' and the operator's API: REST and gRPC on one port, one implementation below both.
//!
//! [`service`] holds the operations, typed by the messages of `proto/stonechat/v1/api.proto`. `rest` and `grpc` only
//! find out who calls, fill the request in, and write the answer.

mod caller;
mod grpc;
mod rest;
mod service;

pub use service::{ApiConfig, Dependencies};

use std::sync::Arc;

/// REST and gRPC on one port. What it does not know is answered as an unknown path.
pub fn router(config: ApiConfig, dependencies: Dependencies) -> axum::Router {
    let service = Arc::new(service::Service::new(config, dependencies));
    grpc::routes(&service).merge(rest::routes(service))
}
