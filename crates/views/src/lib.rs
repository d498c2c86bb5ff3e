//! What users and tenants read: history pages, conversation lists, members; composed from rows.

use std::sync::Arc;

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId};
use stonechat_proto::v1;
use stonechat_rows::Rows;

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
    #[expect(dead_code, reason = "placeholder")]
    rows: Arc<dyn Rows>,
}

#[expect(unused_variables, clippy::unused_async, reason = "placeholder")]
impl Views {
    /// Reads over these rows.
    pub fn new(rows: Arc<dyn Rows>) -> Self {
        Self { rows }
    }

    /// A page of a conversation's events with overlays and what the reader deleted for themselves.
    /// `limit` is cut to `limits::PAGE_EVENTS`; 0 means a default of 50.
    pub async fn history(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        window: Window,
        limit: usize,
    ) -> Result<v1::Page, Error> {
        Err(Error::internal())
    }

    /// A page of a user's own log.
    pub async fn user_log(
        &self,
        tenant: &TenantId,
        user: &UserId,
        window: Window,
        limit: usize,
    ) -> Result<v1::Page, Error> {
        Err(Error::internal())
    }

    /// The newest seq of a user's log; 0 when it has no event.
    pub async fn user_log_seq(&self, tenant: &TenantId, user: &UserId) -> Result<u64, Error> {
        Err(Error::internal())
    }

    /// A page of a user's conversations (those it is a member of), in the order of their ids.
    pub async fn conversations(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<v1::Conversation>, Error> {
        Err(Error::internal())
    }

    /// One conversation as the reader sees it.
    pub async fn conversation(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
    ) -> Result<v1::Conversation, Error> {
        Err(Error::internal())
    }

    /// A page of a conversation's members with their marks, in the order of their ids.
    pub async fn members(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<v1::Member>, Error> {
        Err(Error::internal())
    }

    /// Whether the user is a member of the conversation now.
    pub async fn is_member(
        &self,
        tenant: &TenantId,
        user: &UserId,
        conversation: &ConversationId,
    ) -> Result<bool, Error> {
        Err(Error::internal())
    }
}
