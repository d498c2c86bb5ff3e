//! How much a user has not read.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId, limits};
use stonechat_proto::v1::{Conversation, event};

use crate::{Views, Window};

/// Conversations whose events are read at once.
const AT_ONCE: usize = 16;

/// What a user has not read of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadOf {
    /// The conversation.
    pub conversation: ConversationId,
    /// Messages of others after the read mark, as far as `limits::UNREAD_EVENTS` events behind it tell.
    pub count: u32,
    /// Those of them that mention the user.
    pub mentions: u32,
    /// Whether there is more than was counted.
    pub more: bool,
    /// The user's read mark.
    pub read_seq: u64,
    /// Whether the user wants no notifications of it.
    pub muted: bool,
}

/// What a user has not read of all conversations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unread {
    /// The conversations with something that is not read, in the order of their ids.
    pub conversations: Vec<UnreadOf>,
    /// The sum of the counts.
    pub total: u64,
    /// Whether there is more than was counted.
    pub more: bool,
}

impl Views {
    /// Counts what a user has not read, in `limits::UNREAD_CONVERSATIONS` conversations at most.
    pub async fn unread(&self, tenant: &TenantId, user: &UserId) -> Result<Unread, Error> {
        let mut unread = Unread::default();
        let (mut from, mut seen) = (None::<String>, 0);
        loop {
            let page = self.conversations(tenant, user, from.as_deref(), limits::PAGE_CONVERSATIONS).await?;
            seen += page.items.len();
            let behind = page.items.into_iter().filter(|conversation| conversation.read_seq < conversation.last_seq);
            let counts = stream::iter(behind.map(|conversation| self.unread_of(tenant, user, conversation)));
            let counted: Vec<UnreadOf> = counts.buffered(AT_ONCE).try_collect().await?;
            for of in counted.into_iter().filter(|of| of.count > 0 || of.more) {
                unread.total += u64::from(of.count);
                unread.more |= of.more;
                unread.conversations.push(of);
            }
            match page.next {
                Some(next) if seen < limits::UNREAD_CONVERSATIONS => from = Some(next),
                next => {
                    unread.more |= next.is_some();
                    return Ok(unread);
                }
            }
        }
    }

    async fn unread_of(&self, tenant: &TenantId, user: &UserId, conversation: Conversation) -> Result<UnreadOf, Error> {
        let id = ConversationId::parse(&conversation.id).map_err(|_| Error::internal())?;
        let window = Window::After(conversation.read_seq);
        let page = self.history(tenant, Some(user), &id, window, limits::UNREAD_EVENTS).await?;
        let (mut count, mut mentions) = (0, 0);
        for event in page.events.iter().filter(|event| event.sender != user.as_str() && !event.erased) {
            if let Some(event::Body::Message(message)) = &event.body {
                count += 1;
                mentions += u32::from(message.mentions.iter().any(|mentioned| mentioned == user.as_str()));
            }
        }
        let muted = conversation.preferences.is_some_and(|preferences| preferences.muted);
        let read_seq = conversation.read_seq;
        Ok(UnreadOf { conversation: id, count, mentions, more: page.more, read_seq, muted })
    }
}
