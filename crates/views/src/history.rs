//! Pages of events.

use std::collections::HashMap;

use stonechat_errors::Error;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{Edited, Event, Message, Overlay, Page, event},
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
        let elsewhere = self.overlays_elsewhere(&access.log, &events).await?;
        show_what_is_left(&mut events, overlays.iter().chain(&elsewhere));
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

    /// The overlays of messages that are on earlier pages than their edits.
    async fn overlays_elsewhere(&self, log: &LogKey, events: &[Event]) -> Result<Vec<Overlay>, Error> {
        let first = events.first().map_or(0, |event| event.seq);
        let edited = events.iter().filter_map(|event| match &event.body {
            Some(event::Body::Edited(edited)) if edited.target < first => Some(edited.target),
            _ => None,
        });
        let keys: Vec<_> = edited.map(|target| tables::overlay(log, target)).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.get(&keys).await?.iter().flatten().map(decode).collect()
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

/// What was taken back is shown to nobody any more: neither the message nor what it was changed to. Of what was edited,
/// attachments that are left out now are shown neither in the message nor in its earlier edits.
fn show_what_is_left<'a>(events: &mut [Event], overlays: impl Iterator<Item = &'a Overlay>) {
    let left: HashMap<u64, &Overlay> = overlays.map(|overlay| (overlay.target, overlay)).collect();
    for event in events {
        let (target, content) = match &mut event.body {
            Some(event::Body::Message(message)) => (event.seq, Some(message)),
            Some(event::Body::Edited(Edited { target, content })) => (*target, content.as_mut()),
            _ => continue,
        };
        let (Some(overlay), Some(content)) = (left.get(&target), content) else { continue };
        if let Some(present) = &overlay.content {
            content.attachments.retain(|shown| present.attachments.iter().any(|it| it.id == shown.id));
        }
        if overlay.recalled {
            *content = Message::default();
            if let Some(event::Body::Edited(edited)) = &mut event.body {
                edited.content = None;
            }
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
