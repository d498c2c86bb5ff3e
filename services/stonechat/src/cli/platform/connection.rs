//! Calls of the api over HTTP and HTTPS.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    header,
};
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

/// The largest event of a stream, in bytes.
const EVENT_BYTES: usize = 1 << 20;

/// Speaks HTTP and HTTPS, by the certificates of this machine.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client of HTTP and HTTPS.
pub fn http_client() -> Result<HttpClient, CliError> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = builder.with_native_roots().map_err(|e| CliError::Failed(format!("read certificates: {e}")))?;
    Ok(Client::builder(TokioExecutor::new()).build(builder.https_or_http().enable_http1().build()))
}

/// A server, as a context names it.
pub struct Connection {
    client: HttpClient,
    base: String,
    key: String,
}

fn unreachable(why: impl std::fmt::Display) -> CliError {
    ClientError::Unreachable(why.to_string()).into()
}

/// The causes of an error in one line: the outermost alone says little.
pub fn chain(error: &dyn std::error::Error) -> String {
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
        retryable: matches!(status, 429 | 503 | 504),
        ..v1::Error::default()
    };
    ClientError::Refused(error).into()
}

/// An event of a stream, by the HTML standard, section 9.2.
#[derive(Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The last id so far.
    pub id: String,
    /// Its data; empty where the stream only gave an id.
    pub data: String,
}

/// A stream of server-sent events.
pub struct Pull {
    body: Incoming,
    stream: EventStream,
}

impl Pull {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Pulled>, CliError> {
        loop {
            if let Some(pulled) = self.stream.take() {
                return Ok(Some(pulled));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|e| unreachable(chain(&e)))?;
            if let Ok(data) = frame.into_data()
                && !self.stream.put(&data)
            {
                return Err(ClientError::Protocol("an event is too large".to_owned()).into());
            }
        }
    }
}

/// Takes events out of the bytes of a stream.
#[derive(Default)]
struct EventStream {
    bytes: Vec<u8>,
    id: String,
}

impl EventStream {
    /// Adds bytes; `false` where an event is too large.
    fn put(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() <= EVENT_BYTES
    }

    /// The next whole event.
    fn take(&mut self) -> Option<Pulled> {
        let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
        let (text, mut data) = (String::from_utf8_lossy(&block), Vec::new());
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut self.id),
                "data" => data.push(value),
                _ => {}
            }
        }
        Some(Pulled { id: self.id.clone(), data: data.join("\n") })
    }
}

impl Connection {
    /// Calls of that server.
    pub fn new(context: &Context) -> Result<Self, CliError> {
        let base = context.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let problem = format!("{} does not begin with http:// or https://", context.url);
            return Err(ClientError::Url(problem).into());
        }
        Ok(Self { client: http_client()?, base, key: context.key.clone() })
    }

    /// Opens a stream of server-sent events.
    pub async fn pull(&self, target: &str) -> Result<Pull, CliError> {
        let request = Request::builder()
            .uri(format!("{}{target}", self.base))
            .header(header::ACCEPT, "text/event-stream")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Full::new(Bytes::new()))
            .map_err(|e| CliError::Usage(e.to_string()))?;
        let response = timeout(CALL_TIMEOUT, self.client.request(request)).await;
        let response = response.map_err(|_| unreachable("it does not answer"))?.map_err(|e| unreachable(chain(&e)))?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Pull { body, stream: EventStream::default() });
        }
        let body = Limited::new(body, EVENT_BYTES).collect().await.map_err(unreachable)?;
        Err(refusal(head.status.as_u16(), &serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_of_a_stream_however_it_is_cut() {
        let stream = b": hello\n\nid: 1\n\nid: 2\nevent: message.created\ndata: {\"a\":1}\n\ndata:x\ndata: y\n\nid: 3\ndata: cut";
        let expected = [("", ""), ("1", ""), ("2", "{\"a\":1}"), ("2", "x\ny")];
        for size in 1..stream.len() {
            let (mut events, mut seen) = (EventStream::default(), Vec::new());
            for piece in stream.chunks(size) {
                assert!(events.put(piece));
                seen.extend(std::iter::from_fn(|| events.take()));
            }
            let seen: Vec<_> = seen.iter().map(|it| (it.id.as_str(), it.data.as_str())).collect();
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut events = EventStream::default();
        let piece = vec![b'x'; 1 << 16];
        assert!((0..=EVENT_BYTES / piece.len()).any(|_| !events.put(&piece)));
    }
}
