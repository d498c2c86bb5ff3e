//! The tables and their keys.
//!
//! Events are the truth of a log; every other row of a log derives from them. Versions: the position of
//! the command, unless the table says otherwise.

use stonechat_model::{ClientId, ConversationId, KeyId, LogKey, TenantId, UserId, limits};

use crate::{Column, ColumnKind, Key, KeyPart, Range, Table};

const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Number }
}

const fn table(name: &'static str, partition: &'static [Column], clustering: &'static [Column]) -> Table {
    Table { name, partition, clustering, expires: false }
}

const fn expiring(name: &'static str, partition: &'static [Column], clustering: &'static [Column]) -> Table {
    Table { name, partition, clustering, expires: true }
}

/// The immutable events of a log. Value: `stonechat.v1.Event`.
pub static EVENTS: Table = table("events", &[text("tenant"), text("log"), number("bucket")], &[number("seq")]);
/// The present state of changed messages. Value: `stonechat.v1.Overlay`.
pub static OVERLAYS: Table = table("overlays", &[text("tenant"), text("log"), number("bucket")], &[number("seq")]);
/// The heads of logs. Value: `HeadRow`.
pub static HEADS: Table = table("heads", &[text("tenant"), text("log")], &[]);
/// A tenant's conversations. Value: `ConversationRow`. Spread over [`CONVERSATION_SHARDS`] partitions of a tenant.
pub static CONVERSATIONS: Table = table("conversations", &[text("tenant"), number("shard")], &[text("conversation")]);
/// The messages of conversations that are or were pinned. Value: `PinRow`.
pub static PINS: Table = table("pins", &[text("tenant"), text("conversation")], &[number("seq")]);
/// The members of conversations. Value: `MemberRow`.
pub static MEMBERS: Table = table("members", &[text("tenant"), text("conversation")], &[text("user")]);
/// Members' marks. Value: `MarkRow`; version: the sum of its seqs.
pub static MARKS: Table = table("marks", &[text("tenant"), text("conversation")], &[text("user")]);
/// The users' side of conversations. Value: `MembershipRow`.
pub static MEMBERSHIPS: Table = table("memberships", &[text("tenant"), text("user")], &[text("conversation")]);
/// Messages that users deleted for themselves. Value: `HiddenRow`.
pub static HIDDEN: Table = table("hidden", &[text("tenant"), text("user"), text("conversation")], &[number("seq")]);
/// What client ids led to. Value: `ClientIdRow`; expires after [`limits::CLIENT_ID_TTL_S`].
pub static CLIENT_IDS: Table =
    expiring("client_ids", &[text("tenant"), text("log"), text("sender"), text("client_id")], &[]);
