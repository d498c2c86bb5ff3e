//! Webhooks and what became of their deliveries.

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, limits, now_us};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{DeadLetterRow, DeliveryRow, HeadRow, WebhookRow},
    v1::{
        CreateWebhookRequest, DeadLetter, DeleteWebhookRequest, DeleteWebhookResponse, Delivery, EnableWebhookRequest,
        GetWebhookRequest, ListDeadLettersRequest, ListDeadLettersResponse, ListDeliveriesRequest,
        ListDeliveriesResponse, ListWebhooksRequest, ListWebhooksResponse, Replay, ReplayEventRequest,
        ReplayEventsRequest, RotateWebhookSecretRequest, TestWebhookRequest, UpdateWebhookRequest, Webhook,
    },
};
use stonechat_rows::{KeyPart, Row, tables};
use stonechat_webhooks::{Change, NewWebhook, Sending, SigningKey, delivery_put, event, feed};

use super::{Service, page_size, user_id};

/// How long old secrets sign along unless something else is asked for.
pub(super) const OVERLAP_S: u64 = 86_400;
/// Reads of the log of deliveries for one page.
const READS: usize = 32;
/// Rows of one of them.
const READ_ROWS: usize = 500;

/// A webhook without its secret.
fn webhook(id: &str, row: &WebhookRow) -> Webhook {
    let key = row.secrets.first().and_then(SigningKey::from_row);
    Webhook {
        id: id.to_owned(),
        url: row.url.clone(),
        description: row.description.clone(),
        events: row.events.clone(),
        enabled: !row.disabled,
        disabled_reason: row.disabled_reason.clone(),
        signature: key.as_ref().map(|key| key.version().to_owned()).unwrap_or_default(),
        secret: String::new(),
        public_key: key.and_then(|key| key.public_text()).unwrap_or_default(),
        created_us: row.created_us,
    }
}

/// What is shown of a key, this one time: a secret; of a pair nothing, whose private half is never shown.
pub(super) fn shown_once(key: &SigningKey) -> String {
    match key {
        SigningKey::Hmac(_) => key.secret_text(),
        SigningKey::Ed25519 { .. } => String::new(),
    }
}

pub(super) fn signing_key(signature: &str, secret: &str) -> Result<SigningKey, Error> {
    let key = match (signature, secret) {
        ("" | "v1", "") => SigningKey::generate_hmac()?,
        ("v1a", "") => SigningKey::generate_ed25519()?,
        ("" | "v1", secret) if secret.starts_with("whsec_") => {
            SigningKey::parse(secret).map_err(|error| Error::invalid(error.to_string()))?
        }
        ("" | "v1" | "v1a", _) => return Err(Error::invalid("a secret of your own must be whsec_..., for v1")),
        _ => return Err(Error::invalid("signature must be v1 or v1a")),
    };
    Ok(key)
}

fn delivery(row: DeliveryRow) -> Delivery {
    let conversation = if row.log.starts_with('~') { String::new() } else { row.log };
    Delivery {
        message_id: row.message_id,
        event_type: row.r#type,
        conversation,
        seq: row.seq,
        attempt: row.attempt,
        status: row.status,
        delivered: (200..300).contains(&row.status),
        error: row.error,
        duration_ms: row.duration_ms,
        answer: row.answer,
        time_us: row.time_us,
    }
}

fn dead_letter(row: DeadLetterRow) -> DeadLetter {
    let (conversation, user) = match row.log.strip_prefix('~') {
        Some(user) => (String::new(), user.to_owned()),
        None => (row.log, String::new()),
    };
    DeadLetter {
        message_id: row.message_id,
        event_type: row.r#type,
        conversation,
        user,
        seq: row.seq,
        attempts: row.attempts,
        error: row.error,
        time_us: row.time_us,
        dead_us: row.dead_us,
    }
}

fn unavailable(error: stonechat_rows::RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about deliveries");
    Error::unavailable("rows do not answer")
}

fn wrong_token() -> Error {
    Error::invalid("page_token is none of ours")
}

impl Service {
    pub async fn create_webhook(&self, caller: &Caller, request: CreateWebhookRequest) -> Result<Webhook, Error> {
        let tenant = caller.tenant()?;
        let key = signing_key(&request.signature, &request.secret)?;
        let CreateWebhookRequest { url, description, events, .. } = request;
        let new = NewWebhook { url, description, events };
        let (id, row) = self.webhooks.create(tenant, new, &key, self.sender.outbound().rules()).await?;
        Ok(Webhook { secret: shown_once(&key), ..webhook(&id, &row) })
    }

    pub async fn get_webhook(&self, caller: &Caller, request: GetWebhookRequest) -> Result<Webhook, Error> {
        let (row, _) = self.webhooks.get(caller.tenant()?, &request.webhook).await?;
        Ok(webhook(&request.webhook, &row))
    }

