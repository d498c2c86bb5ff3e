//! The REST form: who calls, the request out of path, query and body, then the operation.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, MatchedPath, Path, Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post, put},
};
use futures::StreamExt as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use stonechat_errors::{Code, Error};
use stonechat_model::{ClientId, limits};

use crate::{caller::Caller, service::Service};

/// The longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Where reading a body that is too large ends.
const DROPPED_BODY_BYTES: usize = 8 * limits::HTTP_BODY_BYTES;
/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(limits::HTTP_BODY_TIMEOUT_S);

type Fields = Map<String, Value>;

/// A request: who calls, and its fields from body, query and path. What stands in the path counts before what
/// stands in the query, and that before what stands in the body.
struct Call {
    caller: Caller,
    fields: Fields,
}

/// How the fields of a REST request stand in its message, where they do not stand there as they are.
#[derive(Clone, Copy)]
enum Shape {
    /// As they are.
    Same,
    /// What a message says is in its field `message`.
    Message,
    /// A new user's `id` is the field `user`.
    UserId,
    /// The one `user` of the path is in the list `users`.
    Users,
    /// `users` is a list with commas between.
    UserList,
}

/// What a message says.
const CONTENT: &[&str] = &["text", "mentions", "reply_to", "attachments", "custom"];

impl Shape {
    fn apply(self, fields: &mut Fields) {
        let mut rename = |from: &str, to: &str, change: fn(Value) -> Value| {
            if let Some(value) = fields.remove(from) {
                fields.insert(to.to_owned(), change(value));
            }
        };
        match self {
            Self::Same => {}
            Self::UserId => rename("id", "user", |id| id),
            Self::Users => rename("user", "users", |user| Value::Array(vec![user])),
            Self::UserList => rename("users", "users", |users| match users.as_str() {
                Some(text) => text.split(',').map(Value::from).collect(),
                None => users,
            }),
            Self::Message => {
                let content = CONTENT.iter().filter_map(|name| Some(((*name).to_owned(), fields.remove(*name)?)));
                let content: Fields = content.collect();
                fields.insert("message".to_owned(), Value::Object(content));
            }
        }
    }
}

fn header_text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Call {
    async fn read(service: &Service, request: Request) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let authorization = header_text(&parts.headers, header::AUTHORIZATION);
        let device = header_text(&parts.headers, "stonechat-device");
        let caller = service.identify(authorization, device).await?;
        let mut fields = read_body(&parts, body).await?;
        add_query(&mut parts, &mut fields).await?;
        add_path(&mut parts, &mut fields).await?;
        if parts.method != Method::GET
            && let Some(key) = header_text(&parts.headers, "idempotency-key")
        {
            let client_id = client_id_of(&caller, &parts, key)?;
            fields.insert("client_id".to_owned(), Value::String(client_id));
        }
        Ok(Self { caller, fields })
    }

    fn into_request<T: DeserializeOwned>(mut self, shape: Shape) -> Result<(Caller, T), Error> {
        shape.apply(&mut self.fields);
        let request = serde_json::from_value(Value::Object(self.fields));
        Ok((self.caller, request.map_err(|e| Error::invalid(e.to_string()))?))
    }
}

/// The client id that an `Idempotency-Key` stands for: a UUID itself, any other text by name.
fn client_id_of(caller: &Caller, parts: &Parts, key: &str) -> Result<String, Error> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES {
        return Err(Error::invalid(format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES} characters")));
    }
    let id = ClientId::parse(key).unwrap_or_else(|_| {
        let name = format!("{caller:?}\0{}\0{}\0{key}", parts.method, parts.uri.path());
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

async fn add_query(parts: &mut Parts, fields: &mut Fields) -> Result<(), Error> {
    let query = Query::<Vec<(String, String)>>::from_request_parts(parts, &()).await;
    let Query(query) = query.map_err(|e| Error::invalid(format!("query: {e}")))?;
    for (name, text) in query {
        let is_number = matches!(name.as_str(), "page_size" | "before" | "after" | "around");
        let value = match is_number {
            true => Value::from(text.parse::<u64>().map_err(|_| Error::invalid(format!("{name} must be a number")))?),
            false => Value::String(text),
        };
        fields.insert(name, value);
    }
    Ok(())
}

async fn add_path(parts: &mut Parts, fields: &mut Fields) -> Result<(), Error> {
    let path = Path::<Vec<(String, String)>>::from_request_parts(parts, &()).await;
    let Path(path) = path.map_err(|e| Error::invalid(format!("path: {e}")))?;
    for (name, text) in path {
        let value = match name.as_str() {
            "seq" => Value::from(text.parse::<u64>().map_err(|_| Error::not_found("message"))?),
            _ => Value::String(text),
        };
        fields.insert(name, value);
    }
    Ok(())
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "answer could not be written");
            Error::internal().into_response()
        }
    }
}

