//! Taking out what was said longer ago than a tenant keeps messages for.
//!
//! Days are whole ones (UTC): what expires on a day does so in one go, so that a conversation gets one event of it a day
//! at most. Up to which seq a conversation was looked through stands in its head; the rows are its owner's to write, as
//! they are when a user is erased.

use futures::{StreamExt as _, future::BoxFuture, stream::iter};
use stonechat_errors::Error;
use stonechat_model::{ConversationId, LogId, TenantId, TimeUs, limits};
use stonechat_proto::{
    internal::v1::{CommandRecord, ExpireMessages, HeadRow, TenantRow, command_record},
    v1::{Event, event},
};
use stonechat_rows::{Key, tables};
use stonechat_views::Window;

use super::{Data, conversation_log, decode, jobs::Progress, unavailable};

/// Conversations that are looked through at once.
const AT_ONCE: usize = 8;
const DAY_US: TimeUs = 86_400 * 1_000_000;

/// What was said before this expires by now; `None` where messages are kept for good, or the tenant is deleted.
pub(super) fn expires_before(row: &TenantRow, now_us: TimeUs) -> Option<TimeUs> {
    let days = TimeUs::from(row.message_retention_days);
    let is_kept = days == 0 || row.deleted_us > 0;
    (!is_kept).then(|| now_us - now_us.rem_euclid(DAY_US) - days * DAY_US)
}

/// Whether an event holds words that somebody said, or what they felt about them.
fn says_something(event: &Event) -> bool {
    let is_said = matches!(
        event.body,
        Some(
            event::Body::Message(_)
                | event::Body::Edited(_)
                | event::Body::ReactionAdded(_)
                | event::Body::ReactionRemoved(_)
        )
    );
    is_said && !event.erased
}

impl Data {
    /// Takes out what was said in a tenant's conversations before a time. May be done again wherever it broke off; a
    /// conversation that fails holds up no other, but the work as a whole failed then.
    pub(super) async fn expire_messages(
        &self,
        tenant: &TenantId,
        before_us: TimeUs,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut from = None;
        let mut failed = None;
        loop {
            let page = self.views.conversation_ids(tenant, from.as_deref(), limits::EXPORT_PAGE).await?;
            let keys: Vec<Key> = page.items.iter().map(|id| tables::head(&conversation_log(tenant, id))).collect();
            let heads = self.rows.get(&keys).await.map_err(unavailable)?;
            let mut work: Vec<BoxFuture<'_, Result<u64, Error>>> = Vec::new();
            for (id, head) in page.items.iter().zip(heads) {
                let Some(head) = head.as_ref().map(decode::<HeadRow>).transpose()? else { continue };
                if head.created_us < before_us && head.expired_seq < head.last_seq {
                    work.push(Box::pin(self.expire_in(tenant, id, head.expired_seq, before_us)));
                }
            }
            let mut done = iter(work).buffer_unordered(AT_ONCE);
            while let Some(done) = done.next().await {
                match done {
                    Ok(count) => {
                        progress.conversations += u64::from(count > 0);
                        progress.changed += count;
                    }
                    Err(error) => failed = Some(error),
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes out what was said in a conversation behind a seq and before a time; gives how many events that were.
    async fn expire_in(
        &self,
        tenant: &TenantId,
        id: &ConversationId,
        mut after: u64,
        before_us: TimeUs,
    ) -> Result<u64, Error> {
        let (mut targets, mut count) = (Vec::new(), 0);
        loop {
            let page = self.views.history(tenant, None, id, Window::After(after), limits::PAGE_EVENTS).await?;
            for event in page.events.iter().take_while(|event| event.time_us < before_us) {
                after = event.seq;
                targets.extend(says_something(event).then_some(event.seq));
            }
            let is_last = !page.more || page.events.last().is_none_or(|event| event.seq > after);
            if targets.len() > limits::ERASE_EVENTS - limits::PAGE_EVENTS || is_last {
                count += targets.len() as u64;
                self.expire_some(tenant, id, after, std::mem::take(&mut targets)).await?;
            }
            if is_last {
                metrics::counter!("stonechat_api_expired_events_total").increment(count);
                return Ok(count);
            }
        }
    }

    async fn expire_some(
        &self,
        tenant: &TenantId,
        id: &ConversationId,
        until_seq: u64,
        targets: Vec<u64>,
    ) -> Result<(), Error> {
        if targets.is_empty() {
            return Ok(());
        }
        let expire = ExpireMessages { until_seq, targets };
        self.submit(CommandRecord {
            tenant: tenant.to_string(),
            log: LogId::Conversation(id.clone()).to_text().to_string(),
            body: Some(command_record::Body::ExpireMessages(expire)),
            ..CommandRecord::default()
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_kept_and_one_more_at_most() {
        let row = |days: u32| TenantRow { message_retention_days: days, ..TenantRow::default() };
        let noon = 100 * DAY_US + DAY_US / 2;
        assert_eq!(expires_before(&row(0), noon), None);
        assert_eq!(expires_before(&row(1), noon), Some(99 * DAY_US));
        assert_eq!(expires_before(&row(30), noon), Some(70 * DAY_US));
        assert_eq!(expires_before(&row(30), 100 * DAY_US), Some(70 * DAY_US));
        assert_eq!(expires_before(&row(30), 101 * DAY_US - 1), Some(70 * DAY_US));
        assert_eq!(expires_before(&TenantRow { deleted_us: 1, ..row(30) }, noon), None);
    }
}
