//! Calls of the api over HTTP and HTTPS.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, body::Bytes, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use stonechat_client::{ClientError, v1};
use tokio::time::timeout;

use super::{super::CliError, context::Context, request};

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const ANSWER_BYTES: usize = 64 << 20;

/// A server, as a context names it.
pub struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    key: String,
}

fn unreachable(why: impl std::fmt::Display) -> CliError {
    ClientError::Unreachable(why.to_string()).into()
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

/// What a refusal says (RFC 9457, with the catalogue's code).
fn refusal(status: u16, answer: &Value) -> CliError {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let error = v1::Error {
        code: text("code").unwrap_or_else(|| format!("HTTP {status}")),
        reason: text("detail").or_else(|| text("title")).unwrap_or_default(),
        ..v1::Error::default()
    };
    ClientError::Refused(error).into()
}

impl Connection {
    /// Calls of that server.
    pub fn new(context: &Context) -> Result<Self, CliError> {
        let base = context.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let problem = format!("{} does not begin with http:// or https://", context.url);
            return Err(ClientError::Url(problem).into());
        }
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let builder = builder.with_native_roots().map_err(|e| CliError::Failed(format!("read certificates: {e}")))?;
        let client = Client::builder(TokioExecutor::new()).build(builder.https_or_http().enable_http1().build());
        Ok(Self { client, base, key: context.key.clone() })
    }

    /// Calls; gives the answer's JSON, null where it has none.
    pub async fn call(&self, call: &request::Request) -> Result<Value, CliError> {
        let body = match call.body.is_empty() {
            true => Bytes::new(),
            false => Bytes::from(Value::Object(call.body.clone()).to_string()),
        };
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(format!("{}{}", self.base, call.target()))
            .header(header::CONTENT_TYPE, "application/json");
        if !self.key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(body)).map_err(|e| CliError::Usage(e.to_string()))?;
        let answered = async {
            let response = self.client.request(request).await.map_err(|e| unreachable(chain(&e)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(unreachable)?;
            Ok((head.status, body.to_bytes()))
        };
        let answered: Result<_, CliError> =
            timeout(CALL_TIMEOUT, answered).await.map_err(|_| unreachable("it does not answer"))?;
        let (status, body) = answered?;
        let answer = serde_json::from_slice(&body);
        match answer {
            Ok(answer) if status.is_success() => Ok(answer),
            Err(_) if status.is_success() && body.is_empty() => Ok(Value::Null),
            Err(error) if status.is_success() => {
                Err(ClientError::Protocol(format!("answer is no JSON: {error}")).into())
            }
            answer => Err(refusal(status.as_u16(), &answer.unwrap_or_default())),
        }
    }
}
