//! REST.

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{server::Server, within};

/// A caller with a credential.
pub struct Rest {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    credential: String,
}

impl Rest {
    /// A caller that shows this credential.
    pub fn new(server: &Server, credential: &str) -> Self {
        Self::at(&format!("http://{}", server.address), credential)
    }

    /// The operator.
    pub fn operator(server: &Server) -> Self {
        Self::new(server, server.operator_key())
    }

    /// A caller of the server at this URL.
    pub fn at(url: &str, credential: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: url.to_owned(), credential: credential.to_owned() }
    }

    /// The status of an answer, if there is one.
    pub async fn try_get(&self, path: &str) -> Option<u16> {
        let uri = format!("{}{path}", self.base).parse().expect("a URL");
        self.client.get(uri).await.ok().map(|answer| answer.status().as_u16())
    }

    /// Calls; gives the status and the JSON body, null when there is none.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.credential))
            .header("content-type", "application/json")
            .body(Full::from(body.map_or_else(String::new, |body| body.to_string())))
            .expect("a request");
        let response = within("answer", self.client.request(request)).await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_slice(&bytes).unwrap_or(if text.is_empty() { Value::Null } else { text.into() }))
    }

    /// Calls with headers and a body of any kind; gives the headers too.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.credential.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.credential));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.into())).expect("a request");
        let (parts, body) = within("answer", self.client.request(request)).await.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        (parts.status.as_u16(), parts.headers, value)
    }

    /// Calls with headers; gives the body as it is.
    pub async fn bytes(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Bytes) {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.credential.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.credential));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).expect("a request");
        let (parts, body) = within("answer", self.client.request(request)).await.expect("an answer").into_parts();
        let bytes = within("body", body.collect()).await.expect("a body").to_bytes();
        (parts.status.as_u16(), parts.headers, bytes)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
}
