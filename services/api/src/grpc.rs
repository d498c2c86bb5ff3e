//! The gRPC form: the services of the contract, with health and reflection.

use stonechat_model::limits;
use stonechat_proto::v1::{
    audit_service_server::AuditServiceServer, conversation_service_server::ConversationServiceServer,
    member_service_server::MemberServiceServer, message_service_server::MessageServiceServer,
    tenant_service_server::TenantServiceServer, user_service_server::UserServiceServer,
    webhook_service_server::WebhookServiceServer,
};
use tonic::service::Routes;

use crate::{operations, service::Service};

stonechat_operations::serve! {
    Service, operations::all();
    tenant_service_server::TenantService {
        create_tenant: CreateTenantRequest => Tenant;
        get_tenant: GetTenantRequest => Tenant;
        list_tenants: ListTenantsRequest => ListTenantsResponse;
        update_tenant: UpdateTenantRequest => Tenant;
        suspend_tenant: SuspendTenantRequest => Tenant;
        resume_tenant: ResumeTenantRequest => Tenant;
        get_quotas: GetQuotasRequest => Quotas;
        set_quotas: SetQuotasRequest => Quotas;
        get_usage: GetUsageRequest => Usage;
        create_key: CreateKeyRequest => Key;
        list_keys: ListKeysRequest => ListKeysResponse;
        disable_key: DisableKeyRequest => DisableKeyResponse;
        rotate_key: RotateKeyRequest => Key;
    }
    audit_service_server::AuditService {
        list_audit: ListAuditRequest => ListAuditResponse;
    }
    user_service_server::UserService {
        upsert_user: UpsertUserRequest => User;
        get_user: GetUserRequest => User;
        list_users: ListUsersRequest => ListUsersResponse;
        deactivate_user: DeactivateUserRequest => User;
        activate_user: ActivateUserRequest => User;
        revoke_tokens: RevokeTokensRequest => User;
        list_devices: ListDevicesRequest => ListDevicesResponse;
        disconnect_user: DisconnectUserRequest => User;
        list_statuses: ListStatusesRequest => ListStatusesResponse;
    }
    conversation_service_server::ConversationService {
        create_conversation: CreateConversationRequest => Conversation;
        get_conversation: GetConversationRequest => Conversation;
        list_conversations: ListConversationsRequest => ListConversationsResponse;
        update_conversation: UpdateConversationRequest => Done;
        dismiss_conversation: DismissConversationRequest => Done;
        upgrade_conversation: UpgradeConversationRequest => Done;
        transfer_conversation: TransferConversationRequest => Done;
        update_preferences: UpdatePreferencesRequest => Done;
    }
    member_service_server::MemberService {
        add_members: AddMembersRequest => Done;
        remove_members: RemoveMembersRequest => Done;
        list_members: ListMembersRequest => ListMembersResponse;
        set_member_role: SetMemberRoleRequest => Done;
        mute_member: MuteMemberRequest => Done;
        leave_conversation: LeaveConversationRequest => Done;
    }
    message_service_server::MessageService {
        send_message: SendMessageRequest => Done;
        list_messages: ListMessagesRequest => ListMessagesResponse;
        edit_message: EditMessageRequest => Done;
        recall_message: RecallMessageRequest => Done;
        add_reaction: AddReactionRequest => Done;
        remove_reaction: RemoveReactionRequest => Done;
        pin_message: PinMessageRequest => Done;
        unpin_message: UnpinMessageRequest => Done;
        hide_message: HideMessageRequest => Done;
        mark_read: MarkReadRequest => Done;
    }
    webhook_service_server::WebhookService {
        create_webhook: CreateWebhookRequest => Webhook;
        get_webhook: GetWebhookRequest => Webhook;
        list_webhooks: ListWebhooksRequest => ListWebhooksResponse;
        update_webhook: UpdateWebhookRequest => Webhook;
        delete_webhook: DeleteWebhookRequest => DeleteWebhookResponse;
        rotate_webhook_secret: RotateWebhookSecretRequest => Webhook;
        enable_webhook: EnableWebhookRequest => Webhook;
        test_webhook: TestWebhookRequest => Delivery;
        list_deliveries: ListDeliveriesRequest => ListDeliveriesResponse;
        list_dead_letters: ListDeadLettersRequest => ListDeadLettersResponse;
        replay_event: ReplayEventRequest => Delivery;
        replay_events: ReplayEventsRequest => Replay;
        set_send_hook: SetSendHookRequest => SendHook;
        get_send_hook: GetSendHookRequest => SendHook;
        delete_send_hook: DeleteSendHookRequest => DeleteSendHookResponse;
        rotate_send_hook_secret: RotateSendHookSecretRequest => SendHook;
    }
}

/// The descriptors of the public contract only: what roles say to each other is nobody's business.
fn public_descriptors() -> prost_types::FileDescriptorSet {
    use prost::Message as _;
    let all = prost_types::FileDescriptorSet::decode(stonechat_proto::DESCRIPTORS).unwrap_or_default();
    let file = all.file.into_iter().filter(|file| !file.package().contains("internal")).collect();
    prost_types::FileDescriptorSet { file }
}

/// Every public gRPC service of this crate, with health, and with reflection of the whole public contract.
pub(crate) fn routes(served: &Served) -> axum::Router {
    let (_, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health)
        .add_service(TenantServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(AuditServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(UserServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(ConversationServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(MemberServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(WebhookServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(MessageServiceServer::new(served.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES));
    let reflection =
        tonic_reflection::server::Builder::configure().register_file_descriptor_set(public_descriptors()).build_v1();
    match reflection {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::error!(%error, "gRPC reflection is off"),
    }
    // The fallback of unknown paths belongs to REST.
    routes.into_axum_router().reset_fallback()
}
