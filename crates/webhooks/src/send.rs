//! One delivery: signed, sent, and what came of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use stonechat_model::{limits, now_us};
use stonechat_outbound::{Outbound, Request, Target};
use stonechat_proto::internal::v1::{DeliveryRow, WebhookRow, WebhookSecret};

use crate::{Outcome, SigningKey, headers};

/// Sends deliveries.
#[derive(Clone)]
pub struct Sender {
    outbound: Outbound,
    timeout: Duration,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Sending<'a> {
    /// The webhook.
    pub webhook: &'a WebhookRow,
    /// The id of the message.
    pub message_id: &'a str,
    /// The body.
    pub body: Bytes,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What it means.
    pub outcome: Outcome,
    /// The HTTP status; 0 without an answer.
    pub status: u16,
    /// Why there was no answer.
    pub error: String,
    /// How long it took.
    pub duration: Duration,
    /// The beginning of the answer's body, as text.
    pub answer: String,
}

impl Sender {
    /// Sends with this client; an answer must come within `timeout`.
    pub fn new(outbound: Outbound, timeout: Duration) -> Self {
        Self { outbound, timeout }
    }

    /// The client.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Sends once.
    pub async fn send(&self, sending: Sending<'_>) -> Sent {
        let begun = Instant::now();
        let now = now_us();
        let keys = live_keys(&sending.webhook.secrets, now);
        let target = match Target::parse(&sending.webhook.url, self.outbound.rules()) {
            Ok(target) => target,
            Err(error) => return Sent::failed(error.to_string(), begun.elapsed()),
        };
        let headers = headers(&keys, sending.message_id, now / 1_000_000, &sending.body);
        let answer_bytes = limits::WEBHOOK_ANSWER_BYTES;
        let request = Request { target, headers, body: sending.body, timeout: self.timeout, answer_bytes };
        let answer = self.outbound.post(request).await;
        let outcome = Outcome::of(&answer, now_us());
        match answer {
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body).replace('\0', "\u{fffd}");
                let (status, error) = (answer.status, String::new());
                Sent { outcome, status, error, duration: begun.elapsed(), answer: text }
            }
            Err(error) => Sent::failed(error.to_string(), begun.elapsed()),
        }
    }
}

impl Sent {
    fn failed(error: String, duration: Duration) -> Self {
        let outcome = Outcome::Failed { retry_after: None };
        Self { outcome, status: 0, error, duration, answer: String::new() }
    }

    /// As the log of deliveries keeps it, without what was sent.
    pub fn to_row(&self, time_us: i64) -> DeliveryRow {
        DeliveryRow {
            status: u32::from(self.status),
            error: self.error.clone(),
            duration_ms: u32::try_from(self.duration.as_millis()).unwrap_or(u32::MAX),
            answer: self.answer.clone(),
            time_us,
            ..DeliveryRow::default()
        }
    }

    /// What came of it, for people.
    pub fn summary(&self) -> String {
        if self.error.is_empty() { format!("status {}", self.status) } else { self.error.clone() }
    }
}

/// The keys that sign now, the newest first.
pub(crate) fn live_keys(secrets: &[WebhookSecret], now_us: i64) -> Vec<SigningKey> {
    let live = secrets.iter().filter(|secret| secret.expires_us == 0 || secret.expires_us > now_us);
    live.filter_map(SigningKey::from_row).collect()
}
