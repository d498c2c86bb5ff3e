//! Erasing a user.
//!
//! First the user's own log says so: from then on nobody connects as the user and nothing is written for the id. Then
//! the owners of the conversations are told, one command after the other, which events are to say nothing; these rows
//! are theirs to write. At last what only the user had is deleted: the log, the user's sides of conversations, marks,
//! client ids. What is left of the user is the id where the order of things depends on it.

use std::collections::BTreeSet;

use stonechat_commands::user_record;
use stonechat_errors::Error;
use stonechat_model::{ClientId, ConversationId, FileId, LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{CommandRecord, EraseUser, HeadRow, command_record, user_action},
    v1::{Erased, Event, event},
};
use stonechat_rows::{Key, tables};
use stonechat_views::Window;

use super::{Data, conversation_log, decode, jobs::Progress, stream, unavailable};

/// What is to be erased of a conversation by one command.
#[derive(Default)]
struct Found {
    targets: BTreeSet<u64>,
    touched: BTreeSet<u64>,
}

impl Data {
    /// Erases a user. May be done again wherever it broke off.
    pub(super) async fn erase_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        self.submit(user_record(tenant, user, user_action::Kind::Erase(Erased {}))).await?;
        let mut from = None;
        loop {
            let page = self.views.conversation_ids(tenant, from.as_deref(), limits::EXPORT_PAGE).await?;
            let keys: Vec<Key> = page.items.iter().map(|id| tables::member(tenant, id, user)).collect();
            let members = self.rows.get(&keys).await.map_err(unavailable)?;
            for (id, member) in page.items.iter().zip(members) {
                if member.is_some() {
                    progress.changed += self.erase_from(tenant, user, id).await?;
                    progress.conversations += 1;
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.delete_files_of(tenant, user).await?;
        self.delete_user_log(tenant, user, true).await?;
        self.delete_devices_of(tenant, user).await?;
        stonechat_quotas::Seats::new(std::sync::Arc::clone(&self.rows)).release(tenant, user).await?;
        stream::blank_user(&self.rows, tenant, user).await
    }

    /// Deletes the files that a user uploaded; their bytes go when the role files looks at them.
    async fn delete_files_of(&self, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
        let mut from: Option<String> = None;
        loop {
            let range = tables::user_files(tenant, user, from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut rows = self.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > limits::EXPORT_PAGE { rows.pop() } else { None };
            for row in rows {
                if let Ok(file) = FileId::parse(row.key.text(2)) {
                    stonechat_filing::delete_file(&self.rows, tenant, &file).await?;
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(2).to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// Deletes what is known of the devices that a user connected with.
    async fn delete_devices_of(&self, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
        loop {
            let range = tables::devices(tenant, user, None, limits::EXPORT_PAGE);
            let rows = self.rows.range(range).await.map_err(unavailable)?;
            if rows.is_empty() {
                return Ok(());
            }
            let keys: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
            self.rows.delete(&keys).await.map_err(unavailable)?;
        }
    }

    /// Erases what a user said and did in a conversation; gives how many events that were.
    async fn erase_from(&self, tenant: &TenantId, user: &UserId, id: &ConversationId) -> Result<u64, Error> {
        // First the user goes, so that nothing is said any more while it is looked for.
        self.erase_some(tenant, user, id, Found::default()).await?;
        let (mut found, mut count, mut after) = (Found::default(), 0, 0);
        let mut client_ids = Vec::new();
        loop {
            let window = Window::After(after);
            let page = self.views.history(tenant, None, id, window, limits::PAGE_EVENTS).await?;
            let log = conversation_log(tenant, id);
            for event in &page.events {
                after = event.seq;
                if event.sender == user.as_str()
                    && let Ok(client_id) = ClientId::parse(&event.client_id)
                {
                    client_ids.push(tables::client_id(&log, &event.sender, client_id));
                }
                look(event, user, &mut found);
            }
            self.look_at_edits(&log, &page.events, user, &mut found).await?;
            if found.targets.len() + found.touched.len() >= limits::ERASE_EVENTS / 2 || !page.more {
                count += (found.targets.len() + found.touched.len()) as u64;
                self.erase_some(tenant, user, id, std::mem::take(&mut found)).await?;
                self.rows.delete(&std::mem::take(&mut client_ids)).await.map_err(unavailable)?;
            }
            if !page.more {
                let mark = tables::mark(tenant, id, user);
                self.rows.delete(&[mark]).await.map_err(unavailable)?;
                return Ok(count);
            }
        }
    }

    /// What the tenant changed of the user's messages is the user's as well.
    async fn look_at_edits(
        &self,
        log: &LogKey,
        events: &[Event],
        user: &UserId,
        found: &mut Found,
    ) -> Result<(), Error> {
        let edits = events.iter().filter_map(|event| match &event.body {
            Some(event::Body::Edited(it)) if event.sender != user.as_str() => Some((event.seq, it.target)),
            _ => None,
        });
        let edits: Vec<(u64, u64)> = edits.collect();
        let keys: Vec<Key> = edits.iter().map(|(_, target)| tables::event(log, *target)).collect();
        for ((seq, _), row) in edits.iter().zip(self.rows.get(&keys).await.map_err(unavailable)?) {
            let target: Event = row.as_ref().map(decode).transpose()?.unwrap_or_default();
            if target.sender == user.as_str() || target.erased {
                found.targets.insert(*seq);
                found.touched.remove(seq);
            }
        }
        Ok(())
    }

    async fn erase_some(
        &self,
        tenant: &TenantId,
        user: &UserId,
        id: &ConversationId,
        found: Found,
    ) -> Result<(), Error> {
        let mut seqs: Vec<(bool, u64)> = found.targets.into_iter().map(|seq| (true, seq)).collect();
        seqs.extend(found.touched.into_iter().map(|seq| (false, seq)));
        let mut parts: Vec<&[(bool, u64)]> = seqs.chunks(limits::ERASE_EVENTS).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        for part in parts {
            let of = |wanted: bool| part.iter().filter(move |(own, _)| *own == wanted).map(|(_, seq)| *seq).collect();
            let erase = EraseUser { user: user.to_string(), targets: of(true), touched: of(false) };
            self.submit(CommandRecord {
                tenant: tenant.to_string(),
                log: LogId::Conversation(id.clone()).to_text().to_string(),
                body: Some(command_record::Body::EraseUser(erase)),
                ..CommandRecord::default()
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes a user's log and the user's sides of conversations. The newest event of an erased user's log stays: it
    /// says that the user was erased, and that the log goes on behind it.
    pub(super) async fn delete_user_log(&self, tenant: &TenantId, user: &UserId, keep: bool) -> Result<(), Error> {
        let log = LogKey { tenant: tenant.clone(), log: LogId::User(user.clone()) };
        let head = self.rows.get(&[tables::head(&log)]).await.map_err(unavailable)?.pop().flatten();
        let last_seq = head.as_ref().map(decode::<HeadRow>).transpose()?.map_or(0, |head| head.last_seq);
        self.delete_events(&log, if keep { last_seq } else { last_seq + 1 }).await?;
        loop {
            let range = tables::memberships(tenant, user, None, limits::EXPORT_PAGE);
            let rows = self.rows.range(range).await.map_err(unavailable)?;
            for row in &rows {
                if let Ok(id) = ConversationId::parse(row.key.text(2)) {
                    let partition = vec![tenant.shared().into(), user.shared().into(), id.shared().into()];
                    self.rows.delete_partition(&tables::HIDDEN, partition).await.map_err(unavailable)?;
                }
            }
            if rows.is_empty() {
                break;
            }
            let keys: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
            self.rows.delete(&keys).await.map_err(unavailable)?;
        }
        if !keep {
            self.rows.delete(&[tables::user(tenant, user), tables::head(&log)]).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Deletes the events of a log before a seq, with their overlays and client ids.
    pub(super) async fn delete_events(&self, log: &LogKey, until: u64) -> Result<(), Error> {
        let mut from = 1;
        while from < until {
            let end = ((from / limits::EVENTS_PER_BUCKET + 1) * limits::EVENTS_PER_BUCKET).min(until);
            let range = tables::bucket_range(&tables::EVENTS, log, from, end, false, limits::EXPORT_PAGE);
            let rows = self.rows.range(range).await.map_err(unavailable)?;
            let is_last = rows.len() < limits::EXPORT_PAGE;
            let mut keys = Vec::with_capacity(rows.len() * 2);
            for row in rows {
                let event: Event = decode(&row)?;
                if let Ok(client_id) = ClientId::parse(&event.client_id) {
                    keys.push(tables::client_id(log, &event.sender, client_id));
                }
                from = row.key.number(3) + 1;
                keys.push(tables::overlay(log, row.key.number(3)));
                keys.push(row.key);
            }
            self.rows.delete(&keys).await.map_err(unavailable)?;
            if is_last {
                from = end;
            }
        }
        Ok(())
    }
}

/// Looks whether an event is the user's, or mentions the user, or says that the user reacted to another one.
fn look(event: &Event, user: &UserId, found: &mut Found) {
    let is_own = event.sender == user.as_str();
    let mentions = |message: &stonechat_proto::v1::Message| message.mentions.iter().any(|it| it == user.as_str());
    match &event.body {
        Some(event::Body::Message(_) | event::Body::Edited(_)) if is_own => drop(found.targets.insert(event.seq)),
        Some(event::Body::Message(message)) if mentions(message) => drop(found.touched.insert(event.seq)),
        Some(event::Body::Edited(it)) if it.content.as_ref().is_some_and(mentions) => {
            found.touched.extend([event.seq, it.target]);
        }
        Some(event::Body::ReactionAdded(it)) if is_own => {
            found.targets.insert(event.seq);
            found.touched.insert(it.target);
        }
        Some(event::Body::ReactionRemoved(_)) if is_own => drop(found.targets.insert(event.seq)),
        _ => {}
    }
}