/// Users. Value: `UserRow`. Spread over [`USER_SHARDS`] partitions of a tenant.
pub static USERS: Table = table("users", &[text("tenant"), number("shard")], &[text("user")]);
/// Tenants. Value: `TenantRow`; by compare-and-set. One partition ("all"), so that they can be listed.
pub static TENANTS: Table = table("tenants", &[text("all")], &[text("tenant")]);
/// Keys by their id. Value: `KeyRow`; by compare-and-set.
pub static KEYS: Table = table("keys", &[text("key")], &[]);
/// A tenant's keys. Value: `TenantKeyRow`; by compare-and-set.
pub static TENANT_KEYS: Table = table("tenant_keys", &[text("tenant")], &[text("key")]);
/// Work that outlives its request. Value: `JobRow`; by compare-and-set. One partition ("all").
pub static JOBS: Table = table("jobs", &[text("all")], &[text("job")]);
/// Seats of users, which are counted. Value: `SeatRow`; by compare-and-set.
pub static USER_SEATS: Table = table("user_seats", &[text("tenant"), number("shard")], &[text("user")]);
/// How many seats tenants' users have. Value: `CounterRow`; by compare-and-set.
pub static SEAT_COUNTS: Table = table("seat_counts", &[text("tenant")], &[]);
/// What tenants used, day by day, a row for each process. Value: `UsageRow`; version: the time; expires after
/// [`limits::USAGE_TTL_S`].
pub static USAGE: Table = expiring("usage", &[text("tenant")], &[text("day_process")]);
/// Answers kept for repeated requests, by tenant, spread over [`ANSWER_SHARDS`]. Value: `AnswerRow`; by compare-and-set;
/// expires after [`limits::IDEMPOTENCY_TTL_S`].
pub static ANSWERS: Table = expiring("answers", &[text("tenant"), number("shard")], &[text("request")]);
/// What operators and servers did, by tenant. A shard is a stretch of [`AUDIT_BUCKET_DAYS`], used again long after its
/// rows have expired. Value: `AuditRow`; version: 1, written once; expires after [`limits::AUDIT_TTL_S`].
pub static AUDIT: Table = expiring("audit", &[text("tenant"), number("shard")], &[number("at")]);
/// Numbers counted up. Value: `CounterRow`; by compare-and-set.
pub static COUNTERS: Table = table("counters", &[text("name")], &[]);
/// The embedded event stream. Value: `StreamRecord`; version: 0, written once; expires after [`limits::STREAM_TTL_S`].
pub static STREAM: Table = expiring("stream", &[number("partition")], &[number("offset")]);
/// How far consumers of the embedded event stream are. Value: `CounterRow`; version: the offset.
pub static STREAM_POSITIONS: Table = table("stream_positions", &[text("consumer")], &[number("partition")]);

/// Tenants whose events are kept in a feed. Value: `FeedRow`; by compare-and-set, and changed with every change of the
/// tenant's webhooks, so that reading this table tells what changed. One partition ("all"), so that they can be listed.
pub static FEEDS: Table = table("feeds", &[text("all")], &[text("tenant")]);
/// A tenant's events in the order of a partition of the event stream. Value: `FeedEntryRow`; version: the position;
/// expires after [`limits::FEED_TTL_S`].
pub static FEED: Table = expiring("feed", &[text("tenant"), number("partition")], &[number("position")]);
/// Up to where feeds are written. Value: `FeedHeadRow`; version: the position.
pub static FEED_HEADS: Table = table("feed_heads", &[text("tenant")], &[number("partition")]);
/// Webhooks. Value: `WebhookRow`; by compare-and-set.
pub static WEBHOOKS: Table = table("webhooks", &[text("tenant")], &[text("webhook")]);
/// Hooks that messages pass before they are sent. Value: `SendHookRow`; by compare-and-set.
pub static SEND_HOOKS: Table = table("send_hooks", &[text("tenant")], &[]);
/// How far a webhook is in a partition. Value: `LaneRow`; version: the time it was written.
pub static WEBHOOK_LANES: Table = table("webhook_lanes", &[text("tenant"), text("lane")], &[number("partition")]);
/// Attempts to deliver. Value: `DeliveryRow`; version: 0, written once; expires after [`limits::DELIVERY_TTL_S`].
pub static DELIVERIES: Table =
    expiring("deliveries", &[text("tenant"), text("webhook"), number("bucket")], &[number("time"), text("id")]);
/// Events that were given up. Value: `DeadLetterRow`; version: the time it was written; expires after
/// [`limits::DEAD_LETTER_TTL_S`].
pub static DEAD_LETTERS: Table =
    expiring("dead_letters", &[text("tenant"), text("webhook")], &[number("time"), text("log"), number("seq")]);

/// Files. Value: `FileRow`; by compare-and-set. Spread over [`FILE_SHARDS`] partitions of a tenant. Deleted ones expire
/// after [`limits::FILE_DELETED_TTL_S`].
pub static FILES: Table = expiring("files", &[text("tenant"), number("shard")], &[text("file")]);
/// The files that users uploaded. Value: empty; version: the time it was written.
pub static USER_FILES: Table = table("user_files", &[text("tenant"), text("user")], &[text("file")]);
/// The messages that refer to a file. Value: `FileRefRow`.
pub static FILE_REFS: Table =
    table("file_refs", &[text("tenant"), text("file")], &[text("conversation"), number("seq")]);

