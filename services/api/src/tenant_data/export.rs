//! Taking data out, item by item.

use stonechat_errors::Error;
use stonechat_model::{ConversationId, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::{MembershipRow, UserRow},
    v1::{DataEntry, DataItem, DataMembership, Event, Preferences, User, data_item::Item},
};
use stonechat_rows::{Row, tables};
use stonechat_views::Window;
use tokio::sync::mpsc;

use super::{Data, decode, unavailable};

/// Items that wait for the receiver.
const WAITING: usize = 256;

/// An export on its way: it ends when nobody receives any more.
pub(crate) struct Export {
    data: Data,
    tenant: TenantId,
    items: mpsc::Sender<Result<DataItem, Error>>,
}

/// Whether there is still somebody to give items to.
type Goes = Result<bool, Error>;

impl Export {
    /// Begins to take out everything of a tenant, or what is about a user of it. After an error nothing comes.
    pub fn begin(data: Data, tenant: TenantId, user: Option<UserId>) -> mpsc::Receiver<Result<DataItem, Error>> {
        let (items, receiver) = mpsc::channel(WAITING);
        let export = Self { data, tenant, items };
        tokio::spawn(async move {
            let done = match &user {
                Some(user) => export.user(user).await,
                None => export.tenant().await,
            };
            if let Err(error) = done {
                // Whoever received may have gone.
                let _ = export.items.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn give(&self, item: Item) -> Goes {
        Ok(self.items.send(Ok(DataItem { item: Some(item) })).await.is_ok())
    }

    async fn tenant(&self) -> Goes {
        for shard in 0..tables::USER_SHARDS {
            if !self.users(shard).await? {
                return Ok(false);
            }
        }
        let mut from = None;
        loop {
            let page = self.data.views.conversation_ids(&self.tenant, from.as_deref(), limits::EXPORT_PAGE).await?;
            for id in &page.items {
                if !self.conversation(id, None).await? || !self.memberships(id).await? {
                    return Ok(false);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(true),
            }
        }
    }

    async fn users(&self, shard: u64) -> Goes {
        let mut from: Option<String> = None;
        loop {
            let range = tables::users(&self.tenant, shard, from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut rows = self.data.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > limits::EXPORT_PAGE { rows.pop() } else { None };
            for row in &rows {
                if let Some(user) = user(row.key.text(2), row)?
                    && !self.give(Item::User(user)).await?
                {
                    return Ok(false);
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(2).to_owned()),
                None => return Ok(true),
            }
        }
    }

    /// The events of a conversation, all of them or those of one sender, as far as it goes now.
    async fn conversation(&self, id: &ConversationId, sender: Option<&UserId>) -> Goes {
        let mut after = 0;
        loop {
            let window = Window::After(after);
            let read = self.data.views.history(&self.tenant, None, id, window, limits::PAGE_EVENTS).await;
            let page = match read {
                Ok(page) => page,
                // It is in the list and has no head yet.
                Err(error) if error.code == stonechat_errors::Code::NotFound => return Ok(true),
                Err(error) => return Err(error),
            };
            let is_wanted = |event: &Event| sender.is_none_or(|sender| event.sender == sender.as_str());
            for event in page.events {
                after = event.seq;
                let is_wanted = is_wanted(&event);
                let entry = DataEntry { conversation: id.to_string(), event: Some(event) };
                if is_wanted && !self.give(Item::Entry(entry)).await? {
                    return Ok(false);
                }
            }
            if !page.more {
                return Ok(true);
            }
        }
    }

    /// The members' sides of a conversation, where they say something.
    async fn memberships(&self, id: &ConversationId) -> Goes {
        let mut from: Option<String> = None;
        loop {
            let range = tables::members(&self.tenant, id, from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut members = self.data.rows.range(range).await.map_err(unavailable)?;
            let next = if members.len() > limits::EXPORT_PAGE { members.pop() } else { None };
            let users: Vec<UserId> = members.iter().filter_map(|row| UserId::parse(row.key.text(2)).ok()).collect();
            let keys: Vec<_> = users.iter().map(|user| tables::membership(&self.tenant, user, id)).collect();
            let rows = self.data.rows.get(&keys).await.map_err(unavailable)?;
            for (user, row) in users.iter().zip(rows) {
                let side = row.as_ref().map(decode::<MembershipRow>).transpose()?;
                if let Some(side) = side.and_then(|side| membership(user, id, side))
                    && !self.give(Item::Membership(side)).await?
                {
                    return Ok(false);
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(2).to_owned()),
                None => return Ok(true),
            }
        }
    }

    async fn user(&self, id: &UserId) -> Goes {
        let found = self.data.rows.get(&[tables::user(&self.tenant, id)]).await.map_err(unavailable)?;
        let found = found.into_iter().flatten().next();
        if let Some(row) = &found
            && let Some(user) = user(id.as_str(), row)?
            && !self.give(Item::User(user)).await?
        {
            return Ok(false);
        }
        let mut from: Option<String> = None;
        loop {
            let range = tables::memberships(&self.tenant, id, from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut rows = self.data.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > limits::EXPORT_PAGE { rows.pop() } else { None };
            for row in &rows {
                let Ok(conversation) = ConversationId::parse(row.key.text(2)) else { continue };
                if !self.conversation(&conversation, Some(id)).await? {
                    return Ok(false);
                }
                if let Some(side) = membership(id, &conversation, decode(row)?)
                    && !self.give(Item::Membership(side)).await?
                {
                    return Ok(false);
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(2).to_owned()),
                None => return Ok(true),
            }
        }
    }
}

/// A user as an import takes it; none who was erased.
fn user(id: &str, row: &Row) -> Result<Option<User>, Error> {
    let UserRow { name, avatar, deactivated, created_us, erased, .. } = decode(row)?;
    let user = User { id: id.to_owned(), name, avatar, active: !deactivated, created_us };
    Ok((!erased).then_some(user))
}

fn membership(user: &UserId, id: &ConversationId, side: MembershipRow) -> Option<DataMembership> {
    let MembershipRow { read_seq, delivered_seq, preferences, .. } = side;
    let preferences = preferences.filter(|preferences| *preferences != Preferences::default());
    let (user, conversation) = (user.to_string(), id.to_string());
    let says = read_seq > 0 || delivered_seq > 0 || preferences.is_some();
    says.then_some(DataMembership { user, conversation, read_seq, delivered_seq, preferences })
}
