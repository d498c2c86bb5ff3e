//! Conversations as lists show them.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{HeadRow, MemberRow, MembershipRow},
    v1::{Conversation, ConversationKind, Role},
};
use stonechat_rows::tables;

use crate::{List, Views, conversation_log, decode, unavailable};

/// A user's side of a conversation that it is a member of.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The conversation.
    pub id: ConversationId,
    membership: MembershipRow,
    member: MemberRow,
}

impl Side {
    /// Whether the conversation was a channel when the user joined; a group may have become one since.
    pub fn joined_channel(&self) -> bool {
        self.membership.kind() == ConversationKind::Channel
    }
}

/// The most conversations of one page.
pub(crate) fn page_size(limit: usize) -> usize {
    if limit == 0 { limits::PAGE_CONVERSATIONS } else { limit.min(limits::PAGE_CONVERSATIONS) }
}

pub(crate) fn compose(
    id: &ConversationId,
    head: HeadRow,
    reader: Option<&UserId>,
    member: Option<MemberRow>,
    membership: Option<MembershipRow>,
) -> Conversation {
    let peer = match (head.kind(), reader) {
        (ConversationKind::Direct, Some(reader)) => head.peers.iter().find(|peer| *peer != reader.as_str()),
        _ => None,
    };
    let membership = membership.unwrap_or_default();
    Conversation {
        id: id.to_string(),
        kind: head.kind,
        peer: peer.cloned().unwrap_or_default(),
        settings: head.settings,
        last_seq: head.last_seq,
        member_count: head.member_count,
        created_us: head.created_us,
        updated_us: head.time_us,
        dismissed: head.dismissed,
        role: member.map_or(0, |member| member.role),
        read_seq: membership.read_seq,
        delivered_seq: membership.delivered_seq,
        preferences: membership.preferences,
    }
}

impl Views {
    /// One conversation as the reader sees it.
    pub async fn conversation(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
    ) -> Result<Conversation, Error> {
        let access = self.access(tenant, reader, conversation).await?;
        let membership = match reader {
            Some(user) => self.get(&[tables::membership(tenant, user, conversation)]).await?.swap_remove(0),
            None => None,
        };
        let membership = membership.as_ref().map(decode).transpose()?;
        Ok(compose(conversation, access.head, reader, access.member, membership))
    }

    /// A page of a user's conversations (those it is a member of), in the order of their ids.
    pub async fn conversations(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<Conversation>, Error> {
        let List { items, next } = self.sides(tenant, user, from, limit).await?;
        Ok(List { items: self.conversations_of(tenant, user, items).await?, next })
    }

    /// A page of a user's sides of conversations, in the order of their ids: what [`Self::conversations`] begins with.
    pub async fn sides(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<Side>, Error> {
        let size = page_size(limit);
        let range = tables::memberships(tenant, user, from, size + 1);
        let mut rows = self.rows.range(range).await.map_err(unavailable)?;
        let next = if rows.len() > size { rows.pop().map(|row| row.key.text(2).to_owned()) } else { None };
        let mut memberships = Vec::with_capacity(rows.len());
        for row in &rows {
            let membership: MembershipRow = decode(row)?;
            if let (true, Ok(id)) = (membership.member, ConversationId::parse(row.key.text(2))) {
                memberships.push((id, membership));
            }
        }
        let keys: Vec<_> = memberships.iter().map(|(id, _)| tables::member(tenant, id, user)).collect();
        let members = self.get(&keys).await?;
        let mut items = Vec::with_capacity(memberships.len());
        for ((id, membership), member) in memberships.into_iter().zip(members) {
            // The user's side follows a little later than the conversation's; the conversation's is right.
            let member = member.as_ref().map(decode::<MemberRow>).transpose()?;
            if let Some(member) = member.filter(|member| member.role() != Role::Unspecified) {
                items.push(Side { id, membership, member });
            }
        }
        Ok(List { items, next })
    }

    /// The conversations of these sides, as their heads are now.
    pub async fn conversations_of(
        &self,
        tenant: &TenantId,
        user: &UserId,
        sides: Vec<Side>,
    ) -> Result<Vec<Conversation>, Error> {
        let keys: Vec<_> = sides.iter().map(|side| tables::head(&conversation_log(tenant, &side.id))).collect();
        let heads = self.get(&keys).await?;
        let mut items = Vec::with_capacity(sides.len());
        for (Side { id, membership, member }, head) in sides.into_iter().zip(heads) {
            if let Some(head) = head {
                items.push(compose(&id, decode(&head)?, Some(user), Some(member), Some(membership)));
            }
        }
        Ok(items)
    }
}
