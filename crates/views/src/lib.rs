//! What users and tenants read: history pages, conversation lists, members; composed from rows.

mod conversations;
mod devices;
mod files;
mod history;
mod listing;
mod members;
mod messages;
mod unread;

pub use conversations::Side;
pub use devices::session_id;
pub use files::{StoredFile, file_path};
pub use unread::{Unread, UnreadOf};

use std::sync::Arc;

use prost::Message;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow},
    v1::Role,
};
use stonechat_rows::{Key, Row, Rows, RowsError, tables};

/// Events of a page where the caller does not say.
pub const DEFAULT_PAGE_EVENTS: usize = 50;

/// Which events of a log a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The newest.
    Newest,
    /// Those with a greater seq, oldest first.
    After(u64),
    /// The newest of those with a smaller seq.
    Before(u64),
    /// Those on both sides of a seq, itself included.
    Around(u64),
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T> {
    /// The page.
    pub items: Vec<T>,
    /// Given as `from` to get the next page; `None` at the end.
    pub next: Option<String>,
}

/// Reads over the rows. A `reader` is the user who reads; `None` is the tenant, who may read everything of its own.
/// A conversation that does not exist, is another tenant's, or that the reader is no member of is "not found".
#[derive(Clone)]
pub struct Views {
    rows: Arc<dyn Rows>,
}

/// What was read of a conversation on behalf of a reader.
struct Access {
    log: LogKey,
    head: HeadRow,
    /// The reader's; `None` for the tenant.
    member: Option<MemberRow>,
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer a read");
    Error::unavailable("rows do not answer")
}

fn decode<T: Message + Default>(row: &Row) -> Result<T, Error> {
    T::decode(row.value.clone()).map_err(|error| {
        tracing::error!(%error, table = row.key.table.name, "stored row is corrupt");
        Error::internal()
    })
}

fn conversation_log(tenant: &TenantId, conversation: &ConversationId) -> LogKey {
    LogKey { tenant: tenant.clone(), log: LogId::Conversation(conversation.clone()) }
}

impl Views {
    /// Reads over these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// Whether the user is a member of the conversation now.
    pub async fn is_member(
        &self,
        tenant: &TenantId,
        user: &UserId,
        conversation: &ConversationId,
    ) -> Result<bool, Error> {
        let answers = self.are_member(tenant, user, std::slice::from_ref(conversation)).await?;
        Ok(answers == [true])
    }

    /// Whether a user is a member of each of these conversations, in their order.
    pub async fn are_member(
        &self,
        tenant: &TenantId,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<bool>, Error> {
        let keys: Vec<Key> = conversations.iter().map(|id| tables::member(tenant, id, user)).collect();
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(limits::GET_KEYS) {
            for row in self.get(keys).await? {
                let member = row.as_ref().map(decode::<MemberRow>).transpose()?;
                answers.push(member.is_some_and(|member| member.role() != Role::Unspecified));
            }
        }
        Ok(answers)
    }

    /// The rows of some keys, in their order.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, Error> {
        let rows = self.rows.get(keys).await.map_err(unavailable)?;
        if rows.len() == keys.len() { Ok(rows) } else { Err(Error::internal()) }
    }

    /// A conversation's head, if the reader may know of it.
    async fn access(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
    ) -> Result<Access, Error> {
        let unknown = || Error::not_found("conversation");
        let log = conversation_log(tenant, conversation);
        let keys: Vec<Key> = reader
            .map(|user| tables::member(tenant, conversation, user))
            .into_iter()
            .chain([tables::head(&log)])
            .collect();
        let mut rows = self.get(&keys).await?;
        let head: HeadRow = rows.pop().flatten().as_ref().map(decode).transpose()?.ok_or_else(unknown)?;
        let member: Option<MemberRow> = rows.pop().flatten().as_ref().map(decode).transpose()?;
        let may_read = reader.is_none() || member.is_some_and(|member| member.role() != Role::Unspecified);
        if may_read { Ok(Access { log, head, member }) } else { Err(unknown()) }
    }
}
