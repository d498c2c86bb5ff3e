//! A tenant's conversations, as the tenant lists them.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId};
use stonechat_rows::tables;

use crate::{List, Views, conversation_log, conversations, decode, unavailable};

impl Views {
    /// A page of the ids of a tenant's conversations, and where the next one begins. In the order of a spread of their
    /// ids, which stays the same.
    pub async fn conversation_ids(
        &self,
        tenant: &TenantId,
        from: Option<&str>,
        size: usize,
    ) -> Result<List<ConversationId>, Error> {
        let wrong = || Error::invalid("page_token is none of ours");
        // A token is a partition and the conversation to begin with.
        let (mut shard, mut from) = match from.map(|token| token.split_once('/').ok_or_else(wrong)).transpose()? {
            Some((shard, from)) => {
                ConversationId::parse(from).map_err(|_| wrong())?;
                (shard.parse::<u64>().map_err(|_| wrong())?, Some(from.to_owned()))
            }
            None => (0, None),
        };
        let mut items = Vec::new();
        while shard < tables::CONVERSATION_SHARDS {
            let range = tables::conversations(tenant, shard, from.as_deref(), size + 1 - items.len());
            for row in self.rows.range(range).await.map_err(unavailable)? {
                let id = row.key.text(2);
                if items.len() == size {
                    return Ok(List { items, next: Some(format!("{shard}/{id}")) });
                }
                items.push(ConversationId::parse(id).map_err(|_| Error::internal())?);
            }
            shard += 1;
            from = None;
        }
        Ok(List { items, next: None })
    }

    /// A page of a tenant's conversations as the tenant sees them.
    pub async fn tenant_conversations(
        &self,
        tenant: &TenantId,
        from: Option<&str>,
        limit: usize,
    ) -> Result<List<stonechat_proto::v1::Conversation>, Error> {
        let ids = self.conversation_ids(tenant, from, conversations::page_size(limit)).await?;
        let keys: Vec<_> = ids.items.iter().map(|id| tables::head(&conversation_log(tenant, id))).collect();
        let mut items = Vec::with_capacity(keys.len());
        for (id, head) in ids.items.iter().zip(self.get(&keys).await?) {
            // The head comes last of what is written, so there may be none yet.
            if let Some(head) = head {
                items.push(conversations::compose(id, decode(&head)?, None, None, None));
            }
        }
        Ok(List { items, next: ids.next })
    }
}
