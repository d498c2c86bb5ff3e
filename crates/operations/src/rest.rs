//! The REST form: who calls, the request out of path, query and body, then the operation.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, MatchedPath, Path, Query, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use futures::StreamExt as _;
use serde_json::{Map, Value};
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, limits};
use tracing::Instrument as _;

use crate::{
    Answer, Body as Brings, Caller, Gate, Http, Input, Operation, Place, Repeat,
    answers::{self, Begun},
    audit::{Attempt, is_audited},
    budgets, coerce, gate, inputs,
};

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
                let is_audited = is_audited(route.operation);
                let work = async move {
                    let answered = Box::pin(route.answer(&gate, backend.as_ref(), request)).await;
                    answered.unwrap_or_else(IntoResponse::into_response)
                };
                if !is_audited {
                    return work.await;
                }
                // Done to its end, and written down, though the caller has gone.
                let done = tokio::spawn(work.in_current_span()).await;
                done.unwrap_or_else(|_| Error::internal().into_response())
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

/// The answer to a request with JSON.
struct Answered {
    status: u16,
    body: Vec<u8>,
    /// Whether it was done before, and this is its first answer.
    is_replayed: bool,
}

impl Route {
    async fn answer<B: Backend>(&self, gate: &Gate, backend: &B, request: Request) -> Result<Response, Error> {
        let (parts, body) = request.into_parts();
        let authorization = header_text(&parts.headers, header::AUTHORIZATION);
        let caller = gate.identify(authorization, header_text(&parts.headers, "stonechat-device")).await?;
        let (taken, admitted) = gate.admit(self.operation, &caller);
        let answered = match admitted {
            Ok(()) => Box::pin(self.perform(gate, backend, caller, (parts, body))).await,
            Err(error) => {
                if is_audited(self.operation) {
                    let attempt = Attempt::new(self.operation, &caller, &Fields::new(), &peer(&parts));
                    gate.ended::<()>(self.operation, &caller, Some(attempt), &Err(error.clone())).await;
                }
                Err(error)
            }
        };
        let mut response = answered.unwrap_or_else(IntoResponse::into_response);
        budgets::tell(&taken, response.headers_mut());
        Ok(response)
    }

    async fn perform<B: Backend>(
        &self,
        gate: &Gate,
        backend: &B,
        caller: Caller,
        (mut parts, body): (Parts, Body),
    ) -> Result<Response, Error> {
        let (mut fields, body) = match self.operation.body {
            Brings::Fields => (read_body(&parts, body).await?, Body::empty()),
            Brings::Raw(_) => (Fields::new(), body),
        };
        self.add(&mut parts, &mut fields).await?;
        let key = idempotency_key(self.operation, &parts)?;
        if let (Repeat::ClientId, Some(key)) = (self.operation.repeat, key) {
            fields.insert("client_id".to_owned(), Value::String(client_id_of(&caller, &parts, key)));
        }
        let attempt = is_audited(self.operation).then(|| Attempt::new(self.operation, &caller, &fields, &peer(&parts)));
        let call = Call { operation: self.operation, caller: caller.clone(), fields };
        if self.operation.is_raw() {
            let result = backend.raw(call, parts.headers, body).await;
            // A body is not for two threads at once, so what is told is without it.
            let became = result.as_ref().map(drop).map_err(Clone::clone);
            gate.ended(self.operation, &caller, attempt, &became).await;
            return result;
        }
        let result = match (self.operation.repeat, key) {
            (Repeat::Stored, Some(key)) => self.once(gate, backend, call, key).await,
            _ => self.now(backend, call).await,
        };
        let is_replayed = result.as_ref().is_ok_and(|answered| answered.is_replayed);
        gate.ended(self.operation, &caller, attempt.filter(|_| !is_replayed), &result).await;
        result.map(Answered::into_response)
    }

    async fn now<B: Backend>(&self, backend: &B, call: Call) -> Result<Answered, Error> {
        let body = backend.call(call).await?;
        Ok(Answered { status: self.operation.status, body, is_replayed: false })
    }

    /// Does what was not done under this key, or gives the first answer.
    async fn once<B: Backend>(&self, gate: &Gate, backend: &B, call: Call, key: &str) -> Result<Answered, Error> {
        let content = serde_json::to_vec(&(self.operation.rpc(), &call.fields)).map_err(|_| Error::internal())?;
        let identity = call.caller.identity();
        let tenant = call.caller.tenant_id().map(ToString::to_string).unwrap_or_default();
        let request = answers::Request { tenant: &tenant, caller: &identity, key, content: &content };
        let work = match gate.answers.begin(&request).await? {
            Begun::Before(status, body) => return Ok(Answered { status, body, is_replayed: true }),
            Begun::Now(work) => work,
        };
        let result = self.now(backend, call).await;
        match &result {
            Ok(answered) => work.done(answered.status, &answered.body).await,
            // What was refused changed nothing, and may be asked again when its reason is gone.
            Err(_) => work.gave_up().await,
        }
        result
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

impl Answered {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response();
        if self.is_replayed {
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

fn peer(parts: &Parts) -> String {
    gate::source(parts.extensions.get())
}

/// The `Idempotency-Key` of a request to which it means something.
fn idempotency_key<'a>(operation: &Operation, parts: &'a Parts) -> Result<Option<&'a str>, Error> {
    let Some(value) = parts.headers.get("idempotency-key") else { return Ok(None) };
    if !matches!(operation.repeat, Repeat::ClientId | Repeat::Stored) {
        return Ok(None);
    }
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Error::invalid(format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES} characters of ASCII"))),
    }
}

/// The client id that an `Idempotency-Key` stands for: a UUID itself, any other text by name.
fn client_id_of(caller: &Caller, parts: &Parts, key: &str) -> String {
    let id = ClientId::parse(key).unwrap_or_else(|_| {
        let name = format!("{}\0{}\0{}\0{key}", caller.identity(), parts.method, parts.uri.path());
        ClientId::from_name(name.as_bytes())
    });
    id.to_string()
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