/// Uploads, by the id of the file that becomes of each. Value: `UploadRow`; by compare-and-set. Spread over
/// [`FILE_SHARDS`]; those that are over expire after [`limits::UPLOAD_TTL_S`].
pub static UPLOADS: Table = expiring("uploads", &[text("tenant"), number("shard")], &[text("file")]);
/// Pieces that are or were being written for an upload: written before the piece. Value: empty; version: 1.
pub static UPLOAD_PIECES: Table = table("upload_pieces", &[text("tenant"), text("file")], &[text("piece")]);
/// Contents of files. Value: `ContentRow`; by compare-and-set. Spread over [`FILE_SHARDS`]; those that are gone expire
/// after [`limits::CONTENT_GONE_TTL_S`].
pub static FILE_CONTENTS: Table = expiring("file_contents", &[text("tenant"), number("shard")], &[text("content")]);
/// The files that have a content. Value: empty; version: 1.
pub static CONTENT_REFS: Table = table("content_refs", &[text("tenant"), text("content")], &[text("file")]);
/// What a tenant's files have in common. Value: `FileTenantRow`; by compare-and-set.
pub static FILE_TENANTS: Table = table("file_tenants", &[text("tenant")], &[]);
/// What is to be looked at when: uploads and files that expire, and work that must not be forgotten. Value: empty;
/// version: 1; expires after [`limits::FILE_DUE_TTL_S`].
pub static FILE_DUES: Table = expiring("file_dues", &[number("hour")], &[number("due"), text("tenant"), text("what")]);

/// The keys that a tenant's files are sealed with, wrapped. Value: `FileKeyRow`; by compare-and-set.
pub static FILE_KEYS: Table = table("file_keys", &[text("tenant")], &[number("key")]);

/// The devices that users connected with. Value: `DeviceRow`; expires after [`limits::DEVICE_TTL_S`]. Spread over
/// [`DEVICE_SHARDS`] partitions of a tenant.
pub static DEVICES: Table = expiring("devices", &[text("tenant"), number("shard")], &[text("user"), text("device")]);

/// Every table.
pub static ALL: &[&Table] = &[
    &EVENTS,
    &OVERLAYS,
    &HEADS,
    &MEMBERS,
    &MARKS,
    &MEMBERSHIPS,
    &HIDDEN,
    &CLIENT_IDS,
    &USERS,
    &TENANTS,
    &KEYS,
    &TENANT_KEYS,
    &USER_SEATS,
    &SEAT_COUNTS,
    &USAGE,
    &ANSWERS,
    &AUDIT,
    &COUNTERS,
    &STREAM,
    &STREAM_POSITIONS,
    &CONVERSATIONS,
    &JOBS,
    &PINS,
    &FEEDS,
    &FEED,
    &FEED_HEADS,
    &WEBHOOKS,
    &SEND_HOOKS,
    &WEBHOOK_LANES,
    &DELIVERIES,
    &DEAD_LETTERS,
    &FILES,
    &USER_FILES,
    &FILE_REFS,
    &FILE_KEYS,
    &UPLOADS,
    &UPLOAD_PIECES,
    &FILE_CONTENTS,
    &CONTENT_REFS,
    &FILE_TENANTS,
    &FILE_DUES,
    &DEVICES,
];

mod devices;
mod feeds;
mod files;
pub use devices::*;
pub use feeds::*;
pub use files::*;

/// How many partitions a tenant's users are spread over.
pub const USER_SHARDS: u64 = 16;
/// How many partitions a tenant's conversations are spread over.
pub const CONVERSATION_SHARDS: u64 = 64;
/// The one partition of the jobs.
const ALL_JOBS: &str = "all";
/// How many partitions kept answers of a tenant are spread over.
pub const ANSWER_SHARDS: u64 = 16;
/// How many partitions what was done to a tenant goes around.
pub const AUDIT_SHARDS: u64 = 64;
const _: () = assert!(limits::AUDIT_TTL_S / 86_400 / AUDIT_BUCKET_DAYS + 2 < AUDIT_SHARDS);
/// Days of what was done in one partition of [`AUDIT`].
pub const AUDIT_BUCKET_DAYS: u64 = 30;
/// The one partition of the tenants.
const ALL_TENANTS: &str = "all";

