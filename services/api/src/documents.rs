//! The documents of the API: `/openapi.json`, the reference at `/docs`, and `/llms.txt`.

use std::fmt::Write as _;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use stonechat_errors::Error;
use stonechat_operations::{Contract, Operation, openapi};

use crate::operations;

/// The page's own scripts and styles, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// What other services have, which the documents show as well.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// Their operations.
    pub operations: &'static [&'static [Operation]],
    /// Their paths that are no operations, as OpenAPI has them.
    pub paths: Vec<serde_json::Value>,
}

/// Every operation that the documents show.
fn every(others: &Others) -> Vec<&'static Operation> {
    std::iter::once(operations::every()).chain(others.operations.iter().copied()).flatten().collect()
}

/// The OpenAPI document of this service's operations and those of others.
pub(crate) fn openapi_document(others: &Others) -> serde_json::Value {
    let about = openapi::About { version: env!("CARGO_PKG_VERSION"), paths: &others.paths };
    openapi::document(&about, &every(others))
}

/// The API in short, for programs that read: <https://llmstxt.org>.
fn llms_text(others: &Others) -> String {
    let mut text = "# Stonechat\n\n> Chat for your product: a multi-tenant messaging server with REST, gRPC and \
        WebSocket.\n\nREST is under /v1 with JSON; gRPC, package stonechat.v1, is on the same port with reflection. \
        Authenticate with `Authorization: Bearer` and a server key (sk_...) or a user token (JWT). Under a server key \
        `sender` says for whom something is done. Errors are application/problem+json with a `code`. Repeat safely \
        with an `Idempotency-Key`.\n\n## Documents\n\n- [OpenAPI 3.1](/openapi.json): every operation with schemas, \
        errors and examples\n- [Reference](/docs): the same for people, to be tried\n\n## Operations\n\n"
        .to_owned();
    for operation in every(others) {
        let comment = Contract::get().method(&operation.rpc()).map_or("", |method| method.comment.as_str());
        let http = operation.http.lower().to_ascii_uppercase();
        let _ = writeln!(text, "- `{http} {}` ({}): {comment}", operation.path, operation.method);
    }
    text
}

fn asset(content_type: &'static str, body: impl Into<Bytes>) -> axum::routing::MethodRouter {
    const NO_SNIFF: HeaderName = header::X_CONTENT_TYPE_OPTIONS;
    let body = body.into();
    get(move || async move {
        let headers = [
            (header::CONTENT_TYPE, content_type),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-cache"),
            (NO_SNIFF, "nosniff"),
        ];
        (headers, body).into_response()
    })
}

/// Whether a request was meant for this machine by name: another site's page whose name leads here is not.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// The demo tenant's key, which the reference fills in; on a development server only.
fn dev_key(key: String, headers: &HeaderMap) -> Response {
    if !is_loopback(headers) {
        return Error::not_found("path").into_response();
    }
    let body = serde_json::json!({ "server_key": key }).to_string();
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
        .into_response()
}

/// Where the documents are. `dev` is the demo tenant's server key.
pub(crate) fn routes(others: &Others, dev: Option<String>) -> Router {
    let mut router = Router::new()
        .route("/openapi.json", asset("application/json", openapi_document(others).to_string()))
        .route("/llms.txt", asset("text/plain; charset=utf-8", llms_text(others)))
        .route("/docs", asset("text/html; charset=utf-8", include_str!("../assets/docs.html")))
        .route("/docs/docs.js", asset("text/javascript; charset=utf-8", include_str!("../assets/docs.js")))
        .route("/docs/docs.css", asset("text/css; charset=utf-8", include_str!("../assets/docs.css")));
    if let Some(key) = dev {
        router = router.route("/docs/dev.json", get(move |headers: HeaderMap| async move { dev_key(key, &headers) }));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_key_is_shown_to_this_machine_only() {
        let asked = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            dev_key("sk_demo".to_owned(), &headers).status()
        };
        for host in ["127.0.0.1:4000", "localhost:4000", "localhost", "[::1]:4000"] {
            assert_eq!(asked(host), 200, "{host}");
        }
        for host in ["evil.example:4000", "127.0.0.1.evil.example", "localhost.evil.example:4000"] {
            assert_eq!(asked(host), 404, "{host}");
        }
    }

    #[test]
    fn the_short_text_names_every_operation() {
        let text = llms_text(&Others::default());
        for operation in operations::all() {
            assert!(text.contains(operation.path), "{}", operation.path);
        }
    }

    #[test]
    fn the_reference_asks_nobody_outside() {
        for text in
            [include_str!("../assets/docs.html"), include_str!("../assets/docs.js"), include_str!("../assets/docs.css")]
        {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("innerHTML"));
        }
    }
}
