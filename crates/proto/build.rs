//! Compiles the contracts of `proto/` without `protoc`.

use std::{error::Error, path::PathBuf};

const PUBLIC: &str = ".stonechat.v1";

/// Fields that JSON leaves out where they are not set.
const LEFT_OUT: &[&str] = &[
    "Message.mentions",
    "Message.reply_to",
    "Message.attachments",
    "Message.custom",
    "Event.sender",
    "Event.client_id",
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
    "ListTenantsResponse.next_page_token",
    "ListUsersResponse.next_page_token",
    "ListConversationsResponse.next_page_token",
    "ListMembersResponse.next_page_token",
    "ListMessagesResponse.overlays",
    "ListMessagesResponse.hidden",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["stonechat/v1", "stonechat/internal/v1"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let mut builder = tonic_prost_build::configure()
        .bytes(PUBLIC)
        .bytes(".stonechat.internal.v1.Call")
        .bytes(".stonechat.internal.v1.Reply")
        .bytes(".stonechat.internal.v1.RowKey")
        .bytes(".stonechat.internal.v1.RowPut")
        .bytes(".stonechat.internal.v1.RowFound")
        .bytes(".stonechat.internal.v1.RangeRows")
        .bytes(".stonechat.internal.v1.EventsToNode")
        .type_attribute(PUBLIC, "#[derive(serde::Serialize, serde::Deserialize)] #[serde(rename_all = \"snake_case\")]")
        .message_attribute(PUBLIC, "#[serde(default)]");
    for (path, attribute) in json_shape() {
        // Without a leading dot a path is matched from its end, so a one-of's field is not its variants.
        builder = builder.field_attribute(format!("stonechat.v1.{path}"), attribute);
    }
    for oneof in ["Event.body", "ClientFrame.kind", "ServerFrame.kind"] {
        builder = builder.enum_attribute(format!("{PUBLIC}.{oneof}"), "#[serde(tag = \"type\")]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// How single fields look in JSON: times as RFC 3339, enums by name, one-ofs inline, defaults left out.
fn json_shape() -> Vec<(&'static str, &'static str)> {
    const TIME: &str = "#[serde(with = \"crate::json::time\", skip_serializing_if = \"crate::json::is_default\")]";
    let mut shape = Vec::new();
    for (path, name) in [
        ("Event.time_us", "time"),
        ("MemberMuted.until_us", "until"),
        ("TokensRevoked.before_us", "before"),
        ("Overlay.edited_us", "edited"),
        ("Conversation.created_us", "created"),
        ("Conversation.updated_us", "updated"),
        ("Member.muted_until_us", "muted_until"),
        ("User.created_us", "created"),
        ("Status.last_seen_us", "last_seen"),
        ("Ready.token_expires_us", "token_expires"),
        ("Ack.time_us", "time"),
        ("Pong.time_us", "time"),
        ("Done.time_us", "time"),
        ("Tenant.created_us", "created"),
        ("Key.created_us", "created"),
        ("MuteMemberRequest.until_us", "until"),
    ] {
        shape.push((path, TIME));
        shape.push((path, Box::leak(format!("#[serde(rename = \"{name}\")]").into_boxed_str())));
    }
    for path in ["Event.body", "Action.kind", "ClientFrame.kind", "ServerFrame.kind", "Signal.kind", "Command.action"] {
        shape.push((path, "#[serde(flatten)]"));
    }
    for (path, module) in [
        ("Created.kind", "conversation_kind"),
        ("Joined.kind", "conversation_kind"),
        ("Create.kind", "conversation_kind"),
        ("Conversation.kind", "conversation_kind"),
        ("MemberEntry.role", "role"),
        ("RoleChanged.role", "role"),
        ("AddMembers.role", "role"),
        ("Conversation.role", "role"),
        ("Member.role", "role"),
        ("CreateConversationRequest.kind", "conversation_kind"),
        ("AddMembersRequest.role", "role"),
        ("SetMemberRoleRequest.role", "role"),
        ("Settings.who_may_post", "audience"),
        ("Settings.who_may_add", "audience"),
        ("Status.availability", "availability"),
        ("SetStatus.availability", "availability"),
    ] {
        shape.push((
            path,
            Box::leak(
                format!(
                    "#[serde(with = \"crate::json::{module}\", skip_serializing_if = \"crate::json::is_default\")]"
                )
                .into_boxed_str(),
            ),
        ));
    }
    shape.push(("Custom.data", "#[serde(with = \"crate::json::document\")]"));
    for path in LEFT_OUT {
        shape.push((*path, "#[serde(skip_serializing_if = \"crate::json::is_default\")]"));
    }
    shape
}
