//! Keys of files, of the messages that refer to them, of uploads and of contents.

use stonechat_model::{ConversationId, FileId, TenantId, TimeUs, UserId};

use super::{
    CONTENT_REFS, FILE_CONTENTS, FILE_DUES, FILE_KEYS, FILE_REFS, FILE_TENANTS, FILES, UPLOAD_PIECES, UPLOADS,
    USER_FILES, of_partition, shard,
};
use crate::{Key, KeyPart, Range};

/// How many partitions a tenant's files are spread over.
pub const FILE_SHARDS: u64 = 64;

/// The key of a file.
pub fn file(tenant: &TenantId, file: &FileId) -> Key {
    Key::new(&FILES, [tenant.shared().into(), shard(file.as_str(), FILE_SHARDS), file.shared().into()])
}

/// A page of the files in one of the [`FILE_SHARDS`] partitions, from a file on.
pub fn files(tenant: &TenantId, shard: u64, from: Option<&str>, limit: usize) -> Range {
    of_partition(&FILES, vec![tenant.shared().into(), shard.into()], from, limit)
}

/// The key of a file in the list of its owner.
pub fn user_file(tenant: &TenantId, user: &UserId, file: &FileId) -> Key {
    Key::new(&USER_FILES, [tenant.shared().into(), user.shared().into(), file.shared().into()])
}

/// A page of a user's files, from a file on.
pub fn user_files(tenant: &TenantId, user: &UserId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&USER_FILES, vec![tenant.shared().into(), user.shared().into()], from, limit)
}

/// The key of a message that refers to a file.
pub fn file_ref(tenant: &TenantId, file: &FileId, conversation: &ConversationId, seq: u64) -> Key {
    let parts: [KeyPart; 4] = [tenant.shared().into(), file.shared().into(), conversation.shared().into(), seq.into()];
    Key::new(&FILE_REFS, parts)
}

/// The messages that refer to a file, after the given one.
pub fn file_refs(tenant: &TenantId, file: &FileId, after: Option<(&ConversationId, u64)>, limit: usize) -> Range {
    let from = after.map(|(conversation, seq)| vec![conversation.shared().into(), seq.saturating_add(1).into()]);
    let partition = vec![tenant.shared().into(), file.shared().into()];
    Range { table: &FILE_REFS, partition, from, until: None, reverse: false, limit }
}

/// The key of an upload.
pub fn upload(tenant: &TenantId, file: &FileId) -> Key {
    Key::new(&UPLOADS, [tenant.shared().into(), shard(file.as_str(), FILE_SHARDS), file.shared().into()])
}

/// The key of a piece that is written for an upload.
pub fn upload_piece(tenant: &TenantId, file: &FileId, piece: &str) -> Key {
    Key::new(&UPLOAD_PIECES, [tenant.shared().into(), file.shared().into(), piece.into()])
}

/// A page of the pieces that were written for an upload, from one on.
pub fn upload_pieces(tenant: &TenantId, file: &FileId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&UPLOAD_PIECES, vec![tenant.shared().into(), file.shared().into()], from, limit)
}

/// The key of a content.
pub fn file_content(tenant: &TenantId, content: &str) -> Key {
    Key::new(&FILE_CONTENTS, [tenant.shared().into(), shard(content, FILE_SHARDS), content.into()])
}

/// The key of a file that has a content.
pub fn content_ref(tenant: &TenantId, content: &str, file: &FileId) -> Key {
    Key::new(&CONTENT_REFS, [tenant.shared().into(), content.into(), file.shared().into()])
}

/// Some of the files that have a content.
pub fn content_refs(tenant: &TenantId, content: &str, limit: usize) -> Range {
    of_partition(&CONTENT_REFS, vec![tenant.shared().into(), content.into()], None, limit)
}

/// The key of what a tenant's files have in common.
pub fn file_tenant(tenant: &TenantId) -> Key {
    Key::new(&FILE_TENANTS, [tenant.shared().into()])
}

const HOUR_US: u64 = 3_600_000_000;

/// The hour of a time in [`FILE_DUES`].
pub fn due_hour(time_us: TimeUs) -> u64 {
    u64::try_from(time_us).unwrap_or(0) / HOUR_US
}

/// The key of something that is to be looked at at a time; `what` is a kind, a slash and an id.
pub fn file_due(due_us: TimeUs, tenant: &TenantId, what: &str) -> Key {
    let due = u64::try_from(due_us).unwrap_or(0);
    let parts: [KeyPart; 4] = [due_hour(due_us).into(), due.into(), tenant.shared().into(), what.into()];
    Key::new(&FILE_DUES, parts)
}

/// What is to be looked at in an hour, up to a time.
pub fn file_dues(hour: u64, until_us: TimeUs, limit: usize) -> Range {
    let until = Some(vec![u64::try_from(until_us).unwrap_or(0).into()]);
    Range { table: &FILE_DUES, partition: vec![hour.into()], from: None, until, reverse: false, limit }
}

/// The key of one of the keys that a tenant's files are sealed with.
pub fn file_key(tenant: &TenantId, version: u64) -> Key {
    Key::new(&FILE_KEYS, [tenant.shared().into(), version.into()])
}

/// The keys that a tenant's files are sealed with, the newest first.
pub fn file_keys(tenant: &TenantId, limit: usize) -> Range {
    let partition = vec![tenant.shared().into()];
    Range { table: &FILE_KEYS, partition, from: None, until: None, reverse: true, limit }
}

#[cfg(test)]
mod tests {
    use crate::tables;

    #[test]
    fn no_key_is_named_as_what_every_row_has_beside_it() {
        for table in tables::ALL {
            let mut names: Vec<&str> =
                table.partition.iter().chain(table.clustering).map(|column| column.name).collect();
            names.extend(["value", "version"]);
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "columns of {}", table.name);
        }
    }
}
