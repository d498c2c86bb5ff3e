//! Deleting a tenant with all its data.
//!
//! Rows go in the order in which they are found by each other: what a conversation holds before its row in the list,
//! what the list of keys names before the list. So work that broke off goes on with what is left.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, KeyId, TenantId, UserId, limits};
use stonechat_proto::internal::v1::{FileRow, HeadRow};
use stonechat_rows::{Key, KeyPart, Table, tables};

use super::{Data, conversation_log, decode, jobs::Progress, stream, unavailable};

/// The most shards of a table that is spread over partitions by a hash.
const SHARDS: u64 = 64;
const _: () = assert!(tables::CONVERSATION_SHARDS <= SHARDS && tables::USER_SHARDS <= SHARDS);
const _: () = assert!(tables::FILE_SHARDS <= SHARDS && tables::DEVICE_SHARDS <= SHARDS);

/// How a table's rows of a tenant are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Its partitions are a tenant's, or a tenant's and a shard.
    ByTenant,
    /// Through the tenant's conversations, their members and events.
    ByConversation,
    /// In a way of its own.
    Apart,
    /// It holds nothing of a tenant, or what stays so that an id is not used again.
    Not,
}

/// How a table's rows of a tenant are found; `None` for a table that deleting does not know.
pub(crate) fn held(table: &Table) -> Option<Held> {
    let columns: Vec<&str> = table.partition.iter().map(|column| column.name).collect();
    let through = [&tables::EVENTS, &tables::OVERLAYS, &tables::HEADS, &tables::MEMBERS, &tables::MARKS, &tables::PINS];
    let through_users = [&tables::MEMBERSHIPS, &tables::HIDDEN, &tables::CLIENT_IDS];
    let is_one_of = |tables: &[&Table]| tables.iter().any(|known| std::ptr::eq(*known, table));
    match columns[..] {
        _ if is_one_of(&through) || is_one_of(&through_users) => Some(Held::ByConversation),
        // The role files deletes what says where bytes are, after the bytes.
        _ if is_one_of(&[&tables::UPLOADS, &tables::FILE_CONTENTS, &tables::FILE_TENANTS]) => Some(Held::Apart),
        _ if is_one_of(&[&tables::UPLOAD_PIECES, &tables::CONTENT_REFS, &tables::FILE_DUES]) => Some(Held::Apart),
        ["tenant"] | ["tenant", "shard"] => Some(Held::ByTenant),
        _ if is_one_of(&[&tables::KEYS, &tables::STREAM]) => Some(Held::Apart),
        // `Webhooks::delete_tenant` deletes them.
        _ if is_one_of(&[&tables::FEEDS, &tables::FEED, &tables::WEBHOOK_LANES]) => Some(Held::Apart),
        _ if is_one_of(&[&tables::DELIVERIES, &tables::DEAD_LETTERS]) => Some(Held::Apart),
        // By the files that they are about.
        _ if is_one_of(&[&tables::USER_FILES, &tables::FILE_REFS]) => Some(Held::Apart),
        _ if is_one_of(&[&tables::TENANTS, &tables::COUNTERS, &tables::STREAM_POSITIONS, &tables::JOBS]) => {
            Some(Held::Not)
        }
        _ => None,
    }
}

