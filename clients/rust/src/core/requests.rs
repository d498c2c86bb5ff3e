//! What was asked and is not answered.

use std::collections::BTreeMap;

use stonechat_proto::v1::{ClientFrame, Error, History, client_frame};

/// Events asked for at once.
const FETCH_EVENTS: u32 = 200;
/// A request without an answer is sent again after this; a command's client id makes that harmless.
const ANSWER_TIMEOUT_MS: u64 = 15_000;
/// The least pause before a refused request is sent again; twice as long after each further refusal.
const RETRY_MS: u64 = 50;
/// How long that pause becomes at most, unless the server asks for a longer one.
const MOST_RETRY_MS: u64 = 4_000;

#[derive(Debug)]
struct Request {
    frame: ClientFrame,
    /// When it is sent again; `None`: with the next connection.
    again_ms: Option<u64>,
    /// Refusals in a row.
    refusals: u32,
}

/// Requests by their ids.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last_id: u64,
    waiting: BTreeMap<u64, Request>,
    /// Fetches and their logs; a new connection begins them anew.
    fetches: BTreeMap<u64, String>,
}

impl Requests {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.fetches.is_empty()
    }

    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Adds a request, sent at `sent_ms` if at all.
    pub fn add(&mut self, id: u64, frame: ClientFrame, sent_ms: Option<u64>) {
        let again_ms = sent_ms.map(|sent| sent + ANSWER_TIMEOUT_MS);
        self.waiting.insert(id, Request { frame, again_ms, refusals: 0 });
    }

    /// Everything that waits, to be sent over a new connection.
    pub fn again(&mut self, now_ms: u64) -> Vec<ClientFrame> {
        let send = |request: &mut Request| {
            request.again_ms = Some(now_ms + ANSWER_TIMEOUT_MS);
            request.frame.clone()
        };
        self.waiting.values_mut().map(send).collect()
    }

    /// What is to be sent again by now.
    pub fn due(&mut self, now_ms: u64) -> Vec<ClientFrame> {
        let is_due = |request: &&mut Request| request.again_ms.is_some_and(|again| again <= now_ms);
        let send = |request: &mut Request| {
            request.again_ms = Some(now_ms + ANSWER_TIMEOUT_MS);
            request.frame.clone()
        };
        self.waiting.values_mut().filter(is_due).map(send).collect()
    }

    /// A request was answered; `false` when nobody asked.
    pub fn done(&mut self, id: u64) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// A request was refused; `true` when for good. Otherwise it is sent again in a while.
    pub fn refused(&mut self, error: &Error, now_ms: u64) -> bool {
        if !error.retryable {
            return self.done(error.id);
        }
        if let Some(request) = self.waiting.get_mut(&error.id) {
            let doubled = RETRY_MS.saturating_mul(1 << request.refusals.min(16)).min(MOST_RETRY_MS);
            request.refusals += 1;
            request.again_ms = Some(now_ms + u64::from(error.retry_after_ms).max(doubled));
        }
        false
    }

    /// A frame that asks for what comes after a seq of a log.
    pub fn fetch(&mut self, log: &str, after: u64) -> ClientFrame {
        let id = self.next_id();
        self.fetches.insert(id, log.to_owned());
        let history =
            History { id, conversation: log.to_owned(), after: Some(after), limit: FETCH_EVENTS, ..History::default() };
        ClientFrame { kind: Some(client_frame::Kind::History(history)) }
    }

    /// The log that a fetch was of, if the id is a fetch's.
    pub fn fetched(&mut self, id: u64) -> Option<String> {
        self.fetches.remove(&id)
    }

    pub fn forget_fetches(&mut self) {
        self.fetches.clear();
    }
}