fn log_parts(log: &LogKey) -> [KeyPart; 2] {
    [log.tenant.shared().into(), log.log.to_text().into()]
}

fn bucketed(table: &'static Table, log: &LogKey, seq: u64) -> Key {
    let bucket = [KeyPart::Number(seq / limits::EVENTS_PER_BUCKET), KeyPart::Number(seq)];
    Key::new(table, log_parts(log).into_iter().chain(bucket))
}

/// The key of an event.
pub fn event(log: &LogKey, seq: u64) -> Key {
    bucketed(&EVENTS, log, seq)
}

/// The key of the overlay of the message `seq`.
pub fn overlay(log: &LogKey, seq: u64) -> Key {
    bucketed(&OVERLAYS, log, seq)
}

/// The rows `from..until` by seq of a table in buckets ([`EVENTS`] or [`OVERLAYS`]) that lie in one bucket.
pub fn bucket_range(table: &'static Table, log: &LogKey, from: u64, until: u64, reverse: bool, limit: usize) -> Range {
    let bucket = KeyPart::Number(from / limits::EVENTS_PER_BUCKET);
    Range {
        table,
        partition: log_parts(log).into_iter().chain([bucket]).collect(),
        from: Some(vec![from.into()]),
        until: Some(vec![until.into()]),
        reverse,
        limit,
    }
}

/// The key of a log's head.
pub fn head(log: &LogKey) -> Key {
    Key::new(&HEADS, log_parts(log))
}

/// The key of a member.
pub fn member(tenant: &TenantId, conversation: &ConversationId, user: &UserId) -> Key {
    Key::new(&MEMBERS, [tenant.shared().into(), conversation.shared().into(), user.shared().into()])
}

/// A page of the members of a conversation, from a user on.
pub fn members(tenant: &TenantId, conversation: &ConversationId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&MEMBERS, vec![tenant.shared().into(), conversation.shared().into()], from, limit)
}

/// The key of a member's marks.
pub fn mark(tenant: &TenantId, conversation: &ConversationId, user: &UserId) -> Key {
    Key::new(&MARKS, [tenant.shared().into(), conversation.shared().into(), user.shared().into()])
}

/// A page of the marks of a conversation, from a user on.
pub fn marks(tenant: &TenantId, conversation: &ConversationId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&MARKS, vec![tenant.shared().into(), conversation.shared().into()], from, limit)
}

/// The key of a user's side of a conversation.
pub fn membership(tenant: &TenantId, user: &UserId, conversation: &ConversationId) -> Key {
    Key::new(&MEMBERSHIPS, [tenant.shared().into(), user.shared().into(), conversation.shared().into()])
}

/// A page of a user's memberships, from a conversation on.
pub fn memberships(tenant: &TenantId, user: &UserId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&MEMBERSHIPS, vec![tenant.shared().into(), user.shared().into()], from, limit)
}

/// The key of a message that a user deleted for themselves.
pub fn hidden(tenant: &TenantId, user: &UserId, conversation: &ConversationId, seq: u64) -> Key {
    let parts: [KeyPart; 3] = [tenant.shared().into(), user.shared().into(), conversation.shared().into()];
    Key::new(&HIDDEN, parts.into_iter().chain([seq.into()]))
}

/// The messages `from..until` that a user deleted for themselves.
pub fn hidden_range(tenant: &TenantId, user: &UserId, conversation: &ConversationId, from: u64, until: u64) -> Range {
    Range {
        table: &HIDDEN,
        partition: vec![tenant.shared().into(), user.shared().into(), conversation.shared().into()],
        from: Some(vec![from.into()]),
        until: Some(vec![until.into()]),
        reverse: false,
        limit: limits::RANGE_ROWS,
    }
}