    pub async fn list_webhooks(&self, caller: &Caller, _: ListWebhooksRequest) -> Result<ListWebhooksResponse, Error> {
        let found = self.webhooks.list(caller.tenant()?).await?;
        Ok(ListWebhooksResponse { webhooks: found.iter().map(|(id, row)| webhook(id, row)).collect() })
    }

    pub async fn update_webhook(&self, caller: &Caller, request: UpdateWebhookRequest) -> Result<Webhook, Error> {
        let tenant = caller.tenant()?;
        let UpdateWebhookRequest { webhook: id, url, description, events, every_event, enabled } = request;
        let events = match (events.is_empty(), every_event) {
            (false, true) => return Err(Error::invalid("either events or every_event")),
            (true, false) => None,
            _ => Some(events),
        };
        let change = Change { url, description, events, enabled };
        let row = self.webhooks.update(tenant, &id, change, self.sender.outbound().rules()).await?;
        Ok(webhook(&id, &row))
    }

    pub async fn delete_webhook(
        &self,
        caller: &Caller,
        request: DeleteWebhookRequest,
    ) -> Result<DeleteWebhookResponse, Error> {
        self.webhooks.delete(caller.tenant()?, &request.webhook).await?;
        Ok(DeleteWebhookResponse {})
    }

    pub async fn rotate_webhook_secret(
        &self,
        caller: &Caller,
        request: RotateWebhookSecretRequest,
    ) -> Result<Webhook, Error> {
        let tenant = caller.tenant()?;
        let RotateWebhookSecretRequest { webhook: id, overlap_s, secret, signature } = request;
        let (row, _) = self.webhooks.get(tenant, &id).await?;
        let present = webhook(&id, &row).signature;
        let signature = if signature.is_empty() { present } else { signature };
        let key = signing_key(&signature, &secret)?;
        let row = self.webhooks.rotate(tenant, &id, &key, overlap_s.map_or(OVERLAP_S, u64::from)).await?;
        Ok(Webhook { secret: shown_once(&key), ..webhook(&id, &row) })
    }

    pub async fn enable_webhook(&self, caller: &Caller, request: EnableWebhookRequest) -> Result<Webhook, Error> {
        let change = Change { enabled: Some(true), ..Change::default() };
        let rules = self.sender.outbound().rules();
        let row = self.webhooks.update(caller.tenant()?, &request.webhook, change, rules).await?;
        Ok(webhook(&request.webhook, &row))
    }

