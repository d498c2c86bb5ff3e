//! Reading a tenant's feed from a cursor on, for servers that webhooks cannot reach.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs, limits, now_us};
use stonechat_proto::{internal::v1::PullCursor, v1::PulledEvent};

use crate::{
    Webhooks, event,
    feed::{self, Entry},
};

/// How long entries are kept, in microseconds.
const KEPT_US: i64 = (limits::FEED_TTL_S * 1_000_000) as i64;
/// Entries of one read.
const PAGE: usize = 100;

/// How far somebody is in each partition of a feed. Opaque to who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(PullCursor);

impl Cursor {
    /// Takes a cursor as [`Cursor::to_text`] gave it.
    ///
    /// # Errors
    /// Invalid argument where it was not made here.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("cursor is none of ours");
        if text.len() > limits::PULL_CURSOR_BYTES {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let cursor: PullCursor = prost::Message::decode(bytes.as_slice()).map_err(|_| wrong())?;
        let is_ordered = cursor.partitions.is_sorted_by(|a, b| a < b);
        if cursor.partitions.len() != cursor.positions.len() || !is_ordered || cursor.time_us <= 0 {
            return Err(wrong());
        }
        Ok(Self(cursor))
    }

    /// As text of the base64url alphabet.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(prost::Message::encode_to_vec(&self.0))
    }

    fn position(&self, partition: u32) -> u64 {
        self.0.partitions.binary_search(&partition).map_or(0, |index| self.0.positions[index])
    }

    fn advance(&mut self, partition: u32, position: u64) {
        match self.0.partitions.binary_search(&partition) {
            Ok(index) => self.0.positions[index] = self.0.positions[index].max(position),
            Err(index) => {
                self.0.partitions.insert(index, partition);
                self.0.positions.insert(index, position);
            }
        }
    }
}

/// Somebody who pulls a tenant's events.
pub struct Pull {
    webhooks: Webhooks,
    tenant: TenantId,
    filter: Vec<String>,
    cursor: Cursor,
    /// When the feed was last asked to be kept.
    asked_us: TimeUs,
    /// Which partition is read first: none waits for a busy one.
    turn: usize,
}

impl Pull {
    /// Begins after a cursor, or now; the tenant's feed is kept from here on.
    ///
    /// # Errors
    /// Invalid argument for a filter or cursor that is none; failed precondition for a cursor that is too old, after
    /// which something may have been missed; unavailable.
    pub async fn begin(
        webhooks: Webhooks,
        tenant: TenantId,
        cursor: Option<&str>,
        filter: Vec<String>,
    ) -> Result<Self, Error> {
        event::check_filter(&filter).map_err(|reason| Error::invalid(format!("events: {reason}")))?;
        let given = cursor.map(Cursor::parse).transpose()?;
        let now = now_us();
        let kept_since_us = webhooks.keep_feed(&tenant, now).await?;
        let cursor = match given {
            Some(cursor) if cursor.0.time_us < kept_since_us.max(now.saturating_sub(KEPT_US)) => {
                let reason = "cursor has expired: events may be missing; begin without one";
                return Err(Error::new(Code::FailedPrecondition, reason));
            }
            Some(cursor) => cursor,
            None => {
                let mut cursor = Cursor(PullCursor { time_us: now.max(kept_since_us), ..PullCursor::default() });
                for (partition, head) in feed::heads(webhooks.rows().as_ref(), &tenant).await? {
                    cursor.advance(partition, head);
                }
                cursor
            }
        };
        Ok(Self { webhooks, tenant, filter, cursor, asked_us: now, turn: 0 })
    }

    /// Where somebody who has seen everything so far goes on.
    pub fn cursor(&self) -> String {
        self.cursor.to_text()
    }

    /// The next events; none where there are none now.
    ///
    /// # Errors
    /// Unavailable; calling again goes on.
    pub async fn next(&mut self) -> Result<Vec<PulledEvent>, Error> {
        let now = now_us();
        if now.saturating_sub(self.asked_us) > KEPT_US / 4 {
            self.webhooks.keep_feed(&self.tenant, now).await?;
            self.asked_us = now;
        }
        let heads = feed::heads(self.webhooks.rows().as_ref(), &self.tenant).await?;
        for step in 0..heads.len() {
            let (partition, head) = heads[(self.turn + step) % heads.len()];
            let events = self.read(partition, head).await?;
            if !events.is_empty() {
                self.turn = (self.turn + step + 1) % heads.len();
                return Ok(events);
            }
        }
        // Everything up to here was given.
        self.cursor.0.time_us = self.cursor.0.time_us.max(now);
        Ok(Vec::new())
    }

    /// The wanted events of a partition, at most those of a page in which there are some.
    async fn read(&mut self, partition: u32, head: u64) -> Result<Vec<PulledEvent>, Error> {
        let mut at = self.cursor.position(partition);
        while at < head {
            let rows = self.webhooks.rows().as_ref();
            let entries = feed::entries(rows, &self.tenant, partition, at, head, PAGE).await?;
            // What is not there has expired or was never wanted.
            let reached = if entries.len() < PAGE { head } else { entries.last().map_or(head, |entry| entry.position) };
            let wanted: Vec<&Entry> =
                entries.iter().filter(|entry| event::wants(&self.filter, &entry.row.r#type)).collect();
            let places: Vec<_> = wanted.iter().map(|it| (it.row.log.as_str(), it.row.kind, it.row.seq)).collect();
            let told = feed::tell(rows, &self.tenant, &places).await?;
            let mut events = Vec::with_capacity(told.len());
            for (entry, told) in wanted.iter().zip(told) {
                self.cursor.advance(partition, entry.position);
                let Some(told) = told else { continue };
                let body = String::from_utf8(told.body.to_vec()).map_err(feed::corrupt)?;
                let (id, r#type) = (told.message_id, told.kind.to_owned());
                events.push(PulledEvent { id, r#type, cursor: self.cursor.to_text(), body });
            }
            self.cursor.advance(partition, reached);
            if !events.is_empty() {
                return Ok(events);
            }
            at = reached;
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_how_far_each_partition_is() {
        let mut cursor = Cursor(PullCursor { time_us: 5, ..PullCursor::default() });
        for (partition, position) in [(7, 70), (2, 1 << 50), (9, 3), (7, 60)] {
            cursor.advance(partition, position);
        }
        let again = Cursor::parse(&cursor.to_text()).unwrap();
        assert_eq!(again, cursor);
        assert_eq!([2, 7, 8, 9].map(|partition| again.position(partition)), [1 << 50, 70, 0, 3]);
    }

    #[test]
    fn cursors_of_strangers_are_refused() {
        let encoded = |cursor: PullCursor| URL_SAFE_NO_PAD.encode(prost::Message::encode_to_vec(&cursor));
        let unordered = PullCursor { time_us: 5, partitions: vec![3, 2], positions: vec![1, 1] };
        let doubled = PullCursor { time_us: 5, partitions: vec![2, 2], positions: vec![1, 1] };
        let uneven = PullCursor { time_us: 5, partitions: vec![1, 2], positions: vec![1] };
        let timeless = PullCursor { time_us: 0, partitions: vec![1], positions: vec![1] };
        let huge = "A".repeat(limits::PULL_CURSOR_BYTES + 1);
        let texts = [unordered, doubled, uneven, timeless].map(encoded);
        for text in texts.iter().map(String::as_str).chain(["", "!", "ä", "/////", huge.as_str()]) {
            assert!(Cursor::parse(text).is_err(), "{}", &text[..text.len().min(20)]);
        }
    }
}
