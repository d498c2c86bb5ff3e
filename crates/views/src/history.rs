//! Pages of events.

use std::collections::HashSet;

use stonechat_errors::Error;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{Event, Overlay, Page, event},
};
use stonechat_rows::{Table, tables};

use crate::{DEFAULT_PAGE_EVENTS, Views, Window, decode, unavailable};

/// The seqs of a page: from the first, until before the second; and whether there is more in its direction.
fn bounds(window: Window, last_seq: u64, limit: u64) -> (u64, u64, bool) {
    let end = last_seq.saturating_add(1);
    match window {
        Window::Newest => {
            let from = end.saturating_sub(limit).max(1);
            (from, end, from > 1)
        }
        Window::Before(seq) => {
            let until = seq.clamp(1, end);
            let from = until.saturating_sub(limit).max(1);
            (from, until, from > 1)
        }
        Window::After(seq) => {
            let from = seq.saturating_add(1).min(end);
            let until = from.saturating_add(limit).min(end);
            (from, until, until < end)
        }
        Window::Around(seq) => {
            let middle = seq.clamp(1, end);
            let from = middle.saturating_sub(limit / 2).max(1);
            let until = from.saturating_add(limit).min(end);
            let from = until.saturating_sub(limit).max(1).min(from);
            (from, until, from > 1 || until < end)
        }
    }
}

fn page_limit(limit: usize) -> u64 {
    let limit = if limit == 0 { DEFAULT_PAGE_EVENTS } else { limit.min(limits::PAGE_EVENTS) };
    u64::try_from(limit).unwrap_or(u64::MAX)
}

impl Views {
    /// A page of a conversation's events with overlays and what the reader deleted for themselves.
    /// `limit` is cut to `limits::PAGE_EVENTS`; 0 means a default of 50.
    pub async fn history(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        window: Window,
        limit: usize,
    ) -> Result<Page, Error> {
        let access = self.access(tenant, reader, conversation).await?;
        let (from, until, more) = bounds(window, access.head.last_seq, page_limit(limit));
        let events = self.bucketed(&tables::EVENTS, &access.log, from, until);
        let overlays = self.bucketed(&tables::OVERLAYS, &access.log, from, until);
        let (mut events, overlays) = futures::try_join!(events, overlays)?;
        let hidden = match reader {
            Some(user) if from < until => self.hidden(tenant, user, conversation, from, until).await?,
            _ => Vec::new(),
        };
        let recalled = self.recalled(&access.log, &events, &overlays).await?;
        blank_recalled(&mut events, &recalled);
        Ok(Page {
            conversation: conversation.to_string(),
            events,
            overlays,
            hidden,
            last_seq: access.head.last_seq,
            more,
            ..Page::default()
        })
    }

    /// A page of a user's own log.
    pub async fn user_log(
        &self,
        tenant: &TenantId,
        user: &UserId,
        window: Window,
        limit: usize,
    ) -> Result<Page, Error> {
        let log = LogKey { tenant: tenant.clone(), log: LogId::User(user.clone()) };
        let last_seq = self.user_log_seq(tenant, user).await?;
        let (from, until, more) = bounds(window, last_seq, page_limit(limit));
        let events = self.bucketed(&tables::EVENTS, &log, from, until).await?;
        Ok(Page { events, last_seq, more, ..Page::default() })
    }

    /// The newest seq of a user's log; 0 when it has no event.
    pub async fn user_log_seq(&self, tenant: &TenantId, user: &UserId) -> Result<u64, Error> {
        let log = LogKey { tenant: tenant.clone(), log: LogId::User(user.clone()) };
        let rows = self.get(&[tables::head(&log)]).await?;
        let head = rows[0].as_ref().map(decode::<HeadRow>).transpose()?;
        Ok(head.map_or(0, |head| head.last_seq))
    }

    /// The rows `from..until` by seq of a table in buckets.
    async fn bucketed<T: prost::Message + Default>(
        &self,
        table: &'static Table,
        log: &LogKey,
        mut from: u64,
        until: u64,
    ) -> Result<Vec<T>, Error> {
        let mut values = Vec::new();
        while from < until {
            let end = ((from / limits::EVENTS_PER_BUCKET + 1) * limits::EVENTS_PER_BUCKET).min(until);
            let range = tables::bucket_range(table, log, from, end, false, limits::PAGE_EVENTS);
            for row in self.rows.range(range).await.map_err(unavailable)? {
                values.push(decode(&row)?);
            }
            from = end;
        }
        Ok(values)
    }

    /// The messages that were taken back, of those that the events of a page show.
    async fn recalled(&self, log: &LogKey, events: &[Event], overlays: &[Overlay]) -> Result<HashSet<u64>, Error> {
        let first = events.first().map_or(0, |event| event.seq);
        let edited = events.iter().filter_map(|event| match &event.body {
            // An edit is on another page than its message, whose overlay says what became of it.
            Some(event::Body::Edited(edited)) if edited.target < first => Some(edited.target),
            _ => None,
        });
        let keys: Vec<_> = edited.map(|target| tables::overlay(log, target)).collect();
        let mut elsewhere = Vec::new();
        if !keys.is_empty() {
            for row in self.get(&keys).await?.iter().flatten() {
                elsewhere.push(decode::<Overlay>(row)?);
            }
        }
        let all = overlays.iter().chain(&elsewhere);
        Ok(all.filter(|overlay| overlay.recalled).map(|overlay| overlay.target).collect())
    }

    async fn hidden(
        &self,
        tenant: &TenantId,
        user: &UserId,
        conversation: &ConversationId,
        from: u64,
        until: u64,
    ) -> Result<Vec<u64>, Error> {
        let range = tables::hidden_range(tenant, user, conversation, from, until);
        let rows = self.rows.range(range).await.map_err(unavailable)?;
        Ok(rows.iter().map(|row| row.key.number(3)).collect())
    }
}

/// What was taken back is shown to nobody any more: neither the message nor what it was changed to.
fn blank_recalled(events: &mut [Event], recalled: &HashSet<u64>) {
    for event in events {
        match &mut event.body {
            Some(event::Body::Message(message)) if recalled.contains(&event.seq) => *message = Default::default(),
            Some(event::Body::Edited(edited)) if recalled.contains(&edited.target) => edited.content = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_lies_within_the_log_and_says_whether_there_is_more() {
        assert_eq!(bounds(Window::Newest, 0, 10), (1, 1, false));
        assert_eq!(bounds(Window::Newest, 25, 10), (16, 26, true));
        assert_eq!(bounds(Window::After(0), 25, 10), (1, 11, true));
        assert_eq!(bounds(Window::After(20), 25, 10), (21, 26, false));
        assert_eq!(bounds(Window::After(u64::MAX), 25, 10), (26, 26, false));
        assert_eq!(bounds(Window::Before(11), 25, 10), (1, 11, false));
        assert_eq!(bounds(Window::Before(u64::MAX), 25, 10), (16, 26, true));
        assert_eq!(bounds(Window::Before(0), 25, 10), (1, 1, false));
        assert_eq!(bounds(Window::Around(13), 25, 10), (8, 18, true));
        assert_eq!(bounds(Window::Around(25), 25, 10), (16, 26, true));
        assert_eq!(bounds(Window::Around(1), 5, 10), (1, 6, false));
    }
}
