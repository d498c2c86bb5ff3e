//! The REST form: who calls, the request out of path, query and body, then the operation.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, MatchedPath, Path, Query, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use futures::StreamExt as _;
use serde_json::{Map, Value};
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, limits};

use crate::{Answer, Body as Brings, Caller, Gate, Http, Input, Operation, Place, Repeat, coerce, inputs};

/// The longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Where reading a body that is too large ends.
const DROPPED_BODY_BYTES: usize = 8 * limits::HTTP_BODY_BYTES;
/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(limits::HTTP_BODY_TIMEOUT_S);

/// The fields of a request.
pub type Fields = Map<String, Value>;

/// A request whose caller is known and may.
#[derive(Debug)]
pub struct Call {
    /// What is called.
    pub operation: &'static Operation,
    /// Who calls.
    pub caller: Caller,
    /// The request's fields, as the RPC's message has them.
    pub fields: Fields,
}

/// What does the operations of a table; [`serve!`](crate::serve!) makes one.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Does an operation; gives its answer as JSON.
    async fn call(&self, call: Call) -> Result<Vec<u8>, Error>;

    /// Does an operation that [reads its request or writes its answer itself](Operation::is_raw). The fields of the
    /// call are those of path and query, unless the body is one of fields. The status is the service's to set.
    async fn raw(&self, call: Call, headers: HeaderMap, body: Body) -> Result<Response, Error> {
        let _ = (headers, body);
        tracing::error!(operation = call.operation.method, "operation is not served");
        Err(Error::internal())
    }
}

/// A table's operation, with what is known of it from the contract.
struct Route {
    operation: &'static Operation,
    inputs: Vec<Input>,
}

/// The routes of a table. What they do not know is for others to answer: there is no fallback.
pub fn routes<B: Backend>(gate: &Arc<Gate>, backend: &Arc<B>, operations: &'static [Operation]) -> Router {
    let mut router = Router::new();
    for operation in operations {
        let route = Arc::new(Route { operation, inputs: inputs(operation) });
        let (gate, backend) = (Arc::clone(gate), Arc::clone(backend));
        let handler = move |request: Request| {
            let (gate, backend, route) = (Arc::clone(&gate), Arc::clone(&backend), Arc::clone(&route));
            async move {
                let answered = Box::pin(route.answer(&gate, backend.as_ref(), request)).await;
                answered.unwrap_or_else(IntoResponse::into_response)
            }
        };
        router = router.route(operation.path, on(filter(operation.http), handler));
    }
    router.method_not_allowed_fallback(method_not_allowed).layer(middleware::from_fn(measure))
}

fn filter(http: Http) -> MethodFilter {
    match http {
        Http::Get => MethodFilter::GET,
        Http::Post => MethodFilter::POST,
        Http::Put => MethodFilter::PUT,
        Http::Patch => MethodFilter::PATCH,
        Http::Delete => MethodFilter::DELETE,
    }
}

fn header_text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Route {
    async fn answer<B: Backend>(&self, gate: &Gate, backend: &B, request: Request) -> Result<Response, Error> {
        let (mut parts, body) = request.into_parts();
        let authorization = header_text(&parts.headers, header::AUTHORIZATION);
        let caller = gate.identify(authorization, header_text(&parts.headers, "stonechat-device")).await?;
        gate.admit(self.operation, &caller).await?;
        if self.operation.is_raw() {
            let (mut fields, body) = match self.operation.body {
                Brings::Fields => (read_body(&parts, body).await?, Body::empty()),
                Brings::Raw(_) => (Fields::new(), body),
            };
            self.add(&mut parts, &mut fields).await?;
            let call = Call { operation: self.operation, caller, fields };
            return backend.raw(call, parts.headers, body).await;
        }
        let mut fields = read_body(&parts, body).await?;
        self.add(&mut parts, &mut fields).await?;
        if self.operation.repeat == Repeat::ClientId
            && let Some(key) = header_text(&parts.headers, "idempotency-key")
        {
            fields.insert("client_id".to_owned(), Value::String(client_id_of(&caller, &parts, key)?));
        }
        let call = Call { operation: self.operation, caller, fields };
        let answer = backend.call(call).await?;
        let status = StatusCode::from_u16(self.operation.status).unwrap_or(StatusCode::OK);
        Ok((status, [(header::CONTENT_TYPE, "application/json")], answer).into_response())
    }

    /// Adds what stands in query and path, and brings all into the message's shape. What stands in the path counts
    /// before what stands in the query, and that before what stands in the body.
    async fn add(&self, parts: &mut Parts, fields: &mut Fields) -> Result<(), Error> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, &()).await;
        let Query(query) = query.map_err(|e| Error::invalid(format!("query: {e}")))?;
        for (name, text) in query {
            let input = self.inputs.iter().find(|input| input.name == name && input.place != Place::Path);
            if let Some(input) = input {
                let value = coerce::from_query(&name, &input.field, &text)?;
                fields.insert(name, value);
            }
        }
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, &()).await;
        let Path(path) = path.map_err(|e| Error::invalid(format!("path: {e}")))?;
        for (name, text) in path {
            let input = self.inputs.iter().find(|input| input.name == name);
            let parameter = self.operation.path_parameters().find(|parameter| *parameter == name);
            if let (Some(input), Some(parameter)) = (input, parameter) {
                fields.insert(name, coerce::from_path(parameter, &input.field, &text)?);
            }
        }
        self.operation.shape.apply(&self.inputs, fields);
        Ok(())
    }
}

