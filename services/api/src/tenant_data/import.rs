//! Bringing a history in.
//!
//! Items become commands that say their seq and time, so that an import may be sent again from its beginning. They go
//! through the command log like all others: each conversation keeps one order and one owner.

use std::{collections::HashMap, sync::Arc};

use stonechat_commands::{ImportedSide, imported_event, imported_item, imported_user};
use stonechat_errors::{Code, Error};
use stonechat_model::{ConversationId, TenantId, UserId, limits, now_us};
use stonechat_proto::{
    internal::v1::{CommandRecord, HeadRow},
    v1::{DataEntry, DataItem, DataMembership, Event, ImportDataResponse, User, data_item::Item, event},
};
use stonechat_quotas::Seats;
use stonechat_rows::tables;

use super::{Data, conversation_log, decode, unavailable};

/// Bytes of commands that are on their way at once, about.
const BATCH_BYTES: usize = 4 << 20;

/// An import on its way.
pub(crate) struct Import {
    data: Data,
    tenant: TenantId,
    /// How many users the tenant may have.
    user_quota: u64,
    /// The users among the commands, with their places there.
    users: Vec<(usize, UserId)>,
    /// Of conversations whose items do not say their seqs, the newest one.
    seqs: HashMap<String, u64>,
    commands: Vec<(u64, CommandRecord)>,
    command_bytes: usize,
    memberships: Vec<(u64, ImportedSide)>,
    done: ImportDataResponse,
    /// The number of the present item, from 1.
    item: u64,
}

fn at(item: u64, error: Error) -> Error {
    let reason = format!("item {item}: {}", error.reason);
    Error { reason: reason.into(), ..error }
}

impl Import {
    /// An import of a tenant.
    pub fn new(data: Data, tenant: TenantId, user_quota: u64) -> Self {
        Self {
            data,
            tenant,
            user_quota,
            users: Vec::new(),
            seqs: HashMap::new(),
            commands: Vec::new(),
            command_bytes: 0,
            memberships: Vec::new(),
            done: ImportDataResponse::default(),
            item: 0,
        }
    }

