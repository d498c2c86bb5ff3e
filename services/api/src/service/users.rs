//! Users.

use prost::Message as _;
use stonechat_commands::{check_plain, user_record};
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, UserId, limits, now_us};
use stonechat_proto::{
    internal::v1::{UserRow, user_action},
    v1::{
        ActivateUserRequest, ActivationChanged, DeactivateUserRequest, GetUserRequest, ListStatusesRequest,
        ListStatusesResponse, ListUsersRequest, ListUsersResponse, ProfileChanged, RevokeTokensRequest, TokensRevoked,
        UpsertUserRequest, User,
    },
};
use stonechat_rows::{RowsError, tables};

use super::{Service, devices::device_id, page_size, user_id};
use stonechat_operations::Caller;

/// Users of one question for statuses.
const MOST_STATUSES: usize = 100;

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about users");
    Error::unavailable("rows do not answer")
}

fn user(id: &str, bytes: bytes::Bytes) -> Result<User, Error> {
    let row = UserRow::decode(bytes).map_err(|error| {
        tracing::error!(%error, "stored user is corrupt");
        Error::internal()
    })?;
    Ok(User {
        id: id.to_owned(),
        name: row.name,
        avatar: row.avatar,
        active: !row.deactivated,
        created_us: row.created_us,
    })
}

impl Service {
    async fn read_user(&self, tenant: &TenantId, id: &UserId) -> Result<User, Error> {
        let rows = self.rows.get(&[tables::user(tenant, id)]).await.map_err(unavailable)?;
        let row = rows.into_iter().flatten().next().ok_or_else(|| Error::not_found("user"))?;
        user(id.as_str(), row.value)
    }

    pub(super) async fn change_user(
        &self,
        tenant: &TenantId,
        id: &UserId,
        kind: user_action::Kind,
    ) -> Result<User, Error> {
        self.submit(user_record(tenant, id, kind)).await?;
        self.read_user(tenant, id).await
    }

    pub async fn upsert_user(&self, caller: &Caller, request: UpsertUserRequest) -> Result<User, Error> {
        let id = user_id(&request.user)?;
        let (tenant, _) = match caller {
            Caller::User(_) => caller.acting_user(id.as_str())?,
            Caller::Tenant(_) | Caller::Operator => (caller.tenant()?.clone(), id.clone()),
        };
        check_plain("name", request.name.as_deref().unwrap_or_default(), limits::NAME_BYTES)?;
        check_plain("avatar", request.avatar.as_deref().unwrap_or_default(), limits::AVATAR_BYTES)?;
        self.seats.take(&tenant, &id, caller.quotas().users).await?;
        let change = ProfileChanged { name: request.name, avatar: request.avatar };
        self.change_user(&tenant, &id, user_action::Kind::UpdateProfile(change)).await
    }

    pub async fn get_user(&self, caller: &Caller, request: GetUserRequest) -> Result<User, Error> {
        let id = user_id(&request.user)?;
        let (tenant, _) = caller.acting("")?;
        self.read_user(&tenant, &id).await
    }

    pub async fn list_users(&self, caller: &Caller, request: ListUsersRequest) -> Result<ListUsersResponse, Error> {
        let tenant = caller.tenant()?;
        let size = page_size(request.page_size);
        let wrong = || Error::invalid("page_token is none of ours");
        // A token is a partition and the user to begin with.
        let (mut shard, mut from) = match request.page_token.split_once('/') {
            Some((shard, from)) => (
                shard.parse::<u64>().map_err(|_| wrong())?,
                Some(UserId::parse(from).map_err(|_| wrong())?.to_string()),
            ),
            None if request.page_token.is_empty() => (0, None),
            None => return Err(wrong()),
        };
        let mut users = Vec::new();
        while shard < tables::USER_SHARDS {
            let range = tables::users(tenant, shard, from.as_deref(), size + 1 - users.len());
            for row in self.rows.range(range).await.map_err(unavailable)? {
                let id = row.key.text(2).to_owned();
                if users.len() == size {
                    return Ok(ListUsersResponse { users, next_page_token: format!("{shard}/{id}") });
                }
                users.push(user(&id, row.value)?);
            }
            shard += 1;
            from = None;
        }
        Ok(ListUsersResponse { users, next_page_token: String::new() })
    }

    pub async fn deactivate_user(&self, caller: &Caller, request: DeactivateUserRequest) -> Result<User, Error> {
        self.set_active(caller, &request.user, false).await
    }

    pub async fn activate_user(&self, caller: &Caller, request: ActivateUserRequest) -> Result<User, Error> {
        self.set_active(caller, &request.user, true).await
    }

    async fn set_active(&self, caller: &Caller, user: &str, active: bool) -> Result<User, Error> {
        let tenant = caller.tenant()?;
        let kind = user_action::Kind::SetActive(ActivationChanged { active });
        self.submit(user_record(tenant, &user_id(user)?, kind)).await?;
        match self.read_user(tenant, &user_id(user)?).await {
            // A user that was never written is active.
            Err(error) if error.code == Code::NotFound && active => {
                Ok(User { id: user.to_owned(), active, ..User::default() })
            }
            read => read,
        }
    }

    pub async fn revoke_tokens(&self, caller: &Caller, request: RevokeTokensRequest) -> Result<User, Error> {
        let id = user_id(&request.user)?;
        let tenant = caller.tenant()?.clone();
        if !request.device.is_empty() {
            device_id(&request.device)?;
        }
        // Tokens tell whole seconds: one of the present second is void as well.
        let before_us = now_us() / 1_000_000 * 1_000_000 + 1;
        let revoke = TokensRevoked { before_us, device: request.device };
        self.change_user(&tenant, &id, user_action::Kind::RevokeTokens(revoke)).await
    }

    pub async fn list_statuses(
        &self,
        caller: &Caller,
        request: ListStatusesRequest,
    ) -> Result<ListStatusesResponse, Error> {
        let (tenant, _) = caller.acting("")?;
        if request.users.len() > MOST_STATUSES {
            return Err(Error::new(Code::LimitExceeded, format!("at most {MOST_STATUSES} users")));
        }
        let users = request.users.iter().map(|text| user_id(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(ListStatusesResponse { statuses: self.presence.statuses(&tenant, &users).await? })
    }
}