/// A handler of one operation.
macro_rules! operation {
    ($method:ident) => {
        operation!($method, OK, Same)
    };
    ($method:ident, $status:ident) => {
        operation!($method, $status, Same)
    };
    ($method:ident, $status:ident, $shape:ident) => {
        |State(service): State<Arc<Service>>, request: Request| async move {
            let answered = async {
                let (caller, request) = Call::read(&service, request).await?.into_request(Shape::$shape)?;
                service.$method(&caller, request).await
            };
            match answered.await {
                Ok(value) => answer(StatusCode::$status, &value),
                Err(error) => error.into_response(),
            }
        }
    };
}

/// Every route.
pub(crate) fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .merge(tenants())
        .merge(users())
        .merge(conversations())
        .merge(messages())
        .fallback(|| async { Error::not_found("path").into_response() })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(measure))
        .with_state(service)
}

fn tenants() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/tenants", post(operation!(create_tenant, CREATED)).get(operation!(list_tenants)))
        .route("/v1/tenants/{tenant}", get(operation!(get_tenant)))
        .route("/v1/tenants/{tenant}/keys", post(operation!(create_key, CREATED)).get(operation!(list_keys)))
        .route("/v1/tenants/{tenant}/keys/{key}", delete(operation!(disable_key)))
        .route("/v1/tenants/{tenant}/keys/{key}/disable", post(operation!(disable_key)))
}

fn users() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/users", post(operation!(upsert_user, CREATED, UserId)).get(operation!(list_users)))
        .route("/v1/statuses", get(operation!(list_statuses, OK, UserList)))
        .route("/v1/users/{user}", put(operation!(upsert_user)).get(operation!(get_user)))
        .route("/v1/users/{user}/deactivate", post(operation!(deactivate_user)))
        .route("/v1/users/{user}/activate", post(operation!(activate_user)))
        .route("/v1/users/{user}/revoke", post(operation!(revoke_tokens)))
}

fn conversations() -> Router<Arc<Service>> {
    const CONVERSATION: &str = "/v1/conversations/{conversation}";
    let of = |rest: &str| format!("{CONVERSATION}{rest}");
    Router::new()
        .route("/v1/conversations", post(operation!(create_conversation, CREATED)).get(operation!(list_conversations)))
        .route(
            CONVERSATION,
            get(operation!(get_conversation))
                .patch(operation!(update_conversation))
                .delete(operation!(dismiss_conversation)),
        )
        .route(&of("/preferences"), patch(operation!(update_preferences)))
        .route(&of("/dismiss"), post(operation!(dismiss_conversation)))
        .route(&of("/upgrade"), post(operation!(upgrade_conversation)))
        .route(&of("/transfer"), post(operation!(transfer_conversation)))
        .route(&of("/leave"), post(operation!(leave_conversation)))
        .route(
            &of("/members"),
            post(operation!(add_members)).delete(operation!(remove_members)).get(operation!(list_members)),
        )
        .route(&of("/members/{user}"), patch(operation!(set_member_role)).delete(operation!(remove_members, OK, Users)))
        .route(&of("/members/{user}/mute"), post(operation!(mute_member)))
}

fn messages() -> Router<Arc<Service>> {
    const MESSAGES: &str = "/v1/conversations/{conversation}/messages";
    let of = |rest: &str| format!("{MESSAGES}{rest}");
    Router::new()
        .route(MESSAGES, post(operation!(send_message, CREATED, Message)).get(operation!(list_messages)))
        .route(&of("/{seq}"), patch(operation!(edit_message, OK, Message)).delete(operation!(recall_message)))
        .route(&of("/{seq}/reactions"), post(operation!(add_reaction)))
        .route(&of("/{seq}/reactions/{emoji}"), put(operation!(add_reaction)).delete(operation!(remove_reaction)))
        .route(&of("/{seq}/hide"), post(operation!(hide_message)))
        .route(&of("/{seq}/pin"), put(operation!(pin_message)).delete(operation!(unpin_message)))
        .route("/v1/conversations/{conversation}/read", post(operation!(mark_read)))
}

async fn method_not_allowed() -> Response {
    let error = Error::invalid("this path does not take this method");
    error.into_response_with(StatusCode::METHOD_NOT_ALLOWED)
}

async fn measure(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let route = path.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().to_string();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let seconds = started.elapsed().as_secs_f64();
    metrics::histogram!("stonechat_api_request_seconds", "route" => route.clone()).record(seconds);
    metrics::counter!("stonechat_api_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}