    pub async fn test_webhook(&self, caller: &Caller, request: TestWebhookRequest) -> Result<Delivery, Error> {
        let tenant = caller.tenant()?;
        let message_id = format!("test_{}", ConversationId::generate());
        let row = DeliveryRow { message_id, r#type: event::TEST.to_owned(), ..DeliveryRow::default() };
        self.deliver_now(tenant, &request.webhook, row, event::test_body(now_us())).await
    }

    /// Sends once, whether or not the webhook is enabled, and logs it.
    async fn deliver_now(
        &self,
        tenant: &TenantId,
        id: &str,
        row: DeliveryRow,
        body: bytes::Bytes,
    ) -> Result<Delivery, Error> {
        let (target, _) = self.webhooks.get(tenant, id).await?;
        let sent = self.sender.send(Sending { webhook: &target, message_id: &row.message_id, body }).await;
        let row = DeliveryRow {
            message_id: row.message_id,
            r#type: row.r#type,
            log: row.log,
            seq: row.seq,
            ..sent.to_row(now_us())
        };
        self.rows.write(vec![delivery_put(tenant, id, &row)]).await.map_err(unavailable)?;
        Ok(delivery(row))
    }

    pub async fn replay_event(&self, caller: &Caller, request: ReplayEventRequest) -> Result<Delivery, Error> {
        let tenant = caller.tenant()?;
        self.webhooks.get(tenant, &request.webhook).await?;
        let log = match (request.conversation.as_str(), request.user.as_str()) {
            (conversation, "") => LogId::Conversation(super::conversation_id(conversation)?),
            ("", user) => LogId::User(user_id(user)?),
            _ => return Err(Error::invalid("either conversation or user")),
        };
        let key = LogKey { tenant: tenant.clone(), log };
        let head = self.rows.get(&[tables::head(&key)]).await.map_err(unavailable)?.into_iter().flatten().next();
        let head = head.and_then(|row| HeadRow::decode(row.value).ok()).ok_or_else(|| Error::not_found("event"))?;
        let text = key.log.to_text();
        let wanted = [(&*text, head.kind, request.seq)];
        let told = feed::tell(self.rows.as_ref(), tenant, &wanted).await?.into_iter().flatten().next();
        let told = told.ok_or_else(|| Error::not_found("event"))?;
        let row = DeliveryRow {
            message_id: told.message_id,
            r#type: told.kind.to_owned(),
            log: text.to_string(),
            seq: request.seq,
            ..DeliveryRow::default()
        };
        self.deliver_now(tenant, &request.webhook, row, told.body).await
    }

    pub async fn replay_events(&self, caller: &Caller, request: ReplayEventsRequest) -> Result<Replay, Error> {
        let tenant = caller.tenant()?;
        let ReplayEventsRequest { webhook, since_us, until_us } = request;
        let until_us = if until_us == 0 { now_us() } else { until_us };
        if since_us >= until_us || since_us < 0 {
            return Err(Error::invalid("since must be a time before until"));
        }
        let id = self.webhooks.replay(tenant, &webhook, since_us, until_us).await?;
        Ok(Replay { id, since_us, until_us })
    }

    pub async fn list_deliveries(
        &self,
        caller: &Caller,
        request: ListDeliveriesRequest,
    ) -> Result<ListDeliveriesResponse, Error> {
        let tenant = caller.tenant()?;
        self.webhooks.get(tenant, &request.webhook).await?;
        let size = page_size(request.page_size);
        let now = now_us();
        let oldest = now - i64::try_from(limits::DELIVERY_TTL_S * 1_000_000).unwrap_or(i64::MAX);
        let (mut bucket, mut before) = match request.page_token.as_str() {
            "" => (tables::delivery_bucket(now), None),
            token => parse_token(token)?,
        };
        let mut deliveries = Vec::new();
        for _ in 0..READS {
            if bucket < tables::delivery_bucket(oldest) {
                return Ok(ListDeliveriesResponse { deliveries, next_page_token: String::new() });
            }
            let from = before.as_ref().map(|(time, id): &(u64, String)| (*time, id.as_str()));
            let rows = self.rows.range(tables::deliveries(tenant, &request.webhook, bucket, from, READ_ROWS));
            let rows = rows.await.map_err(unavailable)?;
            let is_last = rows.len() < READ_ROWS;
            for row in rows {
                before = Some((row.key.number(3), row.key.text(4).to_owned()));
                let found = delivery(DeliveryRow::decode(row.value).map_err(|_| Error::internal())?);
                if !(request.failed && found.delivered) {
                    deliveries.push(found);
                }
                if deliveries.len() == size {
                    let next_page_token = token(bucket, before.as_ref());
                    return Ok(ListDeliveriesResponse { deliveries, next_page_token });
                }
            }
            if is_last {
                (bucket, before) = (bucket.saturating_sub(1), None);
            }
        }
        Ok(ListDeliveriesResponse { deliveries, next_page_token: token(bucket, before.as_ref()) })
    }

    pub async fn list_dead_letters(
        &self,
        caller: &Caller,
        request: ListDeadLettersRequest,
    ) -> Result<ListDeadLettersResponse, Error> {
        let tenant = caller.tenant()?;
        self.webhooks.get(tenant, &request.webhook).await?;
        let size = page_size(request.page_size);
        let from = match request.page_token.split_once('/') {
            None if request.page_token.is_empty() => None,
            None => return Err(wrong_token()),
            Some((time, rest)) => {
                let (seq, log) = rest.split_once('/').ok_or_else(wrong_token)?;
                let number = |text: &str| text.parse::<u64>().map_err(|_| wrong_token());
                let log = LogId::parse(log).map_err(|_| wrong_token())?.to_text();
                Some(vec![KeyPart::Number(number(time)?), KeyPart::Text(log), KeyPart::Number(number(seq)?)])
            }
        };
        let range = tables::dead_letters(tenant, &request.webhook, from, size + 1);
        let mut rows = self.rows.range(range).await.map_err(unavailable)?;
        let next = if rows.len() > size { rows.pop() } else { None };
        let token = |row: Row| format!("{}/{}/{}", row.key.number(2), row.key.number(4), row.key.text(3));
        let decode = |row: Row| DeadLetterRow::decode(row.value).map(dead_letter).map_err(|_| Error::internal());
        let dead_letters = rows.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(ListDeadLettersResponse { dead_letters, next_page_token: next.map(token).unwrap_or_default() })
    }
}

/// Where a page of the log of deliveries goes on: a partition, and the attempt before which.
fn token(bucket: u64, before: Option<&(u64, String)>) -> String {
    match before {
        Some((time, id)) => format!("{bucket}/{time}/{id}"),
        None => bucket.to_string(),
    }
}

fn parse_token(text: &str) -> Result<(u64, Option<(u64, String)>), Error> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong_token());
    let Some((bucket, rest)) = text.split_once('/') else { return Ok((number(text)?, None)) };
    let (time, id) = rest.split_once('/').ok_or_else(wrong_token)?;
    let is_id = id.len() <= limits::ID_BYTES
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !is_id {
        return Err(wrong_token());
    }
    Ok((number(bucket)?, Some((number(time)?, id.to_owned()))))
}
