//! The operations on data, below REST and gRPC alike.

use std::sync::Arc;

use stonechat_auth::Keys;
use stonechat_commands::{check_plain, user_record};
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, UserId, limits};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{CommandRecord, JobKind, UserRow, user_action},
    v1::{
        CreateUsersRequest, CreateUsersResponse, DeleteTenantRequest, EraseUserRequest, GetDeletionRequest,
        GetErasureRequest, GetMessageRequest, ListMembersResponse, ListMessagesResponse, ListPinnedRequest,
        ListReadersRequest, ListUnreadRequest, ListUnreadResponse, ProfileChanged, PurgeStorageRequest,
        PurgeStorageResponse, SetUserStatusRequest, Status, UnreadCount, UpsertUserRequest, User, Work,
    },
};
use stonechat_quotas::Seats;
use stonechat_rows::tables;
use stonechat_rpc::{Control, Presence, StatusUpdate};

use super::{Data, Jobs, decode, unavailable};
use crate::service::{conversation_id, page_size, page_token, say_what_they_say_now, user_id};

/// The operations on data.
pub(crate) struct DataOperations {
    pub data: Data,
    pub jobs: Arc<Jobs>,
    pub presence: Arc<dyn Presence>,
    pub keys: Keys,
}

fn tenant_id(text: &str) -> Result<TenantId, Error> {
    TenantId::parse(text).map_err(|e| Error::invalid(format!("tenant: {e}")))
}

/// The command that makes or changes a profile.
fn profile(tenant: &TenantId, request: UpsertUserRequest) -> Result<(UserId, CommandRecord), Error> {
    let id = user_id(&request.user)?;
    check_plain("name", request.name.as_deref().unwrap_or_default(), limits::NAME_BYTES)?;
    check_plain("avatar", request.avatar.as_deref().unwrap_or_default(), limits::AVATAR_BYTES)?;
    let change = ProfileChanged { name: request.name, avatar: request.avatar };
    let record = user_record(tenant, &id, user_action::Kind::UpdateProfile(change));
    Ok((id, record))
}

fn page_of(mut page: stonechat_proto::v1::Page) -> ListMessagesResponse {
    say_what_they_say_now(&mut page);
    ListMessagesResponse {
        messages: page.events,
        overlays: page.overlays,
        hidden: page.hidden,
        last_seq: page.last_seq,
        more: false,
    }
}

impl DataOperations {
    pub async fn create_users(
        &self,
        caller: &Caller,
        request: CreateUsersRequest,
    ) -> Result<CreateUsersResponse, Error> {
        let tenant = caller.tenant()?;
        if request.users.len() > limits::BULK_USERS {
            return Err(Error::new(Code::LimitExceeded, format!("at most {} users", limits::BULK_USERS)));
        }
        // All of them are looked at before the first is written.
        let (mut ids, mut commands) = (Vec::new(), Vec::new());
        for (place, user) in request.users.into_iter().enumerate() {
            let (id, command) = profile(tenant, user).map_err(|error| {
                let reason = format!("users[{place}]: {}", error.reason);
                Error { reason: reason.into(), ..error }
            })?;
            ids.push(id);
            commands.push(command);
        }
        let quota = caller.quotas().users;
        let seats = Seats::new(Arc::clone(&self.data.rows));
        seats.take_all(tenant, &ids, quota).await?;
        let submitted = self.data.submit_all(commands).await;
        submitted.map_err(|(place, error)| {
            let reason = format!("users[{place}]: {}", error.reason);
            Error { reason: reason.into(), ..error }
        })?;
        let keys: Vec<_> = ids.iter().map(|id| tables::user(tenant, id)).collect();
        let rows = self.data.rows.get(&keys).await.map_err(unavailable)?;
        let mut users = Vec::with_capacity(ids.len());
        for (id, row) in ids.iter().zip(rows) {
            let UserRow { name, avatar, deactivated, created_us, .. } =
                row.as_ref().map(decode).transpose()?.unwrap_or_default();
            users.push(User { id: id.to_string(), name, avatar, active: !deactivated, created_us });
        }
        Ok(CreateUsersResponse { users })
    }

