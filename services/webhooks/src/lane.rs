//! The shell of a lane: reads the feed, makes attempts, writes down how far it is and what became of deliveries.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use prost::Message as _;
use rand::Rng as _;
use stonechat_errors::Error;
use stonechat_model::{TenantId, limits, now_us};
use stonechat_proto::internal::v1::{DeadLetterRow, DeliveryRow, HeldLog, LaneRow, ReplayJob};
use stonechat_rows::{Put, Rows, tables};
use stonechat_webhooks::{
    Attempt, Entry, Held, Lane, Next, Outcome, Sending, Verdict, event,
    feed::{self, Told},
    lane_put,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{directory::Webhook, run::Shared};

/// How often a busy lane writes down how far it is; what is in between is delivered again after a crash.
const KEEP_EVERY_US: i64 = 300_000;
/// A lane without work ends after this.
const LINGER: Duration = Duration::from_secs(20);
/// Entries of the feed that are read at once.
const READ_ENTRIES: usize = 256;
/// Room for which a busy lane reads on.
const FILL_FROM: usize = 64;
/// The pause after rows did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Delivery log rows that wait to be written with the lane's place.
const LOG_ROWS: usize = 64;

/// Which lane: a webhook's, or that of one of its replays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LaneName {
    pub tenant: TenantId,
    pub webhook: String,
    pub replay: Option<String>,
}

impl LaneName {
    fn text(&self) -> String {
        match &self.replay {
            Some(replay) => format!("{}~{replay}", self.webhook),
            None => self.webhook.clone(),
        }
    }

    async fn row(&self, rows: &dyn Rows, partition: u32) -> Result<LaneRow, Error> {
        let key = tables::webhook_lane(&self.tenant, &self.text(), partition);
        let found = rows.get(&[key]).await.map_err(|error| Error::unavailable(error.to_string()))?;
        match found.into_iter().flatten().next() {
            Some(row) => LaneRow::decode(row.value).map_err(|_| Error::internal()),
            None => Ok(LaneRow::default()),
        }
    }

    /// Whether there is something to do up to `head`.
    pub async fn is_behind(&self, rows: &dyn Rows, partition: u32, head: u64) -> Result<bool, Error> {
        let row = self.row(rows, partition).await?;
        Ok(row.position < head || !row.held.is_empty())
    }
}

/// A lane at work.
pub(crate) struct LaneTask {
    name: LaneName,
    partition: u32,
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    kept: LaneRow,
    kept_us: i64,
    log: Vec<Put>,
}

/// An attempt that was made.
struct Made {
    attempt: Attempt,
    told: Option<Told>,
    outcome: Outcome,
    row: Option<DeliveryRow>,
}

impl LaneTask {
    pub fn new(name: LaneName, partition: u32, shared: Arc<Shared>, head: watch::Receiver<u64>) -> Self {
        Self { name, partition, shared, head, kept: LaneRow::default(), kept_us: 0, log: Vec::new() }
    }