impl Data {
    /// Deletes every row of a tenant. Nothing is written for it any more.
    pub(super) async fn delete_tenant(&self, tenant: &TenantId, progress: &mut Progress) -> Result<(), Error> {
        loop {
            let page = self.views.conversation_ids(tenant, None, limits::EXPORT_PAGE).await?;
            if page.items.is_empty() {
                break;
            }
            for id in &page.items {
                self.delete_conversation(tenant, id).await?;
                progress.conversations += 1;
                progress.changed += 1;
            }
        }
        for shard in 0..tables::USER_SHARDS {
            loop {
                let range = tables::users(tenant, shard, None, limits::EXPORT_PAGE);
                let rows = self.rows.range(range).await.map_err(unavailable)?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    let user = UserId::parse(row.key.text(2)).map_err(|_| Error::internal())?;
                    self.delete_user_log(tenant, &user, false).await?;
                    progress.changed += 1;
                }
            }
        }
        self.delete_files(tenant).await?;
        self.delete_keys(tenant).await?;
        stonechat_webhooks::Webhooks::new(std::sync::Arc::clone(&self.rows)).delete_tenant(tenant).await?;
        stream::delete_tenant(&self.rows, tenant).await?;
        for table in tables::ALL.iter().filter(|table| held(table) == Some(Held::ByTenant)) {
            self.delete_by_tenant(table, tenant).await?;
        }
        Ok(())
    }

    async fn delete_by_tenant(&self, table: &'static Table, tenant: &TenantId) -> Result<(), Error> {
        let shards = if table.partition.len() > 1 { SHARDS } else { 1 };
        for shard in 0..shards {
            let parts = [KeyPart::from(tenant.shared()), KeyPart::from(shard)];
            let partition = parts[..table.partition.len()].to_vec();
            self.rows.delete_partition(table, partition).await.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn delete_conversation(&self, tenant: &TenantId, id: &ConversationId) -> Result<(), Error> {
        let log = conversation_log(tenant, id);
        let mut from: Option<String> = None;
        loop {
            let range = tables::members(tenant, id, from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut rows = self.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > limits::EXPORT_PAGE { rows.pop() } else { None };
            for row in rows {
                if let Ok(user) = UserId::parse(row.key.text(2)) {
                    self.delete_user_log(tenant, &user, false).await?;
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(2).to_owned()),
                None => break,
            }
        }
        let head = self.rows.get(&[tables::head(&log)]).await.map_err(unavailable)?.pop().flatten();
        let last_seq = head.as_ref().map(decode::<HeadRow>).transpose()?.map_or(0, |head| head.last_seq);
        // Above the head may stand what an attempt left that did not finish.
        let until = last_seq + 1 + limits::ROLL_FORWARD_EVENTS as u64;
        self.delete_events(&log, until).await?;
        let partition = || vec![KeyPart::from(tenant.shared()), KeyPart::from(id.shared())];
        for table in [&tables::MEMBERS, &tables::MARKS, &tables::PINS, &tables::HEADS] {
            self.rows.delete_partition(table, partition()).await.map_err(unavailable)?;
        }
        self.rows.delete(&[tables::conversation(tenant, id)]).await.map_err(unavailable)
    }

    /// Deletes the rows of files that are found through them, then the files.
    async fn delete_files(&self, tenant: &TenantId) -> Result<(), Error> {
        stonechat_filing::forget_tenant(&self.rows, tenant).await?;
        for shard in 0..tables::FILE_SHARDS {
            loop {
                let range = tables::files(tenant, shard, None, limits::EXPORT_PAGE);
                let rows = self.rows.range(range).await.map_err(unavailable)?;
                if rows.is_empty() {
                    break;
                }
                for row in &rows {
                    let file = KeyPart::from(row.key.text(2));
                    let refs = vec![tenant.shared().into(), file];
                    self.rows.delete_partition(&tables::FILE_REFS, refs).await.map_err(unavailable)?;
                    if let Ok(owner) = UserId::parse(&decode::<FileRow>(row)?.owner) {
                        let listed = vec![tenant.shared().into(), owner.shared().into()];
                        self.rows.delete_partition(&tables::USER_FILES, listed).await.map_err(unavailable)?;
                    }
                }
                let files: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
                self.rows.delete(&files).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }

    async fn delete_keys(&self, tenant: &TenantId) -> Result<(), Error> {
        loop {
            let range = tables::tenant_keys(tenant, None, limits::EXPORT_PAGE);
            let rows = self.rows.range(range).await.map_err(unavailable)?;
            if rows.is_empty() {
                return Ok(());
            }
            let keys = rows.iter().filter_map(|row| KeyId::parse(row.key.text(1)).ok());
            let keys: Vec<Key> = keys.map(|id| tables::key(&id)).collect();
            self.rows.delete(&keys).await.map_err(unavailable)?;
            let listed: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
            self.rows.delete(&listed).await.map_err(unavailable)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_knows_every_table() {
        for table in tables::ALL {
            assert!(held(table).is_some(), "deleting a tenant does not know the table {}", table.name);
        }
    }
}