/// The key of what a client id led to; `sender` is empty for the tenant.
pub fn client_id(log: &LogKey, sender: &str, id: ClientId) -> Key {
    let rest: [KeyPart; 2] = [sender.into(), id.to_string().as_str().into()];
    Key::new(&CLIENT_IDS, log_parts(log).into_iter().chain(rest))
}

/// The shard of an id; the same for ever, since rows are found by it.
fn shard(id: &str, shards: u64) -> KeyPart {
    let hash = id.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    KeyPart::Number(hash % shards)
}

/// The key of a user.
pub fn user(tenant: &TenantId, user: &UserId) -> Key {
    Key::new(&USERS, [tenant.shared().into(), shard(user.as_str(), USER_SHARDS), user.shared().into()])
}

/// The key of a conversation in its tenant's list.
pub fn conversation(tenant: &TenantId, id: &ConversationId) -> Key {
    Key::new(&CONVERSATIONS, [tenant.shared().into(), shard(id.as_str(), CONVERSATION_SHARDS), id.shared().into()])
}

/// A page of the conversations in one of the [`CONVERSATION_SHARDS`] partitions, from a conversation on.
pub fn conversations(tenant: &TenantId, shard: u64, from: Option<&str>, limit: usize) -> Range {
    of_partition(&CONVERSATIONS, vec![tenant.shared().into(), shard.into()], from, limit)
}

/// The key of a message in its conversation's list of pinned ones.
pub fn pin(tenant: &TenantId, conversation: &ConversationId, seq: u64) -> Key {
    Key::new(&PINS, [tenant.shared().into(), conversation.shared().into(), seq.into()])
}

/// The messages of a conversation that are or were pinned, from a seq on.
pub fn pins(tenant: &TenantId, conversation: &ConversationId, from: u64, limit: usize) -> Range {
    let partition = vec![tenant.shared().into(), conversation.shared().into()];
    Range { table: &PINS, partition, from: Some(vec![from.into()]), until: None, reverse: false, limit }
}

/// The key of a job: of a tenant, or of one of its users.
pub fn job(tenant: &TenantId, user: Option<&UserId>) -> Key {
    // No id holds a slash.
    let name = format!("{tenant}/{}", user.map_or("", UserId::as_str));
    Key::new(&JOBS, [ALL_JOBS.into(), name.as_str().into()])
}

/// The key of the job that takes out what was said longer ago than a tenant keeps messages for.
pub fn expiry_job(tenant: &TenantId) -> Key {
    Key::new(&JOBS, [ALL_JOBS.into(), format!("{tenant}//expiry").as_str().into()])
}

/// A page of the jobs, from one on.
pub fn jobs(from: Option<&str>, limit: usize) -> Range {
    of_partition(&JOBS, vec![ALL_JOBS.into()], from, limit)
}

/// A page of a user's hidden messages of one conversation, from a seq on.
pub fn hidden_page(tenant: &TenantId, user: &UserId, conversation: &ConversationId, limit: usize) -> Range {
    let partition = vec![tenant.shared().into(), user.shared().into(), conversation.shared().into()];
    of_partition(&HIDDEN, partition, None, limit)
}

/// A page of the users in one of the [`USER_SHARDS`] partitions, from a user on.
pub fn users(tenant: &TenantId, shard: u64, from: Option<&str>, limit: usize) -> Range {
    of_partition(&USERS, vec![tenant.shared().into(), shard.into()], from, limit)
}

/// The key of a tenant.
pub fn tenant(tenant: &TenantId) -> Key {
    Key::new(&TENANTS, [ALL_TENANTS.into(), tenant.shared().into()])
}

/// A page of the tenants, from a tenant on.
pub fn tenants(from: Option<&str>, limit: usize) -> Range {
    of_partition(&TENANTS, vec![ALL_TENANTS.into()], from, limit)
}

/// The key of a key.
pub fn key(key: &KeyId) -> Key {
    Key::new(&KEYS, [key.shared().into()])
}

/// The key of a tenant's key in the tenant's list.
pub fn tenant_key(tenant: &TenantId, key: &KeyId) -> Key {
    Key::new(&TENANT_KEYS, [tenant.shared().into(), key.shared().into()])
}

