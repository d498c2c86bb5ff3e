//! Answers that are kept, so that a request that comes again under its `Idempotency-Key` is not done again.
//!
//! A row is made by compare-and-set before the request is done, so of two that come at once one is done and the other
//! waits for its answer. A request that failed in a way that may be tried again gives its row up.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stonechat_errors::{Code, Error};
use stonechat_model::{TimeUs, limits, now_us};
use stonechat_proto::internal::v1::AnswerRow;
use stonechat_rows::{Key, Put, Rows, RowsError, tables};

/// How often a request looks whether the other one with its key has an answer.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A field that is never stored.
const SECRET: &str = "secret";

/// Where answers are kept.
#[derive(Clone)]
pub(crate) struct Answers {
    rows: Arc<dyn Rows>,
}

/// A request under its key.
pub(crate) struct Request<'a> {
    /// The tenant that calls; empty for the operator.
    pub tenant: &'a str,
    /// Who calls, whatever key was used.
    pub caller: &'a str,
    /// The `Idempotency-Key`.
    pub key: &'a str,
    /// Everything that makes the request what it is.
    pub content: &'a [u8],
}

impl Request<'_> {
    /// Where its answer is kept.
    fn row(&self) -> Key {
        // A blank is in no tenant's id.
        let tenant = if self.tenant.is_empty() { " operator" } else { self.tenant };
        let hash = Sha256::digest(format!("{}\0{}", self.caller, self.key));
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        tables::answer(tenant, &name)
    }
}

/// What is known of a request.
pub(crate) enum Begun {
    /// It is to be done now; then [`Work::done`] or [`Work::gave_up`].
    Now(Work),
    /// It was done: its status and body.
    Before(u16, Vec<u8>),
}

/// What is kept under a key.
enum Found {
    /// An answer.
    Done(u16, Vec<u8>),
    /// Another request is being done.
    Busy,
    /// Nothing, or a row of this version that was given up.
    Free(Option<u64>),
}

/// A request that is being done.
pub(crate) struct Work {
    answers: Answers,
    key: Key,
    row: AnswerRow,
    version: u64,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about kept answers");
    Error::unavailable("rows do not answer")
}

