//! What is to be known of the devices that come and go, written beside everything else: no session waits for it.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use parking_lot::Mutex;
use prost::Message as _;
use stonechat_model::{TimeUs, limits};
use stonechat_proto::internal::v1::DeviceRow;
use stonechat_rows::{Put, RowsError, tables};
use tokio::sync::Notify;

use super::{Attached, Hub};

/// How long a session stays open until it is noted again, well before what was noted expires.
const NOTED_FOR_US: TimeUs = 24 * 3600 * 1_000_000;
/// How long what was noted is kept.
const KEPT: Duration = Duration::from_secs(limits::DEVICE_TTL_S);
/// The pause before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What waits to be written.
#[derive(Default)]
pub(super) struct Notes {
    waiting: Mutex<VecDeque<Put>>,
    is_any: Notify,
}

impl Hub {
    /// Has it noted that a session is open.
    pub(super) fn note_open(&self, session: &Attached) {
        self.note(session, 0);
    }

    /// The same again, of a session that is open for long.
    pub(super) fn note_still_open(&self, session: &Attached, now_us: TimeUs) {
        let noted_us = session.noted_us.load(Ordering::Relaxed);
        if noted_us.saturating_add(NOTED_FOR_US) <= now_us {
            session.noted_us.store(now_us, Ordering::Relaxed);
            self.note_open(session);
        }
    }

    /// Has it noted that a session is over.
    pub(super) fn note_closed(&self, session: &Attached) {
        self.note(session, (self.dependencies.now_us)());
    }

    fn note(&self, session: &Attached, closed_us: TimeUs) {
        let gateway = self.config.id.to_string();
        let row = DeviceRow { gateway, session: session.id, opened_us: session.opened_us, closed_us };
        // The end of a session is newer than its beginning, and older than the next one's.
        let version = u64::try_from(session.opened_us).unwrap_or(0) + u64::from(closed_us != 0);
        let key = tables::device(&session.tenant, &session.user, &session.device);
        let put = Put { key, value: row.encode_to_vec().into(), version, ttl: Some(KEPT) };
        let mut waiting = self.notes.waiting.lock();
        if waiting.len() >= limits::DEVICE_NOTES {
            metrics::counter!("stonechat_gateway_device_notes_dropped_total").increment(1);
            return;
        }
        waiting.push_back(put);
        drop(waiting);
        self.notes.is_any.notify_one();
    }

    /// Writes what is noted, and what is noted from then on.
    pub async fn write_notes(&self) {
        loop {
            self.notes.is_any.notified().await;
            while let Err(error) = self.flush_notes().await {
                tracing::debug!(%error, "what is known of devices could not be written and will be tried again");
                (self.dependencies.sleep)(RETRY_PAUSE).await;
            }
        }
    }

    /// Writes what was noted until now; what could not be written stays.
    pub(crate) async fn flush_notes(&self) -> Result<(), RowsError> {
        loop {
            let some: Vec<Put> = {
                let mut waiting = self.notes.waiting.lock();
                let count = waiting.len().min(limits::DEVICE_NOTES_AT_ONCE);
                waiting.drain(..count).collect()
            };
            if some.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.dependencies.rows.write(some.clone()).await {
                let mut waiting = self.notes.waiting.lock();
                some.into_iter().rev().for_each(|put| waiting.push_front(put));
                return Err(error);
            }
        }
    }
}