    /// Takes a line of JSON; an empty one counts and says nothing.
    pub async fn take_line(&mut self, line: &[u8]) -> Result<(), Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            self.item += 1;
            return Ok(());
        }
        let item = imported_item(line).map_err(|error| at(self.item + 1, error))?;
        self.take(item).await
    }

    /// Takes an item. What was taken before it stands, also when this one is refused.
    pub async fn take(&mut self, item: DataItem) -> Result<(), Error> {
        self.item += 1;
        let taken = match item.item {
            Some(Item::User(user)) => self.take_user(user),
            Some(Item::Entry(entry)) => self.take_entry(entry).await,
            Some(Item::Membership(membership)) => self.take_membership(membership),
            None => Err(Error::invalid("it is none of user, entry and membership")),
        };
        if let Err(error) = taken {
            // What stands before it is done all the same, and its own errors come first.
            self.flush().await?;
            return Err(at(self.item, error));
        }
        let count = self.commands.len() + self.memberships.len();
        if count >= limits::IMPORT_BATCH || self.command_bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Has everything done that was taken.
    pub async fn finish(mut self) -> Result<ImportDataResponse, Error> {
        self.flush().await?;
        Ok(self.done)
    }

    fn push(&mut self, command: CommandRecord) {
        self.command_bytes += prost::Message::encoded_len(&command);
        self.commands.push((self.item, command));
    }

    fn take_user(&mut self, user: User) -> Result<(), Error> {
        let (id, command) = imported_user(&self.tenant, user, now_us())?;
        self.users.push((self.commands.len(), id));
        self.push(command);
        self.done.users += 1;
        Ok(())
    }

    async fn take_entry(&mut self, entry: DataEntry) -> Result<(), Error> {
        let DataEntry { conversation, event } = entry;
        let mut event = event.ok_or_else(|| Error::invalid("event is missing"))?;
        if event.time_us <= 0 {
            return Err(Error::invalid("time is missing or before 1970"));
        }
        if event.seq == 0 {
            event.seq = self.count(&conversation)?;
        }
        if event.seq == 1 && !matches!(&event, Event { body: Some(event::Body::Created(_)), .. }) {
            return Err(Error::invalid("the first event of a conversation has the type created"));
        }
        let command = imported_event(&self.data.views, &self.tenant, &conversation, event).await?;
        self.push(command);
        self.done.entries += 1;
        Ok(())
    }

    /// The seq of the next event of a conversation whose items do not say theirs.
    fn count(&mut self, conversation: &str) -> Result<u64, Error> {
        if let Some(seq) = self.seqs.get_mut(conversation) {
            *seq += 1;
            return Ok(*seq);
        }
        if self.seqs.len() >= limits::IMPORT_CONVERSATIONS {
            let reason = format!("at most {} conversations without seqs", limits::IMPORT_CONVERSATIONS);
            return Err(Error::new(Code::LimitExceeded, reason));
        }
        ConversationId::parse(conversation).map_err(|e| Error::invalid(format!("conversation: {e}")))?;
        self.seqs.insert(conversation.to_owned(), 1);
        Ok(1)
    }

    fn take_membership(&mut self, membership: DataMembership) -> Result<(), Error> {
        self.memberships.push((self.item, ImportedSide::parse(membership)?));
        self.done.memberships += 1;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let (items, mut commands): (Vec<u64>, Vec<CommandRecord>) =
            std::mem::take(&mut self.commands).into_iter().unzip();
        self.command_bytes = 0;
        if let Err((place, error)) = self.seat_users().await {
            commands.truncate(place);
            self.submit(&items, commands).await?;
            return Err(at(items.get(place).copied().unwrap_or(self.item), error));
        }
        self.submit(&items, commands).await?;
        // Marks lie within their conversations, which are complete so far.
        let memberships = std::mem::take(&mut self.memberships);
        let (items, commands) = self.membership_commands(memberships).await?;
        self.submit(&items, commands).await?;
        self.done.items = self.item;
        Ok(())
    }

    /// Makes sure that the users among the commands have seats, or gives the place of the first who gets none.
    async fn seat_users(&mut self) -> Result<(), (usize, Error)> {
        let (places, users): (Vec<usize>, Vec<UserId>) = std::mem::take(&mut self.users).into_iter().unzip();
        let seats = Seats::new(Arc::clone(&self.data.rows));
        match seats.take_all(&self.tenant, &users, self.user_quota).await {
            // Some of them may have room still.
            Err(error) if error.code == Code::LimitExceeded => {
                for (place, user) in places.into_iter().zip(&users) {
                    seats.take(&self.tenant, user, self.user_quota).await.map_err(|error| (place, error))?;
                }
                Ok(())
            }
            taken => taken.map_err(|error| (places.first().copied().unwrap_or(0), error)),
        }
    }

    async fn submit(&self, items: &[u64], commands: Vec<CommandRecord>) -> Result<(), Error> {
        let submitted = self.data.submit_all(commands).await;
        submitted.map_err(|(place, error)| at(items.get(place).copied().unwrap_or(self.item), error))?;
        metrics::counter!("stonechat_api_imported_items_total").increment(items.len() as u64);
        Ok(())
    }

    async fn membership_commands(
        &self,
        memberships: Vec<(u64, ImportedSide)>,
    ) -> Result<(Vec<u64>, Vec<CommandRecord>), Error> {
        let sides = || memberships.iter().map(|(_, side)| side);
        let heads = sides().map(|side| tables::head(&conversation_log(&self.tenant, &side.conversation)));
        let members = sides().map(|side| tables::member(&self.tenant, &side.conversation, &side.user));
        let keys: Vec<_> = heads.chain(members).collect();
        let mut found = self.data.rows.get(&keys).await.map_err(unavailable)?;
        let members = found.split_off(memberships.len());
        let (mut items, mut commands) = (Vec::new(), Vec::new());
        for ((head, member), (item, side)) in found.into_iter().zip(members).zip(memberships) {
            let (Some(head), Some(_)) = (head, member) else {
                return Err(at(item, Error::not_found("member")));
            };
            if side.newest_mark() > decode::<HeadRow>(&head)?.last_seq {
                return Err(at(item, Error::invalid("mark is beyond the conversation's newest event")));
            }
            let records = side.into_records(&self.tenant, now_us());
            items.extend(records.iter().map(|_| item));
            commands.extend(records);
        }
        Ok((items, commands))
    }
}
