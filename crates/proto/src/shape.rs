//! What of the JSON shape does not follow from a field's type alone. The build and the OpenAPI document go by it.
//!
//! By themselves: an `int64` whose name ends in `_us` is an RFC 3339 time under the name without it; an enum is its short
//! lower-case name.

use prost_types::{
    FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Fields that JSON leaves out where they are not set.
pub const LEFT_OUT: &[&str] = &[
    "Message.mentions",
    "Message.reply_to",
    "Message.attachments",
    "Message.custom",
    "Event.sender",
    "Event.client_id",
    "Event.imported",
    "Event.erased",
    "Event.dropped_files",
    "Attachment.width",
    "Attachment.height",
    "Attachment.duration_ms",
    "Attachment.blurhash",
    "Attachment.waveform",
    "Attachment.animated",
    "Attachment.thumbnails",
    "UserErased.touched",
    "UserErased.unpinned",
    "Overlay.erased",
    "DataMembership.read_seq",
    "DataMembership.delivered_seq",
    "DataMembership.preferences",
    "UnreadCount.mentions",
    "UnreadCount.more",
    "UnreadCount.muted",
    "Settings.name",
    "Settings.avatar",
    "Settings.announcement",
    "Settings.read_receipts",
    "MembershipChanged.muted",
    "MembershipChanged.pinned",
    "MembershipChanged.hidden",
    "MembershipChanged.draft",
    "ProfileChanged.name",
    "ProfileChanged.avatar",
    "TokensRevoked.device",
    "SessionsClosed.device",
    "ListDevicesResponse.next_page_token",
    "Overlay.content",
    "Overlay.recalled",
    "Overlay.reactions",
    "Overlay.pinned",
    "Page.conversation",
    "Page.events",
    "Page.overlays",
    "Page.hidden",
    "Page.conversations",
    "Page.more",
    "EventFrame.conversation",
    "Signal.conversation",
    "Signal.user",
    "Command.traceparent",
    "Ack.seq",
    "Ack.conversation",
    "Error.id",
    "Error.retry_after_ms",
    "Create.members",
    "Create.settings",
    "Conversation.dismissed",
    "Conversation.peer",
    "Conversation.preferences",
    "Status.text",
    "Status.emoji",
    "SetStatus.text",
    "SetStatus.emoji",
    "History.after",
    "History.before",
    "History.around",
    "Done.conversation",
    "Done.id",
    "Key.secret",
    "Key.scopes",
    "ListAuditResponse.next_page_token",
    "ListTenantsResponse.next_page_token",
    "ListUsersResponse.next_page_token",
    "ListConversationsResponse.next_page_token",
    "ListMembersResponse.next_page_token",
    "ListMessagesResponse.overlays",
    "ListMessagesResponse.hidden",
    "Webhook.secret",
    "Webhook.public_key",
    "Webhook.disabled_reason",
    "SendHook.secret",
    "SendHook.public_key",
    "Delivery.conversation",
    "Delivery.seq",
    "Delivery.error",
    "Delivery.answer",
    "DeadLetter.conversation",
    "DeadLetter.user",
    "ListDeliveriesResponse.next_page_token",
    "ListDeadLettersResponse.next_page_token",
    "Tenant.file_retention_days",
    "Tenant.direct_downloads",
    "File.owner",
    "File.width",
    "File.height",
    "File.duration_ms",
    "File.blurhash",
    "File.waveform",
    "File.animated",
    "File.thumbnails",
    "ListFilesResponse.next_page_token",
];

/// Texts that are a JSON document, inline in JSON.
pub const DOCUMENTS: &[&str] = &["Custom.data", "PulledEvent.body"];

/// Whether a field is a time.
pub fn is_time(field: &FieldDescriptorProto) -> bool {
    let is_single = field.label() != Label::Repeated && !field.proto3_optional();
    field.r#type() == Type::Int64 && is_single && field.name().ends_with("_us")
}

/// A time's name in JSON.
pub fn time_name(name: &str) -> &str {
    name.strip_suffix("_us").unwrap_or(name)
}

/// The module of [`json`](crate::json) that writes an enum: its name in `snake_case`.
pub fn module(kind: &str) -> String {
    let mut module = String::with_capacity(kind.len() + 4);
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !module.is_empty() {
            module.push('_');
        }
        module.push(letter.to_ascii_lowercase());
    }
    module
}