    /// Works until there is nothing to do for a while, the webhook is disabled or deleted, or the end.
    pub async fn run(mut self, end: CancellationToken) {
        loop {
            let worked = Box::pin(self.work(&end)).await;
            let Err(error) = worked else { return };
            tracing::warn!(tenant.id = %self.name.tenant, webhook.id = self.name.webhook, %error, "webhook waits");
            if end.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                return;
            }
        }
    }

    fn webhook(&self) -> Option<Arc<Webhook>> {
        let webhook = self.shared.directory.webhook(&self.name.tenant, &self.name.webhook)?;
        (!webhook.row.disabled).then_some(webhook)
    }

    async fn work(&mut self, end: &CancellationToken) -> Result<(), Error> {
        self.log.clear();
        self.kept = self.name.row(self.shared.rows.as_ref(), self.partition).await?;
        let mut lane = self.restore();
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        let mut flying = FuturesUnordered::new();
        while let Some(webhook) = self.webhook() {
            let head = *self.head.borrow_and_update();
            self.fill(&mut lane, &webhook, head).await?;
            lane.pause_until(webhook.paused_until_us());
            let wait_us = loop {
                match lane.next(now_us()) {
                    Next::Attempt(attempt) => {
                        flying.push(attempt_of(&shared, &name, Arc::clone(&webhook), attempt));
                    }
                    Next::Wait(us) => break Some(us),
                    Next::Nothing => break None,
                }
            };
            let is_idle = flying.is_empty() && lane.is_idle() && lane.read() >= head;
            self.keep(&lane, is_idle).await?;
            let rest = match wait_us {
                Some(us) => Duration::from_micros(u64::try_from(us - now_us()).unwrap_or(0)),
                None => LINGER,
            };
            let changed = shared.directory.changed();
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                Some((tried, made)) = flying.next(), if !flying.is_empty() => {
                    if !self.conclude(&mut lane, made, &tried).await? {
                        break;
                    }
                }
                told = self.head.changed() => if told.is_err() { break },
                () = changed => {}
                () = tokio::time::sleep(rest) => {
                    if is_idle && wait_us.is_none() {
                        break;
                    }
                }
            }
        }
        drop(flying);
        self.keep(&lane, true).await
    }

    fn restore(&self) -> Lane {
        let held = self.kept.held.iter().map(|held| Held {
            log: held.log.as_str().into(),
            kind: held.kind,
            seq: held.seq,
            attempts: held.attempts,
            due_us: held.due_us,
            parked_to: (held.parked_to_seq > 0).then_some(held.parked_to_seq),
        });
        let failing = (self.kept.failing_since_us > 0).then_some(self.kept.failing_since_us);
        Lane::new(self.shared.config.lane_rules(), self.kept.position, held.collect(), failing)
    }

    fn replay<'a>(&self, webhook: &'a Webhook) -> Option<&'a ReplayJob> {
        let id = self.name.replay.as_ref()?;
        webhook.row.replays.iter().find(|job| job.id == *id)
    }

    /// Takes in what the feed has and there is room for.
    async fn fill(&self, lane: &mut Lane, webhook: &Webhook, head: u64) -> Result<(), Error> {
        let replay = self.replay(webhook);
        loop {
            let room = lane.room().min(READ_ENTRIES);
            // Reading a few at a time as single deliveries end would cost more than it gains.
            let is_little = room < FILL_FROM && !lane.is_idle();
            if room == 0 || is_little || lane.read() >= head {
                return Ok(());
            }
            let (rows, tenant) = (self.shared.rows.as_ref(), &self.name.tenant);
            let entries = feed::entries(rows, tenant, self.partition, lane.read(), head, room).await?;
            let is_last = entries.len() < room;
            for entry in entries {
                let feed::Entry { position, row } = entry;
                let is_then = replay.is_none_or(|job| (job.since_us..job.until_us).contains(&row.time_us));
                if is_then && event::wants(&webhook.row.events, &row.r#type) {
                    lane.take(Entry { position, log: row.log.into(), kind: row.kind, seq: row.seq });
                } else {
                    lane.pass(position);
                }
            }
            if is_last {
                lane.pass(head);
            }
        }
    }

    /// Notes what came of an attempt at a webhook as it was then. Gives whether the lane goes on.
    async fn conclude(&mut self, lane: &mut Lane, made: Made, webhook: &Webhook) -> Result<bool, Error> {
        let Made { attempt, told, outcome, row } = made;
        let now = now_us();
        if let Outcome::Failed { retry_after: Some(wait) } = outcome {
            webhook.pause_until(now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)));
        }
        let verdict = lane.done(&attempt, outcome, now, rand::rng().random());
        let error = row.as_ref().map(|row| match row.error.as_str() {
            "" => format!("status {}", row.status),
            error => error.to_owned(),
        });
        if let Some(row) = row {
            self.log.push(delivery_put(&self.name, &row));
        }
        match verdict {
            Verdict::Done | Verdict::Again => Ok(true),
            Verdict::Dead => {
                self.log.push(dead_letter_put(&self.name, &attempt, told, error.unwrap_or_default(), now));
                metrics::counter!("stonechat_webhooks_dead_letters_total").increment(1);
                // Nothing may pass it before it is kept.
                self.keep(lane, true).await?;
                Ok(true)
            }
            Verdict::Gone => self.disable(webhook, "the receiver answered 410 Gone").await,
            Verdict::Failing => {
                self.disable(webhook, &format!("nothing was taken for {} days", limits::WEBHOOK_FAILING_DAYS)).await
            }
        }
    }

    async fn disable(&self, tried: &Webhook, reason: &str) -> Result<bool, Error> {
        let LaneName { tenant, webhook, .. } = &self.name;
        if self.shared.directory.webhooks().disable(tenant, webhook, &tried.row.url, reason).await? {
            tracing::info!(tenant.id = %tenant, webhook.id = webhook, reason, "webhook is disabled");
            metrics::counter!("stonechat_webhooks_disabled_total").increment(1);
        }
        // Known at once: otherwise a lane would be begun again for it.
        self.shared.directory.look_up(vec![tenant.clone()]).await?;
        Ok(false)
    }

    /// Writes down how far the lane is, now and then or `now`, and the log of deliveries.
    async fn keep(&mut self, lane: &Lane, now: bool) -> Result<(), Error> {
        let time_us = now_us();
        let is_due = now || time_us - self.kept_us >= KEEP_EVERY_US || self.log.len() >= LOG_ROWS;
        if !is_due {
            return Ok(());
        }
        let held = lane.held().into_iter().map(|held| HeldLog {
            log: held.log.to_string(),
            seq: held.seq,
            attempts: held.attempts,
            due_us: held.due_us,
            parked_to_seq: held.parked_to.unwrap_or(0),
            kind: held.kind,
        });
        let mut row = LaneRow {
            position: lane.position(),
            held: held.collect(),
            failing_since_us: lane.failing_since_us().unwrap_or(0),
        };
        row.held.sort_by(|a, b| a.log.cmp(&b.log));
        let mut puts = std::mem::take(&mut self.log);
        if row != self.kept {
            puts.push(lane_put(&self.name.tenant, &self.name.text(), self.partition, &row, time_us));
        }
        if !puts.is_empty() {
            self.shared.rows.write(puts).await.map_err(|error| Error::unavailable(error.to_string()))?;
        }
        self.kept = row;
        self.kept_us = time_us;
        Ok(())
    }
}

