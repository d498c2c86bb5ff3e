//! Conversations and their members.

use stonechat_errors::Error;
use stonechat_proto::v1::{
    AddMembers, AddMembersRequest, Conversation, Create, CreateConversationRequest, Dismiss,
    DismissConversationRequest, Done, GetConversationRequest, Leave, LeaveConversationRequest,
    ListConversationsRequest, ListConversationsResponse, ListMembersRequest, ListMembersResponse, MemberMuted,
    MembershipChanged, MuteMemberRequest, OwnershipTransferred, RemoveMembers, RemoveMembersRequest, RoleChanged,
    SetMemberRoleRequest, SettingsChanged, TransferConversationRequest, UpdateConversationRequest,
    UpdatePreferencesRequest, Upgrade, UpgradeConversationRequest, action,
};

use super::{Service, conversation_id, page_size, page_token};
use stonechat_operations::Caller;

impl Service {
    pub async fn create_conversation(
        &self,
        caller: &Caller,
        request: CreateConversationRequest,
    ) -> Result<Conversation, Error> {
        let CreateConversationRequest { id, kind, members, settings, sender, client_id } = request;
        let create = action::Kind::Create(Create { kind, members, settings });
        let done = self.act(caller, &sender, &id, &client_id, create).await?;
        let (tenant, reader) = caller.acting(&sender)?;
        self.views.conversation(&tenant, reader.as_ref(), &conversation_id(&done.conversation)?).await
    }

    pub async fn get_conversation(
        &self,
        caller: &Caller,
        request: GetConversationRequest,
    ) -> Result<Conversation, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        self.views.conversation(&tenant, reader.as_ref(), &conversation_id(&request.conversation)?).await
    }

    pub async fn list_conversations(
        &self,
        caller: &Caller,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Error> {
        let (tenant, user) = caller.acting(&request.sender)?;
        let size = page_size(request.page_size);
        let list = match &user {
            Some(user) => self.views.conversations(&tenant, user, page_token(&request.page_token)?, size).await?,
            None => {
                let token = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
                self.views.tenant_conversations(&tenant, token, size).await?
            }
        };
        Ok(ListConversationsResponse { conversations: list.items, next_page_token: list.next.unwrap_or_default() })
    }

    pub async fn update_conversation(
        &self,
        caller: &Caller,
        request: UpdateConversationRequest,
    ) -> Result<Done, Error> {
        let UpdateConversationRequest { conversation, settings, sender, client_id } = request;
        let change = action::Kind::UpdateSettings(SettingsChanged { settings });
        self.act(caller, &sender, &conversation, &client_id, change).await
    }

    pub async fn dismiss_conversation(
        &self,
        caller: &Caller,
        request: DismissConversationRequest,
    ) -> Result<Done, Error> {
        let DismissConversationRequest { conversation, sender, client_id } = request;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::Dismiss(Dismiss {})).await
    }

    pub async fn upgrade_conversation(
        &self,
        caller: &Caller,
        request: UpgradeConversationRequest,
    ) -> Result<Done, Error> {
        let UpgradeConversationRequest { conversation, sender, client_id } = request;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::Upgrade(Upgrade {})).await
    }

    pub async fn transfer_conversation(
        &self,
        caller: &Caller,
        request: TransferConversationRequest,
    ) -> Result<Done, Error> {
        let TransferConversationRequest { conversation, to, sender, client_id } = request;
        let transfer = action::Kind::Transfer(OwnershipTransferred { to });
        self.act(caller, &sender, &conversation, &client_id, transfer).await
    }

    pub async fn update_preferences(&self, caller: &Caller, request: UpdatePreferencesRequest) -> Result<Done, Error> {
        let UpdatePreferencesRequest { conversation, sender, muted, pinned, hidden, draft, client_id } = request;
        let change = MembershipChanged { conversation: conversation.clone(), muted, pinned, hidden, draft };
        caller.acting_user(&sender)?;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::UpdateMembership(change)).await
    }

    pub async fn add_members(&self, caller: &Caller, request: AddMembersRequest) -> Result<Done, Error> {
        let AddMembersRequest { conversation, users, role, sender, client_id } = request;
        let add = action::Kind::AddMembers(AddMembers { users, role });
        self.act(caller, &sender, &conversation, &client_id, add).await
    }

    pub async fn remove_members(&self, caller: &Caller, request: RemoveMembersRequest) -> Result<Done, Error> {
        let RemoveMembersRequest { conversation, users, sender, client_id } = request;
        let remove = action::Kind::RemoveMembers(RemoveMembers { users });
        self.act(caller, &sender, &conversation, &client_id, remove).await
    }

    pub async fn list_members(
        &self,
        caller: &Caller,
        request: ListMembersRequest,
    ) -> Result<ListMembersResponse, Error> {
        let (tenant, reader) = caller.acting(&request.sender)?;
        let id = conversation_id(&request.conversation)?;
        let (from, size) = (page_token(&request.page_token)?, page_size(request.page_size));
        let list = self.views.members(&tenant, reader.as_ref(), &id, from, size).await?;
        Ok(ListMembersResponse { members: list.items, next_page_token: list.next.unwrap_or_default() })
    }

    pub async fn set_member_role(&self, caller: &Caller, request: SetMemberRoleRequest) -> Result<Done, Error> {
        let SetMemberRoleRequest { conversation, user, role, sender, client_id } = request;
        let change = action::Kind::SetRole(RoleChanged { user, role });
        self.act(caller, &sender, &conversation, &client_id, change).await
    }

    pub async fn mute_member(&self, caller: &Caller, request: MuteMemberRequest) -> Result<Done, Error> {
        let MuteMemberRequest { conversation, user, until_us, sender, client_id } = request;
        let mute = action::Kind::MuteMember(MemberMuted { user, until_us });
        self.act(caller, &sender, &conversation, &client_id, mute).await
    }

    pub async fn leave_conversation(&self, caller: &Caller, request: LeaveConversationRequest) -> Result<Done, Error> {
        let LeaveConversationRequest { conversation, sender, client_id } = request;
        self.act(caller, &sender, &conversation, &client_id, action::Kind::Leave(Leave {})).await
    }
}