/// A page of a tenant's keys, from a key on.
pub fn tenant_keys(tenant: &TenantId, from: Option<&str>, limit: usize) -> Range {
    of_partition(&TENANT_KEYS, vec![tenant.shared().into()], from, limit)
}

/// The key of a user's seat.
pub fn user_seat(tenant: &TenantId, user: &UserId) -> Key {
    Key::new(&USER_SEATS, [tenant.shared().into(), shard(user.as_str(), USER_SHARDS), user.shared().into()])
}

/// The key of the number of a tenant's seats.
pub fn seat_count(tenant: &TenantId) -> Key {
    Key::new(&SEAT_COUNTS, [tenant.shared().into()])
}

/// The key of what a tenant used on a day, as one process saw it.
pub fn usage(tenant: &TenantId, day: u64, process: &str) -> Key {
    Key::new(&USAGE, [tenant.shared().into(), usage_place(day, process).as_str().into()])
}

/// What a tenant used on the days `from..=until`.
pub fn usage_range(tenant: &TenantId, from: u64, until: u64) -> Range {
    Range {
        table: &USAGE,
        partition: vec![tenant.shared().into()],
        from: Some(vec![usage_place(from, "").as_str().into()]),
        until: Some(vec![usage_place(until + 1, "").as_str().into()]),
        reverse: false,
        limit: limits::RANGE_ROWS,
    }
}

/// Days sort as numbers do.
fn usage_place(day: u64, process: &str) -> String {
    format!("{day:08} {process}")
}

/// The day of a row of [`USAGE`].
pub fn usage_day(key: &Key) -> u64 {
    key.text(1).split(' ').next().and_then(|day| day.parse().ok()).unwrap_or(0)
}

/// The key of the answer to a request of a tenant, or of what stands for none; `request` is a hash.
pub fn answer(tenant: &str, request: &str) -> Key {
    let shard = request.bytes().map(u64::from).sum::<u64>() % ANSWER_SHARDS;
    let parts: [KeyPart; 3] = [tenant.into(), shard.into(), request.into()];
    Key::new(&ANSWERS, parts)
}

/// The key of something that was done; `of` is the tenant, or what stands for all of them.
pub fn audit(of: &str, bucket: u64, at: u64) -> Key {
    let parts: [KeyPart; 3] = [of.into(), (bucket % AUDIT_SHARDS).into(), at.into()];
    Key::new(&AUDIT, parts)
}

/// What was done in one stretch before a moment, the newest first.
pub fn audit_range(of: &str, bucket: u64, until: Option<u64>, limit: usize) -> Range {
    Range {
        table: &AUDIT,
        partition: vec![of.into(), (bucket % AUDIT_SHARDS).into()],
        from: None,
        until: until.map(|until| vec![until.into()]),
        reverse: true,
        limit,
    }
}

/// The key of a number counted up.
pub fn counter(name: &str) -> Key {
    Key::new(&COUNTERS, [name.into()])
}

/// The key of a record of the embedded event stream.
pub fn stream(partition: u32, offset: u64) -> Key {
    Key::new(&STREAM, [u64::from(partition).into(), offset.into()])
}

/// The records of a partition of the embedded event stream from an offset on.
pub fn stream_range(partition: u32, from: u64, reverse: bool, limit: usize) -> Range {
    Range {
        table: &STREAM,
        partition: vec![u64::from(partition).into()],
        from: Some(vec![from.into()]),
        until: None,
        reverse,
        limit,
    }
}

/// The key of a consumer's position in a partition of the embedded event stream.
pub fn stream_position(consumer: &str, partition: u32) -> Key {
    Key::new(&STREAM_POSITIONS, [consumer.into(), u64::from(partition).into()])
}

fn of_partition(table: &'static Table, partition: Vec<KeyPart>, from: Option<&str>, limit: usize) -> Range {
    let from = from.map(|from| vec![KeyPart::from(from)]);
    Range { table, partition, from, until: None, reverse: false, limit }
}
