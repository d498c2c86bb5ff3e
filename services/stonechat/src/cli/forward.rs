//! `stonechat listen --forward-to`: a tenant's events, pulled and sent on as webhooks to a server that cannot be reached
//! from outside.

use std::time::{Duration, Instant};

use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, Uri, body::Bytes, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use stonechat_model::now_us;
use stonechat_webhooks::SigningKey;
use tokio::time::{sleep, timeout};

use super::{
    CliError, output,
    platform::{
        connection::{Connection, HttpClient, Pulled, http_client},
        context::{self, Choice},
        request::escaped,
    },
};

/// How long a receiver may take, as for webhooks.
const RECEIVER_TIMEOUT: Duration = Duration::from_secs(15);
/// The pauses after attempts that failed; after the last one the event is given up.
const PAUSES_S: [u64; 6] = [1, 2, 5, 10, 20, 30];
/// The pause before the server is asked again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// The server says something at least so often, or it is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// Where events go.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// Send every event of the tenant on to this URL, signed as webhooks are; takes a server key, not a token.
    #[arg(long, value_name = "URL", conflicts_with_all = ["all", "json"])]
    pub forward_to: Option<Uri>,
    /// A server key of the tenant; the context's when not given.
    #[arg(long, env = "STONECHAT_KEY", hide_env_values = true, requires = "forward_to")]
    key: Option<String>,
    /// A context by name, instead of the current one.
    #[arg(long, requires = "forward_to")]
    context: Option<String>,
    /// The types of events to send on, such as message.created or message.*, by commas; all when not given.
    #[arg(long, value_delimiter = ',', requires = "forward_to")]
    events: Vec<String>,
    /// The secret to sign with, whsec_...; a new one when not given.
    #[arg(long, env = "STONECHAT_WEBHOOK_SECRET", hide_env_values = true, requires = "forward_to")]
    secret: Option<String>,
    /// Go on from a cursor that was printed; from now on when not given.
    #[arg(long, requires = "forward_to")]
    cursor: Option<String>,
}

/// An event as the server gives it; the body stays as it is, since it is signed.
#[derive(Deserialize)]
struct Given<'a> {
    id: String,
    r#type: String,
    cursor: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Sends events on.
struct Forward {
    to: Uri,
    keys: [SigningKey; 1],
    client: HttpClient,
    cursor: Option<String>,
}

/// Sends a tenant's events on until it is interrupted or the server refuses.
pub async fn forward(args: ForwardArgs, to: Uri, url: Option<String>) -> Result<(), CliError> {
    if to.scheme().is_none() || to.host().is_none() {
        return Err(CliError::Usage(format!("{to} is no URL")));
    }
    let context = context::choose(Choice { context: args.context, url, key: args.key })?;
    if context.key.is_empty() {
        return Err(CliError::Usage("a server key is missing: give --key, STONECHAT_KEY or a context".to_owned()));
    }
    let key = match &args.secret {
        Some(secret) => SigningKey::parse(secret).map_err(|error| CliError::Usage(error.to_string()))?,
        None => SigningKey::generate_hmac().map_err(|error| CliError::Failed(error.to_string()))?,
    };
    output::note(&format!("events of {} go to {to}, signed with {}", context.url, key.secret_text()));
    let connection = Connection::new(&context)?;
    let mut forward = Forward { to, keys: [key], client: http_client()?, cursor: args.cursor };
    let mut backoff = BACKOFF.0;
    loop {
        let began = Instant::now();
        match forward.follow(&connection, &args.events).await {
            Ok(()) => output::note("the server ended the stream; going on from the cursor"),
            Err(error) if error.is_passing() => output::note(&format!("{error}; going on from the cursor")),
            Err(error) => {
                if let Some(cursor) = &forward.cursor {
                    output::note(&format!("ended at cursor {cursor}"));
                }
                return Err(error);
            }
        }
        backoff = if began.elapsed() > BACKOFF.1 { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        sleep(backoff).await;
    }
}

impl Forward {
    /// Sends on what comes over one request.
    async fn follow(&mut self, connection: &Connection, events: &[String]) -> Result<(), CliError> {
        let mut query: Vec<String> = Vec::new();
        if !events.is_empty() {
            query.push(format!("events={}", escaped(&events.join(","))));
        }
        if let Some(cursor) = &self.cursor {
            query.push(format!("cursor={}", escaped(cursor)));
        }
        let mut pulled = connection.pull(&format!("/v1/events?{}", query.join("&"))).await?;
        loop {
            match timeout(SILENCE, pulled.next()).await {
                Err(_) => return Ok(()),
                Ok(next) => match next? {
                    None => return Ok(()),
                    Some(Pulled { id, data }) if data.is_empty() => self.cursor = Some(id),
                    Some(Pulled { data, .. }) => {
                        let given: Given = serde_json::from_str(&data)
                            .map_err(|error| CliError::Failed(format!("event is none: {error}")))?;
                        self.deliver(&given).await;
                        self.cursor = Some(given.cursor);
                    }
                },
            }
        }
    }

    /// Tries until the receiver takes it, or gives it up; says what became of it.
    async fn deliver(&self, event: &Given<'_>) {
        for pause in PAUSES_S.iter().map(Some).chain([None]) {
            let began = Instant::now();
            let became = self.attempt(event).await;
            let took = began.elapsed().as_millis();
            match became {
                Ok(status) if status.is_success() => {
                    output::line(&format!("{} {} {} in {took} ms", event.r#type, event.id, status.as_u16()));
                    return;
                }
                Ok(status) => output::line(&format!("{} {} {}", event.r#type, event.id, status.as_u16())),
                Err(reason) => output::line(&format!("{} {} failed: {reason}", event.r#type, event.id)),
            }
            match pause {
                Some(pause) => sleep(Duration::from_secs(*pause)).await,
                None => output::note(&format!("{} is given up; the next ones go on", event.id)),
            }
        }
    }

    async fn attempt(&self, event: &Given<'_>) -> Result<StatusCode, String> {
        let body = Bytes::copy_from_slice(event.body.get().as_bytes());
        let mut request = Request::builder().method(Method::POST).uri(self.to.clone());
        if let Some(headers) = request.headers_mut() {
            headers.extend(stonechat_webhooks::headers(&self.keys, &event.id, now_us() / 1_000_000, &body));
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (head, mut body) = response.into_parts();
            // The answer's body means nothing; what has come of it is enough to keep the connection.
            let _ = body.frame().await;
            Ok(head.status)
        };
        timeout(RECEIVER_TIMEOUT, answered).await.map_err(|_| "no answer in time".to_owned())?
    }
}
