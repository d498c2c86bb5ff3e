//! Requests over HTTP and HTTPS.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use stonechat_proto::v1;

use crate::{ClientError, TokenProvider};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of an answer may take after the request was sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is no file, in bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// A request's body.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A server, and who asks.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    token: TokenProvider,
}

/// No body.
pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A header's text; empty when it is missing or none.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A header that is a number.
pub(super) fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    text(headers, name).parse().ok()
}

fn unreachable(why: impl std::fmt::Display) -> ClientError {
    ClientError::Unreachable(why.to_string())
}

impl Http {
    pub fn new(url: &str, token: TokenProvider) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(ClientError::Url(format!("{url} does not begin with http:// or https://")));
        }
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots();
        let builder = builder.map_err(|e| ClientError::Unreachable(format!("read certificates: {e}")))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, base, token })
    }

    /// Asks, with a body that takes as long as it takes; gives an answer that is no refusal. To a `GET` it may be that the
    /// bytes are elsewhere (307), for [`Http::follow`].
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let has_body = !hyper::body::Body::is_end_stream(&body);
        let token = (self.token)().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let is_get = request.method_ref() == Some(&Method::GET);
        let request = request.body(body).map_err(|e| ClientError::Protocol(e.to_string()))?;
        let asked = self.client.request(request);
        let response = match has_body {
            true => asked.await,
            false => {
                tokio::time::timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| unreachable("it does not answer"))?
            }
        };
        let response = response.map_err(|error| unreachable(chain(&error)))?;
        match response.status() {
            status if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::TEMPORARY_REDIRECT if is_get => Ok(response),
            _ => Err(refusal(response).await),
        }
    }

    /// Fetches from elsewhere, where the server says that a file's bytes are, those from an offset on. Whoever is there is
    /// told nothing else: the credential is for the server alone.
    pub async fn follow(&self, location: &str, from: u64) -> Result<Response<Incoming>, ClientError> {
        if !may_follow(&self.base, location) {
            return Err(unreachable("the server names a place that is not to be asked"));
        }
        let mut request = Request::builder().uri(location);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request.body(nothing()).map_err(unreachable)?;
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
        let response = asked.map_err(|_| unreachable("the store does not answer"))?;
        let response = response.map_err(|error| unreachable(chain(&error)))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(unreachable(format!("the store answers HTTP {}", status.as_u16()))),
        }
    }

    /// Asks for something that is JSON.
    pub async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.ask(Method::GET, path, &[], nothing()).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(unreachable)?;
        serde_json::from_slice(&body.to_bytes()).map_err(|e| ClientError::Protocol(format!("answer is no JSON: {e}")))
    }
}

/// Whether a place that the server names is asked: one of the web, and none in the clear that a server behind TLS names.
fn may_follow(base: &str, location: &str) -> bool {
    location.starts_with("https://") || (location.starts_with("http://") && base.starts_with("http://"))
}

/// What a refusal says (RFC 9457, with the catalogue's code). What says nothing may be another server on the way.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| answer.get(name).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
    let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::LOCKED;
    ClientError::Refused(v1::Error {
        code: text("code").unwrap_or_else(|| format!("HTTP {}", status.as_u16())),
        reason: text("detail").or_else(|| text("title")).unwrap_or_default(),
        // An upload at another offset than was thought goes on from where it is.
        retryable: may_pass || status == StatusCode::CONFLICT,
        ..v1::Error::default()
    })
}

/// The causes of an error in one line: the outermost alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_out_of_tls() {
        assert!(may_follow("https://chat.example", "https://store.example/o"));
        assert!(may_follow("http://127.0.0.1:4000", "http://127.0.0.1:9000/o"));
        assert!(may_follow("http://127.0.0.1:4000", "https://store.example/o"));
        for location in ["http://store.example/o", "/o", "", "ftp://store.example", "httpx://store.example"] {
            assert!(!may_follow("https://chat.example", location), "{location}");
        }
    }
}