/// Makes one attempt; gives the webhook as it was then, too.
async fn attempt_of(shared: &Shared, name: &LaneName, webhook: Arc<Webhook>, attempt: Attempt) -> (Arc<Webhook>, Made) {
    let made = attempt_one(shared, name, Arc::clone(&webhook), attempt).await;
    (webhook, made)
}

/// Makes one attempt.
async fn attempt_one(shared: &Shared, name: &LaneName, webhook: Arc<Webhook>, attempt: Attempt) -> Made {
    let wanted = [(&*attempt.log, attempt.kind, attempt.seq)];
    let told = match feed::tell(shared.rows.as_ref(), &name.tenant, &wanted).await {
        Ok(told) => told.into_iter().flatten().next(),
        // As if the receiver had failed: it is tried again.
        Err(_) => return Made { attempt, told: None, outcome: Outcome::Failed { retry_after: None }, row: None },
    };
    let Some(told) = told.filter(|told| event::wants(&webhook.row.events, told.kind)) else {
        return Made { attempt, told: None, outcome: Outcome::Skipped, row: None };
    };
    let sending = Sending { webhook: &webhook.row, message_id: &told.message_id, body: told.body.clone() };
    let sent = shared.sender.send(sending).await;
    let outcome_name = match sent.outcome {
        Outcome::Delivered | Outcome::Skipped => "delivered",
        Outcome::Failed { .. } => "failed",
        Outcome::Gone => "gone",
    };
    metrics::counter!("stonechat_webhooks_attempts_total", "outcome" => outcome_name).increment(1);
    metrics::histogram!("stonechat_webhooks_attempt_seconds").record(sent.duration.as_secs_f64());
    if attempt.number == 1 && sent.outcome == Outcome::Delivered {
        let lag_us = now_us() - told.time_us;
        metrics::histogram!("stonechat_webhooks_lag_seconds")
            .record(Duration::from_micros(u64::try_from(lag_us).unwrap_or(0)).as_secs_f64());
    }
    let row = DeliveryRow {
        message_id: told.message_id.clone(),
        r#type: told.kind.to_owned(),
        log: attempt.log.to_string(),
        seq: attempt.seq,
        attempt: attempt.number,
        ..sent.to_row(now_us())
    };
    Made { attempt, told: Some(told), outcome: sent.outcome, row: Some(row) }
}

fn delivery_put(name: &LaneName, row: &DeliveryRow) -> Put {
    stonechat_webhooks::delivery_put(&name.tenant, &name.webhook, row)
}

fn dead_letter_put(name: &LaneName, attempt: &Attempt, told: Option<Told>, error: String, now_us: i64) -> Put {
    let row = DeadLetterRow {
        message_id: told.as_ref().map(|told| told.message_id.clone()).unwrap_or_default(),
        r#type: told.as_ref().map(|told| told.kind.to_owned()).unwrap_or_default(),
        log: attempt.log.to_string(),
        kind: attempt.kind,
        seq: attempt.seq,
        attempts: attempt.number,
        error,
        time_us: told.map_or(now_us, |told| told.time_us),
        dead_us: now_us,
    };
    let key = tables::dead_letter(&name.tenant, &name.webhook, row.time_us, &row.log, row.seq);
    let ttl = Some(Duration::from_secs(limits::DEAD_LETTER_TTL_S));
    let version = u64::try_from(now_us).unwrap_or(0);
    Put { key, value: row.encode_to_vec().into(), version, ttl }
}