/// The client id that an `Idempotency-Key` stands for: a UUID itself, any other text by name.
fn client_id_of(caller: &Caller, parts: &Parts, key: &str) -> Result<String, Error> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES {
        return Err(Error::invalid(format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES} characters")));
    }
    let id = ClientId::parse(key).unwrap_or_else(|_| {
        let name = format!("{}\0{}\0{}\0{key}", caller.identity(), parts.method, parts.uri.path());
        ClientId::from_name(name.as_bytes())
    });
    Ok(id.to_string())
}

/// A body's bytes. Of one that is too large some more is read and dropped: a connection that is closed while the
/// peer still sends is reset, and the peer never sees why.
async fn read_bytes(body: Body) -> Result<Vec<u8>, Error> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Error::invalid("body broke off"))?;
        length += chunk.len();
        if length <= limits::HTTP_BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        } else if length > DROPPED_BODY_BYTES {
            break;
        } else {
            bytes = Vec::new();
        }
    }
    if length <= limits::HTTP_BODY_BYTES {
        return Ok(bytes);
    }
    Err(Error::new(Code::TooLarge, format!("body is larger than {} bytes", limits::HTTP_BODY_BYTES)))
}

async fn read_body(parts: &Parts, body: Body) -> Result<Fields, Error> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read_bytes(body));
    let bytes = reading.await.map_err(|_| Error::new(Code::DeadlineExceeded, "body did not come in time"))??;
    if bytes.is_empty() {
        return Ok(Fields::new());
    }
    let content_type = header_text(&parts.headers, header::CONTENT_TYPE).unwrap_or("application/json");
    if !content_type.starts_with("application/json") {
        return Err(Error::invalid("content type must be application/json"));
    }
    stonechat_commands::check_depth("body", &bytes, limits::JSON_DEPTH)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid("body must be a JSON object")),
        Err(error) => Err(Error::invalid(format!("body is no JSON: {error}"))),
    }
}

async fn method_not_allowed() -> Response {
    let error = Error::invalid("this path does not take this method");
    error.into_response_with(StatusCode::METHOD_NOT_ALLOWED)
}

async fn measure(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let route = path.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let method: Method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let seconds = started.elapsed().as_secs_f64();
    metrics::histogram!("stonechat_api_request_seconds", "route" => route.clone()).record(seconds);
    let method = method.to_string();
    metrics::counter!("stonechat_api_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

/// Reads an example as [`routes`] would. For [`serve!`](crate::serve!).
#[doc(hidden)]
pub fn check_example<Q, A>(operation: &Operation) -> Result<(), String>
where
    Q: serde::de::DeserializeOwned,
    A: serde::de::DeserializeOwned + serde::Serialize,
{
    let example = operation.example;
    let read = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("{text}: {error}"));
    let Value::Object(mut fields) = read(example.request)? else { return Err("request is no object".to_owned()) };
    let known = inputs(operation);
    for name in fields.keys() {
        if !known.iter().any(|input| input.name == *name) {
            return Err(format!("request has no field {name}"));
        }
    }
    for input in known.iter().filter(|input| input.is_required) {
        if !fields.contains_key(&input.name) {
            return Err(format!("{} is missing in the request", input.name));
        }
    }
    operation.shape.apply(&known, &mut fields);
    crate::parse::<Q>(fields).map_err(|error| error.to_string())?;
    if operation.answer != Answer::Json {
        return Ok(());
    }
    let answer = read(example.answer)?;
    let parsed: A = serde_json::from_value(answer.clone()).map_err(|error| format!("answer: {error}"))?;
    let written = serde_json::to_value(parsed).map_err(|error| error.to_string())?;
    if written == answer { Ok(()) } else { Err(format!("the answer is written as {written}")) }
}
