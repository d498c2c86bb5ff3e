//! The documents of the API: `/openapi.json`.

use axum::{Router, http::header, routing::get};
use bytes::Bytes;
use stonechat_operations::{Operation, openapi};

use crate::operations;

/// The OpenAPI document of this service's operations and those of others.
pub(crate) fn openapi_document(others: &[&'static [Operation]]) -> serde_json::Value {
    let own = std::iter::once(operations::every());
    let every: Vec<&'static Operation> = own.chain(others.iter().copied()).flatten().collect();
    openapi::document(&openapi::About { version: env!("CARGO_PKG_VERSION") }, &every)
}

/// Where the documents are.
pub(crate) fn routes(others: &[&'static [Operation]]) -> Router {
    let document = Bytes::from(openapi_document(others).to_string());
    let answer = move || {
        let document = document.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], document) }
    };
    Router::new().route("/openapi.json", get(answer))
}
