//! Members as lists show them.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{MarkRow, MemberRow},
    v1::{Member, Role},
};
use stonechat_rows::tables;

use crate::{List, Views, decode, unavailable};

/// Members of a page where the caller does not say.
const DEFAULT_PAGE_MEMBERS: usize = 100;
/// Reads for one page of members; one among many who left is shorter than was asked for.
const PAGE_READS: usize = 20;

impl Views {
    /// A page of a conversation's members with their marks, in the order of their ids. The marks of others are
    /// hidden from users where the settings say so.
    pub async fn members(
        &self,
        tenant: &TenantId,
        reader: Option<&UserId>,
        conversation: &ConversationId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<Member>, Error> {
        let access = self.access(tenant, reader, conversation).await?;
        let size = if limit == 0 { DEFAULT_PAGE_MEMBERS } else { limit.min(limits::PAGE_EVENTS) };
        let receipts = access.head.settings.as_ref().is_some_and(|settings| settings.read_receipts());
        let mut items = Vec::new();
        let mut from = from.map(str::to_owned);
        let mut reads = 0;
        // Those who left keep their rows, so a page of members may take several reads.
        let next = 'reading: loop {
            reads += 1;
            let range = tables::members(tenant, conversation, from.as_deref(), size + 1);
            let mut rows = self.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > size { rows.pop().map(|row| row.key.text(2).to_owned()) } else { None };
            for row in &rows {
                if items.len() == size {
                    break 'reading Some(row.key.text(2).to_owned());
                }
                let member: MemberRow = decode(row)?;
                if member.role() != Role::Unspecified {
                    items.push(Member {
                        user: row.key.text(2).to_owned(),
                        role: member.role,
                        joined_seq: member.joined_seq,
                        muted_until_us: member.muted_until_us,
                        ..Member::default()
                    });
                }
            }
            if next.is_none() || items.len() == size || reads == PAGE_READS {
                break next;
            }
            from = next;
        };
        let shows = |member: &Member| receipts || reader.is_none_or(|reader| reader.as_str() == member.user);
        self.add_marks(tenant, conversation, items.iter_mut().filter(|member| shows(member)).collect()).await?;
        Ok(List { items, next })
    }

    async fn add_marks(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        members: Vec<&mut Member>,
    ) -> Result<(), Error> {
        let key = |member: &&mut Member| {
            let user = UserId::parse(&member.user).ok()?;
            Some(tables::mark(tenant, conversation, &user))
        };
        let keys: Vec<_> = members.iter().filter_map(key).collect();
        if keys.len() != members.len() {
            return Err(Error::internal());
        }
        for (member, row) in members.into_iter().zip(self.get(&keys).await?) {
            if let Some(row) = row {
                let mark: MarkRow = decode(&row)?;
                member.read_seq = mark.read_seq;
                member.delivered_seq = mark.delivered_seq;
            }
        }
        Ok(())
    }
}