    pub async fn erase_user(&self, caller: &Caller, request: EraseUserRequest) -> Result<Work, Error> {
        let (tenant, user) = (caller.tenant()?, user_id(&request.user)?);
        self.jobs.ask(JobKind::EraseUser, tenant, Some(&user)).await
    }

    pub async fn get_erasure(&self, caller: &Caller, request: GetErasureRequest) -> Result<Work, Error> {
        self.jobs.find(caller.tenant()?, Some(&user_id(&request.user)?)).await
    }

    pub async fn set_user_status(&self, caller: &Caller, request: SetUserStatusRequest) -> Result<Status, Error> {
        let (tenant, user) = caller.acting_user(&request.user)?;
        let SetUserStatusRequest { away, text, emoji, .. } = request;
        check_plain("text", text.as_deref().unwrap_or_default(), limits::STATUS_TEXT_BYTES)?;
        check_plain("emoji", emoji.as_deref().unwrap_or_default(), limits::EMOJI_BYTES)?;
        self.presence.set_status(&tenant, &user, StatusUpdate { away, text, emoji }).await?;
        self.presence.statuses(&tenant, &[user]).await?.pop().ok_or_else(Error::internal)
    }

    pub async fn list_unread(&self, caller: &Caller, request: ListUnreadRequest) -> Result<ListUnreadResponse, Error> {
        let (tenant, user) = caller.acting_user(&request.sender)?;
        let unread = self.data.views.unread(&tenant, &user).await?;
        let count = |of: stonechat_views::UnreadOf| UnreadCount {
            conversation: of.conversation.to_string(),
            count: of.count,
            mentions: of.mentions,
            more: of.more,
            read_seq: of.read_seq,
            muted: of.muted,
        };
        let conversations = unread.conversations.into_iter().map(count).collect();
        Ok(ListUnreadResponse { conversations, total: unread.total, more: unread.more })
    }

    pub async fn get_message(
        &self,
        caller: &Caller,
        request: GetMessageRequest,
    ) -> Result<ListMessagesResponse, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        let id = conversation_id(&request.conversation)?;
        let page = self.data.views.message(&tenant, reader.as_ref(), &id, request.seq).await?;
        Ok(page_of(page))
    }

    pub async fn list_pinned(
        &self,
        caller: &Caller,
        request: ListPinnedRequest,
    ) -> Result<ListMessagesResponse, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        let id = conversation_id(&request.conversation)?;
        Ok(page_of(self.data.views.pinned(&tenant, reader.as_ref(), &id).await?))
    }

    pub async fn list_readers(
        &self,
        caller: &Caller,
        request: ListReadersRequest,
    ) -> Result<ListMembersResponse, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        let id = conversation_id(&request.conversation)?;
        let (from, size) = (page_token(&request.page_token)?, page_size(request.page_size));
        let list = self.data.views.readers(&tenant, reader.as_ref(), &id, request.seq, from, size).await?;
        Ok(ListMembersResponse { members: list.items, next_page_token: list.next.unwrap_or_default() })
    }

    pub async fn delete_tenant(&self, caller: &Caller, request: DeleteTenantRequest) -> Result<Work, Error> {
        caller.operator()?;
        let tenant = tenant_id(&request.tenant)?;
        self.keys.delete_tenant(&tenant, stonechat_model::now_us()).await?;
        self.data.caller.link().control(Control::TenantChanged { tenant: tenant.clone() }).await;
        self.jobs.ask(JobKind::DeleteTenant, &tenant, None).await
    }

    pub async fn get_deletion(&self, caller: &Caller, request: GetDeletionRequest) -> Result<Work, Error> {
        caller.operator()?;
        self.jobs.find(&tenant_id(&request.tenant)?, None).await
    }

    pub async fn purge_storage(&self, caller: &Caller, _: PurgeStorageRequest) -> Result<PurgeStorageResponse, Error> {
        caller.operator()?;
        self.data.rows.purge().await.map_err(unavailable)?;
        Ok(PurgeStorageResponse {})
    }
}