impl Answers {
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Begins a request, or finds its answer; waits while another one with its key is being done.
    pub async fn begin(&self, request: &Request<'_>) -> Result<Begun, Error> {
        let hash = Sha256::digest(request.content).to_vec();
        let key = request.row();
        let give_up = tokio::time::Instant::now() + Duration::from_millis(limits::IDEMPOTENCY_WAIT_MS);
        loop {
            match self.look(&key, &hash).await? {
                Found::Done(status, body) => return Ok(Begun::Before(status, body)),
                Found::Busy => {}
                Found::Free(expected) => {
                    let row = AnswerRow { request_hash: hash.clone(), begun_us: now_us(), ..AnswerRow::default() };
                    let version = expected.unwrap_or(0) + 1;
                    if self.set(&key, &row, version, expected).await? {
                        return Ok(Begun::Now(Work { answers: self.clone(), key, row, version }));
                    }
                    continue;
                }
            }
            if tokio::time::Instant::now() >= give_up {
                let error = Error::unavailable("the first request with this Idempotency-Key is being done");
                return Err(error.retry_after(Duration::from_secs(1)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, key: &Key, hash: &[u8]) -> Result<Found, Error> {
        let found = self.rows.get(std::slice::from_ref(key)).await.map_err(unavailable)?;
        let Some(row) = found.into_iter().flatten().next() else { return Ok(Found::Free(None)) };
        let kept = AnswerRow::decode(row.value).map_err(|error| {
            tracing::error!(%error, "kept answer is corrupt");
            Error::internal()
        })?;
        if kept.request_hash != hash {
            return Err(Error::new(Code::Conflict, "the Idempotency-Key was used for another request"));
        }
        if kept.status != 0 {
            return Ok(Found::Done(u16::try_from(kept.status).unwrap_or(500), kept.body));
        }
        Ok(if is_free(&kept, now_us()) { Found::Free(Some(row.version)) } else { Found::Busy })
    }

    async fn set(&self, key: &Key, row: &AnswerRow, version: u64, expected: Option<u64>) -> Result<bool, Error> {
        let ttl = Some(Duration::from_secs(limits::IDEMPOTENCY_TTL_S));
        let put = Put { key: key.clone(), value: row.encode_to_vec().into(), version, ttl };
        self.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }
}

/// Whether a request without an answer may be done again: it was given up, or whoever did it is gone.
fn is_free(kept: &AnswerRow, now_us: TimeUs) -> bool {
    let busy_us = i64::try_from(limits::IDEMPOTENCY_BUSY_S * 1_000_000).unwrap_or(i64::MAX);
    kept.begun_us == 0 || kept.begun_us.saturating_add(busy_us) <= now_us
}

impl Work {
    /// Keeps the answer. A body that is too large, or a secret in it, is not kept.
    pub async fn done(self, status: u16, body: &[u8]) {
        let body = if body.len() <= limits::IDEMPOTENCY_BODY_BYTES { without_secret(body) } else { b"{}".to_vec() };
        let row = AnswerRow { status: status.into(), body, ..self.row.clone() };
        self.keep(&row).await;
    }

    /// Lets the request be done again.
    pub async fn gave_up(self) {
        let row = AnswerRow { begun_us: 0, ..self.row.clone() };
        self.keep(&row).await;
    }

    async fn keep(&self, row: &AnswerRow) {
        // What is not kept is done again after a while, as if this process had been killed here.
        match self.answers.set(&self.key, row, self.version + 1, Some(self.version)).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("another request took the place of a kept answer"),
            Err(error) => tracing::warn!(%error, "an answer was not kept"),
        }
    }
}

/// A secret is shown once: a repeated request gets the answer without it.
fn without_secret(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return body.to_vec() };
    match fields.remove(SECRET) {
        Some(_) => Value::Object(fields).to_string().into(),
        None => body.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig};

    use super::*;

    async fn answers() -> (tempfile::TempDir, Answers) {
        let folder = tempfile::tempdir().unwrap();
        let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
        (folder, Answers::new(rows))
    }

    fn request(content: &[u8]) -> Request<'_> {
        Request { tenant: "acme", caller: "tenant acme", key: "k", content }
    }

    #[tokio::test]
    async fn a_repeated_request_gets_the_first_answer_and_another_one_a_conflict() {
        let (_folder, answers) = answers().await;
        let Ok(Begun::Now(work)) = answers.begin(&request(b"a")).await else { panic!("it is new") };
        work.done(201, br#"{"id":"x","secret":"s"}"#).await;
        let Ok(Begun::Before(status, body)) = answers.begin(&request(b"a")).await else { panic!("it was done") };
        assert_eq!((status, body.as_slice()), (201, br#"{"id":"x"}"#.as_slice()));
        let other = answers.begin(&request(b"b")).await.err().unwrap();
        assert_eq!(other.code, Code::Conflict);
    }

    #[tokio::test]
    async fn of_many_at_once_one_is_done_and_the_others_get_its_answer() {
        let (_folder, answers) = answers().await;
        let one = || async {
            match answers.begin(&request(b"a")).await.unwrap() {
                Begun::Now(work) => {
                    work.done(200, b"{}").await;
                    1
                }
                Begun::Before(..) => 0,
            }
        };
        let done: usize = futures::future::join_all((0..50).map(|_| one())).await.into_iter().sum();
        assert_eq!(done, 1);
    }

    #[tokio::test]
    async fn what_was_given_up_is_done_again() {
        let (_folder, answers) = answers().await;
        let Ok(Begun::Now(work)) = answers.begin(&request(b"a")).await else { panic!("it is new") };
        work.gave_up().await;
        assert!(matches!(answers.begin(&request(b"a")).await, Ok(Begun::Now(_))));
    }
}
