//! The gRPC form: who calls, then the operation.

use std::{sync::Arc, time::Instant};

use stonechat_errors::Error;
use stonechat_model::limits;
use stonechat_proto::v1::{
    self, conversation_service_server::ConversationServiceServer, member_service_server::MemberServiceServer,
    message_service_server::MessageServiceServer, tenant_service_server::TenantServiceServer,
    user_service_server::UserServiceServer,
};
use tonic::{Request, Response, Status, service::Routes};

use crate::service::Service;

/// The services as tonic wants them.
#[derive(Clone)]
struct Grpc(Arc<Service>);

/// A metadata value that is text.
fn text<'a, T>(request: &'a Request<T>, name: &str) -> Option<&'a str> {
    request.metadata().get(name).and_then(|value| value.to_str().ok())
}

macro_rules! serve {
    ($($trait:path { $($method:ident: $request:ident => $response:ident;)* })*) => {
        $(
            #[tonic::async_trait]
            impl $trait for Grpc {
                $(
                    async fn $method(
                        &self,
                        request: Request<v1::$request>,
                    ) -> Result<Response<v1::$response>, Status> {
                        let started = Instant::now();
                        let answered = async {
                            let device = text(&request, "stonechat-device");
                            let caller = self.0.identify(text(&request, "authorization"), device).await?;
                            self.0.$method(&caller, request.into_inner()).await
                        };
                        let result = answered.await;
                        measure(stringify!($method), started, &result);
                        Ok(Response::new(result?))
                    }
                )*
            }
        )*
    };
}

fn measure<T>(method: &'static str, started: Instant, result: &Result<T, Error>) {
    metrics::histogram!("stonechat_api_grpc_request_seconds", "method" => method)
        .record(started.elapsed().as_secs_f64());
    let code = result.as_ref().err().map_or("ok", |error| error.code.as_str());
    metrics::counter!("stonechat_api_grpc_requests_total", "method" => method, "code" => code).increment(1);
}

serve! {
    v1::tenant_service_server::TenantService {
        create_tenant: CreateTenantRequest => Tenant;
        get_tenant: GetTenantRequest => Tenant;
        list_tenants: ListTenantsRequest => ListTenantsResponse;
        create_key: CreateKeyRequest => Key;
        list_keys: ListKeysRequest => ListKeysResponse;
        disable_key: DisableKeyRequest => DisableKeyResponse;
    }
    v1::user_service_server::UserService {
        upsert_user: UpsertUserRequest => User;
        get_user: GetUserRequest => User;
        list_users: ListUsersRequest => ListUsersResponse;
        deactivate_user: DeactivateUserRequest => User;
        activate_user: ActivateUserRequest => User;
        revoke_tokens: RevokeTokensRequest => User;
        list_statuses: ListStatusesRequest => ListStatusesResponse;
    }
    v1::conversation_service_server::ConversationService {
        create_conversation: CreateConversationRequest => Conversation;
        get_conversation: GetConversationRequest => Conversation;
        list_conversations: ListConversationsRequest => ListConversationsResponse;
        update_conversation: UpdateConversationRequest => Done;
        dismiss_conversation: DismissConversationRequest => Done;
        upgrade_conversation: UpgradeConversationRequest => Done;
        transfer_conversation: TransferConversationRequest => Done;
        update_preferences: UpdatePreferencesRequest => Done;
    }
    v1::member_service_server::MemberService {
        add_members: AddMembersRequest => Done;
        remove_members: RemoveMembersRequest => Done;
        list_members: ListMembersRequest => ListMembersResponse;
        set_member_role: SetMemberRoleRequest => Done;
        mute_member: MuteMemberRequest => Done;
        leave_conversation: LeaveConversationRequest => Done;
    }
    v1::message_service_server::MessageService {
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
}

/// The descriptors of the public contract only: what roles say to each other is nobody's business.
fn public_descriptors() -> prost_types::FileDescriptorSet {
    use prost::Message as _;
    let all = prost_types::FileDescriptorSet::decode(stonechat_proto::DESCRIPTORS).unwrap_or_default();
    let file = all.file.into_iter().filter(|file| !file.package().contains("internal")).collect();
    prost_types::FileDescriptorSet { file }
}

/// Every public gRPC service, with health and reflection.
pub(crate) fn routes(service: &Arc<Service>) -> axum::Router {
    let grpc = Grpc(Arc::clone(service));
    let (_, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health)
        .add_service(TenantServiceServer::new(grpc.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(UserServiceServer::new(grpc.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(ConversationServiceServer::new(grpc.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(MemberServiceServer::new(grpc.clone()).max_decoding_message_size(limits::HTTP_BODY_BYTES))
        .add_service(MessageServiceServer::new(grpc).max_decoding_message_size(limits::HTTP_BODY_BYTES));
    let reflection =
        tonic_reflection::server::Builder::configure().register_file_descriptor_set(public_descriptors()).build_v1();
    match reflection {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::error!(%error, "gRPC reflection is off"),
    }
    // The fallback of unknown paths belongs to REST.
    routes.into_axum_router().reset_fallback()
}
