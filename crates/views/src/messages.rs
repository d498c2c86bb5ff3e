//! Single messages: one by its seq, the pinned ones, and who has read one.

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::PinRow,
    v1::{Member, Page, event},
};
use stonechat_rows::tables;

use crate::{List, Views, Window, unavailable};

/// Rows of pins that are read at once; those that were unpinned are among them.
const PIN_ROWS: usize = 1_000;

impl Views {
    /// One message with its overlay, as a page of one event. "Not found" as well where the event of that seq is no
    /// message.
    pub async fn message(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        seq: u64,
    ) -> Result<Page, Error> {
        let window = Window::After(seq.saturating_sub(1));
        let page = self.history(tenant, reader, conversation, window, 1).await?;
        let is_message = |page: &Page| {
            let event = page.events.first().filter(|event| event.seq == seq);
            event.is_some_and(|event| matches!(event.body, Some(event::Body::Message(_))))
        };
        if seq > 0 && is_message(&page) { Ok(page) } else { Err(Error::not_found("message")) }
    }

    /// The pinned messages of a conversation with their overlays, rising by seq.
    pub async fn pinned(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
    ) -> Result<Page, Error> {
        let access = self.access(tenant, reader, conversation).await?;
        let mut pinned = Page { last_seq: access.head.last_seq, ..Page::default() };
        let mut from = 0;
        loop {
            let range = tables::pins(tenant, conversation, from, PIN_ROWS);
            let rows = self.rows.range(range).await.map_err(unavailable)?;
            for row in &rows {
                let seq = row.key.number(2);
                from = seq + 1;
                if !PinRow::decode(row.value.clone()).is_ok_and(|pin| pin.pinned) {
                    continue;
                }
                let page = self.history(tenant, reader, conversation, Window::After(seq - 1), 1).await?;
                pinned.events.extend(page.events.into_iter().filter(|event| event.seq == seq));
                pinned.overlays.extend(page.overlays);
                pinned.hidden.extend(page.hidden);
            }
            if rows.len() < PIN_ROWS || pinned.events.len() >= limits::PINS as usize {
                return Ok(pinned);
            }
        }
    }

    /// A page of the members who have read up to a seq at least, as far as the reader may know. It may be shorter than
    /// was asked for and still have a next one.
    pub async fn readers(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        seq: u64,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<Member>, Error> {
        self.message(tenant, reader, conversation, seq).await?;
        let mut page = self.members(tenant, reader, conversation, from, limit).await?;
        page.items.retain(|member| member.read_seq >= seq);
        Ok(page)
    }
}
