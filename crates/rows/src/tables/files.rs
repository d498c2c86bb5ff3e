//! Keys of files and of the messages that refer to them.

use stonechat_model::{ConversationId, FileId, TenantId, UserId};

use super::{FILE_KEYS, FILE_REFS, FILES, USER_FILES, of_partition, shard};
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

/// The key of one of the keys that a tenant's files are sealed with.
pub fn file_key(tenant: &TenantId, version: u64) -> Key {
    Key::new(&FILE_KEYS, [tenant.shared().into(), version.into()])
}

/// The keys that a tenant's files are sealed with, the newest first.
pub fn file_keys(tenant: &TenantId, limit: usize) -> Range {
    let partition = vec![tenant.shared().into()];
    Range { table: &FILE_KEYS, partition, from: None, until: None, reverse: true, limit }
}
