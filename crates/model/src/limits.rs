//! Every limit of the product in one table.
//!
//! `stonechat config docs` prints [`TABLE`]; the page in `docs/limits.md` is made from it.

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The constant's name.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The value's unit.
    pub unit: &'static str,
    /// What it bounds, and what happens beyond it.
    pub what: &'static str,
}

macro_rules! limits {
    ($($name:ident: $type:ty = $value:expr, $unit:literal, $what:literal;)*) => {
        $(#[doc = $what] #[doc = concat!("Unit: ", $unit, ".")] pub const $name: $type = $value;)*

        /// Every limit.
        pub const TABLE: &[Limit] = &[
            $(Limit { name: stringify!($name), value: $value as u64, unit: $unit, what: $what },)*
        ];
    };
}

limits! {
    ID_BYTES: usize = 128, "bytes", "Length of a user's or a conversation's id; a longer one is an invalid argument.";
    TENANT_ID_BYTES: usize = 64, "bytes", "Length of a tenant's id; a longer one is an invalid argument.";
    DEVICE_ID_BYTES: usize = 64, "bytes", "Length of a device's or a key's id; a longer one is an invalid argument.";
    TEXT_BYTES: usize = 16_384, "bytes", "Text of a message in UTF-8; a longer one is too large.";
    CUSTOM_BYTES: usize = 16_384, "bytes", "JSON document of a message's custom content; a longer one is too large.";
    CUSTOM_TYPE_BYTES: usize = 128, "bytes", "Type of a message's custom content.";
    MENTIONS: usize = 50, "users", "Users mentioned in a message.";
    ATTACHMENTS: usize = 30, "files", "Attachments of a message.";
    ATTACHMENT_TEXT_BYTES: usize = 512, "bytes", "Each text of an attachment (id, name, content type).";
    PICTURE_BYTES: u64 = 33_554_432, "bytes", "A picture that is decoded; a larger file is a download and nothing else.";
    PICTURE_PIXELS: u64 = 51_000_000, "pixels", "A picture that is decoded, by what its header promises; a larger one is a download and nothing else.";
    THUMBNAIL_LARGE_PIXELS: u32 = 1_280, "pixels", "Longest side of the larger thumbnail; made of larger pictures only.";
    THUMBNAIL_SMALL_PIXELS: u32 = 320, "pixels", "Longest side of the smaller thumbnail.";
    WAVEFORM_PEAKS: usize = 64, "peaks", "Peaks of a voice message's waveform, 0 to 100 each, made or taken from a client.";
    MEDIA_THREADS: usize = 2, "threads", "Files that a process decodes at once.";
    MEDIA_THREADS_ABANDONED: usize = 4, "threads", "Decoders that went beyond their deadline and still run; beyond it nothing more is decoded until one ends.";
    MEDIA_WAITING: usize = 256, "files", "Files that wait to be decoded; more are tried again later.";
    MEDIA_MEMORY_BYTES: usize = 536_870_912, "bytes", "What decoders may allocate together; a file that needs more alone is a download and nothing else.";
    MEDIA_TIMEOUT_MS: u64 = 20_000, "milliseconds", "How long one file may be decoded; then it is a download and nothing else.";
    BLOB_BYTES: usize = 8_388_608 + 65_536, "bytes", "A stored piece of a file: 8 MiB and what sealing adds.";
    BLOB_NAME_BYTES: usize = 64, "bytes", "The name of a piece.";
    BLOBS_AT_ONCE: usize = 32, "requests", "Pieces that a process writes, reads or deletes at once; more wait.";
    BLOBS_LISTED: usize = 1_000, "blobs", "Stored pieces on one page of a list.";
    BLOB_HEADERS: usize = 4_096, "blobs", "Stored pieces whose header a process keeps, so that it is read once.";
    FILE_KEY_CACHE_S: u64 = 30, "seconds", "How long a process keeps the keys of a tenant's files; after that a deleted one is gone everywhere.";
    FILE_KEY_TENANTS: usize = 10_000, "tenants", "Tenants whose keys of files a process keeps.";
    FILE_KEY_VERSIONS: usize = 1_000, "keys", "Keys of one tenant's files, one for each rotation; then rotating is refused.";
    MASTER_KEYS: usize = 64, "keys", "Master keys in their file, the present one and older ones.";
    FILE_BYTES: u64 = 4_294_967_296, "bytes", "A file; a larger one is refused before its bytes are taken (the configuration may lower it).";
    FILE_ONE_SHOT_BYTES: u64 = 33_554_432, "bytes", "A file that is uploaded by one request to /v1/files; larger ones go to /v1/uploads.";
    FILE_NAME_BYTES: usize = 255, "bytes", "A file's name; a longer one is cut off before its ending.";
    FILE_UNREFERENCED_TTL_S: u64 = 86_400, "seconds", "How long a file is kept that no message refers to.";
    FILE_HOLD_S: u64 = 6 * 3_600, "seconds", "A file that expires sooner is kept for longer when a message is to refer to it.";
    FILE_RECHECK_MAX_S: u64 = 7 * 86_400, "seconds", "How often a file that messages refer to is looked at, at least; a file that no message refers to any more goes then at the latest.";
    FILE_DELETED_TTL_S: u64 = 7 * 86_400, "seconds", "How long it is remembered that a file was deleted.";
    FILE_DUE_TTL_S: u64 = 400 * 86_400, "seconds", "How long it is remembered that an upload or a file is to be looked at, where no process with the role files runs.";
    FILE_REFS_CHECKED: usize = 10_000, "messages", "Messages that refer to a file among which one is looked for that the caller may read.";
    FILE_MARKS: usize = 4_096, "changes", "Changes of a tenant's used bytes within two minutes; more wait.";
    FILE_LINK_TTL_S: u64 = 3_600, "seconds", "How long a link to a file is good where the request does not say.";
    FILE_LINK_TTL_MAX_S: u64 = 7 * 86_400, "seconds", "How long a link to a file may be good.";
    CONTENT_GONE_TTL_S: u64 = 86_400, "seconds", "How long it is remembered that bytes were deleted.";
    UPLOAD_PIECE_BYTES: usize = 8_388_608, "bytes", "A piece of a file; as much as an upload loses at most where a process is killed.";
    UPLOAD_TAIL_PIECES: usize = 64, "pieces", "What small requests leave behind the last whole piece of an upload; then they are made one.";
    UPLOAD_TTL_S: u64 = 86_400, "seconds", "How long an upload may rest before it expires.";
    UPLOAD_AGE_S: u64 = 7 * 86_400, "seconds", "How long an upload may take at all.";
    UPLOAD_PARTS: usize = 64, "uploads", "Parts of a final upload.";
    UPLOAD_METADATA_BYTES: usize = 4_096, "bytes", "The Upload-Metadata header.";
    UPLOAD_IDLE_TIMEOUT_S: u64 = 30, "seconds", "Silence within an upload's body, after which what came is kept and the request ends.";
    UPLOADS_AT_ONCE: usize = 64, "requests", "Requests of one process that take a file's bytes at once, each with 256 KiB in memory and what it gets of UPLOAD_MEMORY_BYTES; more are refused as unavailable.";
    UPLOAD_MEMORY_BYTES: usize = 33_554_432, "bytes", "Unwritten bytes of files that a process has in memory beyond the first 256 KiB of each request; where they are taken, requests write smaller pieces. It is kept for what comes next.";
    UPLOAD_LEASE_S: u64 = 5, "seconds", "How long a process has an upload to itself while it makes the file, from the last time it said that it goes on; then any process begins again.";
    UPLOAD_MADE_WAIT_S: u64 = 30, "seconds", "How long an upload's last request waits for the file; then it is answered that the upload is locked (423), and asks again.";
    DOWNLOADS_AT_ONCE: usize = 1_024, "requests", "Requests of one process that give a file's bytes at once; more are refused as unavailable.";
    DOWNLOAD_STEP_BYTES: usize = 262_144, "bytes", "What a download reads at once; two of them are in memory.";
    SCANS_AT_ONCE: usize = 4, "files", "Files that a process has scanned at once; more wait.";
    SCANS_WAITING: usize = 256, "files", "Files of a process that are scanned or wait for it; more are looked at later.";
    SCAN_BYTES: u64 = 104_857_600, "bytes", "The largest file where files are scanned, unless the configuration says otherwise: as much as clamd takes.";
    SCAN_LEASE_S: u64 = 60, "seconds", "How long a scan may take, and a second for each SCAN_BYTES_PER_S; after that the file is scanned again.";
    SCAN_BYTES_PER_S: u64 = 4_194_304, "bytes per second", "How slow a scan may be.";
    SCAN_AGAIN_S: u64 = 10, "seconds", "When a file is scanned again for which the scanner had no answer; each time twice as long.";
    SCAN_AGAIN_MAX_S: u64 = 600, "seconds", "The longest pause after which a file is scanned again.";
    SCAN_WAIT_S: u64 = 2, "seconds", "How long an upload's last request waits for the scan, and what is said to whoever asks for a file that is being scanned.";
    DIRECT_BYTES: u64 = 1_048_576, "bytes", "The smallest file that clients fetch from the store itself where their tenant allows it; smaller ones are given by us.";
    DIRECT_AT_ONCE: usize = 2, "files", "Files of which a process makes objects for clients at once, each with three parts of 8 MiB in memory; more wait.";
    DIRECT_WAITING: usize = 256, "files", "Files of a process of which objects are made or wait for it; more are looked at later.";
    DIRECT_LEASE_S: u64 = 120, "seconds", "How long the object of a file may take, and a second for each DIRECT_BYTES_PER_S; after that another one is begun.";
    DIRECT_BYTES_PER_S: u64 = 1_048_576, "bytes per second", "How slowly an object may be written.";
    DIRECT_AGAIN_S: u64 = 600, "seconds", "When an object that could not be made is tried again.";
    DIRECT_LINK_S: u64 = 60, "seconds", "How long a link to the store is good, unless the configuration says otherwise.";
    DIRECT_LINK_MAX_S: u64 = 3_600, "seconds", "How long a link to the store may be good: nobody takes it back.";
    NAME_BYTES: usize = 256, "bytes", "A conversation's or a user's name.";
    AVATAR_BYTES: usize = 1_024, "bytes", "A reference to a picture.";
    ANNOUNCEMENT_BYTES: usize = 4_096, "bytes", "A conversation's announcement.";
    DRAFT_BYTES: usize = 16_384, "bytes", "A draft.";
    EMOJI_BYTES: usize = 64, "bytes", "An emoji of a reaction or a status.";
    STATUS_TEXT_BYTES: usize = 256, "bytes", "The text of a user's status.";
    REACTION_EMOJIS: usize = 20, "emojis", "Different emojis on one message.";
    REACTIONS: usize = 1_000, "reactions", "Reactions on one message; more are refused.";
    PINS: u32 = 100, "messages", "Pinned messages of a conversation.";
    GROUP_MEMBERS: u32 = 500, "members", "Members of a group; beyond it the group is upgraded to a channel first.";
    CHANNEL_MEMBERS: u32 = 1_000_000, "members", "Members of a channel.";
    MEMBERS_PER_COMMAND: usize = 100, "users", "Users that one command creates with, adds or removes.";
    BULK_MEMBERS: usize = 100_000, "users", "Users that one request adds to a channel; they are added in commands of MEMBERS_PER_COMMAND.";
    BULK_USERS: usize = 1_000, "users", "Users that one request creates.";
    DEVICE_CUTOFFS: usize = 256, "devices", "Devices of a user whose tokens were revoked, or whose sessions were closed, one by one: with more, what is as old as the oldest of these is void on every device.";
    ERASE_EVENTS: usize = 500, "events", "Events that one command erases; a user is erased from a conversation by as many commands as it takes.";
    IMPORT_LINE_BYTES: usize = 131_072, "bytes", "A line of an import; a longer one is too large.";
    IMPORT_CONVERSATIONS: usize = 200_000, "conversations", "Conversations of one import whose lines do not say their seqs.";
    IMPORT_BATCH: usize = 2_048, "lines", "Lines of an import that are on their way to the rows at once.";
    UNREAD_EVENTS: usize = 100, "events", "Events behind a read mark that are counted for one conversation; beyond them the count says that there is more.";
    UNREAD_CONVERSATIONS: usize = 1_000, "conversations", "Conversations whose unread messages are counted at once.";
    EXPORT_PAGE: usize = 1_000, "rows", "Rows that an export reads at once.";
    CLIENT_ID_TTL_S: u64 = 3 * 86_400, "seconds", "How long a client id is remembered: the same command gives the same answer.";
    CLIENT_ID_AGE_S: u64 = 2 * 86_400, "seconds", "How old a client id's own time may be; an older one is refused.";
    CLIENT_ID_AHEAD_S: u64 = 86_400, "seconds", "How far in the future a client id's own time may be.";
    FRAME_BYTES: usize = 65_536, "bytes", "A frame or message from a client; a larger one closes the session (4501).";
    JSON_DEPTH: usize = 64, "levels", "Nesting of JSON from outside.";
    CURSORS: usize = 2_000, "cursors", "Cursors of one hello or sync; conversations beyond them are listed without their events.";
    PAGE_EVENTS: usize = 200, "events", "Events of one page.";
    PAGE_CONVERSATIONS: usize = 100, "conversations", "Conversations of one page.";
    SYNCS_AT_ONCE: usize = 64, "sessions", "Sessions of one gateway that open at once, at most: register and catch up; more wait for their turn, and fewer open while reads take longer than usual.";
    SYNC_EVENTS: usize = 100, "events", "Missed events of one conversation that a sync brings; the client pages for more.";
    SESSION_QUEUE_BYTES: usize = 1_048_576, "bytes", "What waits for a session; beyond it the session is closed as too slow (4008).";
    SESSION_COMMANDS_IN_FLIGHT: usize = 1_024, "commands", "Unanswered commands of a session; beyond it a command is refused.";
    SESSION_COMMANDS_PER_S: u32 = 200, "commands/s", "Commands of a session on average (the configuration may change it).";
    SESSION_COMMANDS_BURST: u32 = 400, "commands", "Commands of a session at once.";
    SESSIONS_PER_USER: usize = 20, "sessions", "Open sessions of one user on a gateway; the oldest is closed beyond it.";
    SUBSCRIPTIONS: usize = 500, "users", "Users whose status a session follows.";
    TOKEN_BYTES: usize = 4_096, "bytes", "A user token.";
    HELLO_TIMEOUT_S: u64 = 10, "seconds", "From the connection to a valid hello; then the socket is closed.";
    HEARTBEAT_S: u64 = 60, "seconds", "Silence of a client after which its session is closed (4012).";
    CLOSE_TIMEOUT_S: u64 = 5, "seconds", "Reading on after a close frame until the stream ends.";
    HTTP_BODY_BYTES: usize = 1_048_576, "bytes", "A request's body; a larger one is too large.";
    HTTP_HEADER_TIMEOUT_S: u64 = 10, "seconds", "Reading a request's header.";
    HTTP_BODY_TIMEOUT_S: u64 = 30, "seconds", "Reading a request's body.";
    CONNECTIONS: usize = 100_000, "connections", "Open connections of one listener; more wait in the kernel.";
    LOG_QUEUE_RECORDS: usize = 65_536, "commands", "Undecided commands of a partition of the embedded command log; beyond it a command is refused as unavailable.";
    LOG_QUEUE_BYTES: usize = 67_108_864, "bytes", "Undecided bytes of a partition of the embedded command log.";
    LOG_PARTITIONS: u32 = 1_024, "partitions", "Partitions of the command log and the event stream on Kafka.";
    LOG_RECORD_BYTES: usize = 1_048_576, "bytes", "A record of the command log on Kafka; a larger one is too large.";
    KAFKA_QUEUE_RECORDS: usize = 65_536, "records", "Records that wait for Kafka in one process; beyond it a command is refused as unavailable.";
    KAFKA_QUEUE_BYTES: usize = 67_108_864, "bytes", "Bytes that wait for Kafka in one process.";
    KAFKA_APPEND_TIMEOUT_MS: u64 = 5_000, "milliseconds", "How long a command waits to be acknowledged by Kafka; then it is refused as unavailable.";
    KAFKA_PUBLISH_TIMEOUT_MS: u64 = 30_000, "milliseconds", "How long the owner of a partition waits for its events to be acknowledged by Kafka; then it begins the batch anew.";
    KAFKA_FETCH_BYTES: usize = 4_194_304, "bytes", "Records of one partition that are fetched from Kafka ahead of their reader.";
    KAFKA_HANDOVER_MS: u64 = 5_000, "milliseconds", "How long a partition of Kafka that goes to another process waits for its owner to end.";
    BATCH_COMMANDS: usize = 512, "commands", "Commands that an owner decides at once.";
    BATCH_BYTES: usize = 4_194_304, "bytes", "Bytes of commands that an owner decides at once.";
    COMMIT_BYTES: usize = 16_777_216, "bytes", "Bytes that the group-commit writer writes with one fsync.";
    WRITE_QUEUE: usize = 4_096, "batches", "Batches that wait for the group-commit writer; further callers wait.";
    STATE_CONVERSATIONS: usize = 50_000, "conversations", "Conversations that an owner of a partition keeps in memory.";
    STATE_MEMBERS: usize = 1_024, "members", "Members of one channel that an owner keeps in memory.";
    ROLL_FORWARD_EVENTS: usize = 4_096, "events", "Events above a head that loading a conversation finishes.";
    PRESENCE_USERS: usize = 1_000_000, "users", "Users whose last seen time and status text presence keeps in memory; who is gone for longest is forgotten first.";
    RANGE_ROWS: usize = 10_000, "rows", "Rows of one range read.";
    GET_KEYS: usize = 10_000, "keys", "Keys of one bulk read.";
    STREAM_TTL_S: u64 = 7 * 86_400, "seconds", "How long the embedded event stream is kept for its consumers.";
    STREAM_BATCH: usize = 256, "events", "Events that a consumer of the event stream takes at once.";
    COMMAND_TIMEOUT_MS: u64 = 10_000, "milliseconds", "How long an api request waits for its command's outcome.";
    PEERS: usize = 256, "processes", "Processes of one role that another process talks to.";
    PEER_FRAME_BYTES: usize = 67_108_864, "bytes", "A frame between roles; a larger one ends its stream.";
    PEER_GATHER_BYTES: usize = 1_048_576, "bytes", "What is gathered into one frame between roles, beside a single larger item.";
    CALLS_IN_FLIGHT: usize = 16_384, "calls", "Calls of one process to one role that wait for replies; beyond it a call is refused as unavailable.";
    CALLS_QUEUE_BYTES: usize = 67_108_864, "bytes", "Bytes of calls, or of replies, that wait for one stream between roles.";
    CALLS_SERVED: usize = 8_192, "calls", "Calls that a storage or presence process works on at once; beyond it a call is refused as unavailable.";
    CALL_REPEATS_PERCENT: usize = 10, "percent", "Share of the calls of one process to one role that may be repeated, beside what was saved.";
    CALL_REPEATS_SAVED: usize = 1_000, "calls", "Repetitions that are saved for a bad moment, as when a process with many calls is lost.";
    PEER_CIRCUIT_FAILURES: usize = 5, "calls", "Calls in a row that a storage or presence process fails, after which it rests where another one can be called.";
    PEER_CIRCUIT_PAUSE_MS: u64 = 1_000, "milliseconds", "How long such a process rests before one call probes it; twice as long after each probe that fails.";
    PEER_CIRCUIT_PAUSE_MAX_MS: u64 = 10_000, "milliseconds", "How long it rests at most.";
    STORAGE_CALL_TIMEOUT_MS: u64 = 8_000, "milliseconds", "How long a call of storage waits for its reply.";
    PEER_KEEP_ALIVE_S: u64 = 2, "seconds", "Silence of a connection between roles after which the other side is asked whether it lives.";
    PEER_KEEP_ALIVE_TIMEOUT_S: u64 = 3, "seconds", "How long it has to answer; then the connection is taken for lost.";
    PRESENCE_STATUS_DAYS: u64 = 90, "days", "How long Redis keeps the last seen time and status text of a user who is gone.";
    PRESENCE_REGISTRATIONS: usize = 500, "registrations", "Users or channels that a gateway registers in Redis with one request; more go in several.";
    REDIS_PIPELINE: usize = 1_000, "commands", "Commands of one request to Redis; more go in several.";
    PRESENCE_SIGNALS_QUEUED: usize = 65_536, "signals", "Signals of other processes that wait to be told to gateways; beyond it the gateways check everything again.";
    PRESENCE_CALL_TIMEOUT_MS: u64 = 2_000, "milliseconds", "How long a call of presence waits for its reply.";
    LINK_COMMANDS_QUEUED: usize = 16_384, "commands", "Commands of a node that wait for one link to a router; beyond it a command is refused as unavailable.";
    LINK_COMMANDS_UNANSWERED: usize = 131_072, "commands", "Commands of a node that routers have and have not answered; beyond it a command is refused as unavailable.";
    LINK_COMMAND_TIMEOUT_MS: u64 = 10_000, "milliseconds", "How long a command of a node waits for its outcome; then its sender is told to send it again.";
    LINK_COMMAND_SLOW_MS: u64 = 5_000, "milliseconds", "How long an outcome may take; beyond it further commands of those conversations are refused as unavailable, but for one at a time and not more than one per second, until one takes less.";
    LINK_COMMANDS_APPENDED: usize = 8_192, "commands", "Commands of one link that wait for the command log; then the router reads no more of the link.";
    LINK_QUEUE_BYTES: usize = 67_108_864, "bytes", "Bytes that wait for one link to a node; beyond it the link is closed, and the node checks for itself.";
    WEBHOOKS: usize = 16, "webhooks", "Webhooks of one tenant.";
    WEBHOOK_URL_BYTES: usize = 2_048, "bytes", "The URL of a webhook or hook.";
    WEBHOOK_BODY_BYTES: usize = 20_000, "bytes", "The body of a webhook; an event that makes a larger one goes without its content, marked as truncated.";
    WEBHOOK_SECRETS: usize = 4, "secrets", "Secrets of one webhook that sign at the same time.";
    WEBHOOK_SECRET_OVERLAP_S: u64 = 7 * 86_400, "seconds", "How long a secret that was rotated may go on signing, at most.";
    WEBHOOK_TIMEOUT_MS: u64 = 15_000, "milliseconds", "How long a webhook's receiver may take to answer; the configuration may shorten it.";
    WEBHOOK_CONNECT_TIMEOUT_MS: u64 = 5_000, "milliseconds", "Of it, resolving the name and connecting.";
    WEBHOOK_ANSWER_BYTES: usize = 512, "bytes", "What is read and kept of a receiver's answer.";
    WEBHOOK_RETRY_AFTER_S: u64 = 3_600, "seconds", "The longest Retry-After of a receiver that is obeyed; a longer one counts as this.";
    WEBHOOK_WINDOW: usize = 256, "events", "Undelivered events of one webhook and stream partition that are kept in memory; the rest waits in the rows.";
    WEBHOOK_IN_FLIGHT: usize = 8, "requests", "Requests on their way to one webhook from one stream partition.";
    WEBHOOK_PARKED: usize = 256, "conversations", "Conversations of one webhook and stream partition that are set aside as their events fail while others arrive; beyond it all wait.";
    HOOK_TIMEOUT_MS: u64 = 3_000, "milliseconds", "How long a tenant's hook may take to answer, at most.";
    HOOK_ANSWER_BYTES: usize = 65_536, "bytes", "The answer of a hook; a larger one is none.";
    HOOK_REASON_BYTES: usize = 256, "bytes", "What a hook says about why it refuses; the rest is cut off.";
    HOOK_CALLS: usize = 64, "requests", "Requests of one process on their way to one tenant's hook; further messages wait for as long as an answer may take.";
    HOOK_WAITING: usize = 1_024, "messages", "Messages of one tenant that wait for its hook in one process; further ones are refused.";
    HOOK_SESSION_WAITING: usize = 32, "messages", "Messages of one session that wait for a hook; further ones are refused.";
    HOOK_FAILURES: u32 = 5, "requests", "Requests in a row that a hook fails, after which it rests.";
    HOOK_PAUSE_MS: u64 = 5_000, "milliseconds", "How long it rests, before one message probes it.";
    HOOK_TENANTS: usize = 100_000, "tenants", "Tenants whose hook a process keeps in mind; those that it heard nothing of are read again.";
    HOOK_FRESH_MS: u64 = 1_000, "milliseconds", "How long a process goes by what it knows of a tenant's hook.";
    WEBHOOK_FAILING_DAYS: u64 = 5, "days", "A webhook that took nothing for so long is disabled.";
    PULL_CURSOR_BYTES: usize = 65_536, "bytes", "A cursor of who pulls events; a longer one is an invalid argument.";
    PULLS: usize = 16, "requests", "Requests of one tenant to one process that pull events at the same time; more are refused as too many.";
    PULL_POLL_MS: u64 = 250, "milliseconds", "How often the feed is looked at for who waits for events.";
    PULL_SIGN_OF_LIFE_S: u64 = 15, "seconds", "How often who waits for events is told where to go on, when there are none.";
    PULL_WAITING: usize = 128, "events", "Events that wait for who pulls them to read; no more are looked for until it does.";
    FEED_TTL_S: u64 = 4 * 86_400, "seconds", "How long a tenant's feed is kept for its webhooks and for who pulls it.";
    DELIVERY_TTL_S: u64 = 2 * 86_400, "seconds", "How long the log of deliveries is kept.";
    DEAD_LETTER_TTL_S: u64 = 30 * 86_400, "seconds", "How long dead letters are kept.";
    DEVICE_TTL_S: u64 = 90 * 86_400, "seconds", "How long a device is known that does not connect.";
    DEVICE_NOTES: usize = 20_000, "notes", "What a gateway has to write of devices that came and went; what would be more is not written.";
    DEVICE_NOTES_AT_ONCE: usize = 500, "notes", "How much of it is written at once.";
    TENANT_USERS: u64 = 1_000_000, "users", "Users of a tenant, unless its quota says otherwise; a new one is refused beyond it.";
    TENANT_CONNECTIONS: u64 = 50_000, "connections", "Open client connections of a tenant, unless its quota says otherwise; a new one is closed beyond it (4013).";
    TENANT_SENDS_PER_S: u32 = 5_000, "messages/s", "Messages that a tenant sends on average, unless its quota says otherwise; twice as many at once.";
    TENANT_STORAGE_BYTES: u64 = 107_374_182_400, "bytes", "Files of a tenant, unless its quota says otherwise.";
    TENANT_API_REQUESTS_PER_S: u32 = 1_000, "requests/s", "API requests of a tenant on average, sending apart, unless its quota says otherwise; twice as many at once.";
    TENANT_ADMIN_REQUESTS_PER_S: u32 = 50, "requests/s", "API requests of a tenant for keys, settings and the like, on average; twice as many at once.";
    USER_API_REQUESTS_PER_S: u32 = 200, "requests/s", "API requests of one user on average, sending apart; twice as many at once.";
    USER_API_SENDS_PER_S: u32 = 200, "messages/s", "Messages that one user sends through the API on average; twice as many at once.";
    OPERATOR_REQUESTS_PER_S: u32 = 1_000, "requests/s", "API requests of the operator on average; twice as many at once.";
    RATE_SUBJECTS: usize = 1_000_000, "budgets", "Budgets that a process keeps; further subjects have a full one at each request until others are full again.";
    KEY_SHARE_PERCENT: u32 = 80, "percent", "What one server key may take of its tenant's budget.";
    TENANT_KEYS: usize = 1_000, "keys", "Keys of a tenant, disabled ones among them.";
    KEY_OVERLAP_S: u32 = 2_592_000, "seconds", "How long a key may be good after it was rotated.";
    USAGE_TENANTS: usize = 100_000, "tenants", "Tenants whose use a process gathers on one day.";
    USAGE_TTL_S: u64 = 400 * 86_400, "seconds", "How long the use of a day is kept.";
    USAGE_FLUSH_S: u64 = 5, "seconds", "How often a process writes down what was used.";
    USAGE_DAYS: u64 = 400, "days", "Days of use of one request.";
    IDEMPOTENCY_TTL_S: u64 = 2 * 86_400, "seconds", "How long an answer is kept for its Idempotency-Key.";
    IDEMPOTENCY_BUSY_S: u64 = 60, "seconds", "After which a request that was begun and never answered may be done again under its Idempotency-Key.";
    IDEMPOTENCY_WAIT_MS: u64 = 5_000, "milliseconds", "How long a request waits for another one with its Idempotency-Key; then it is refused as unavailable.";
    IDEMPOTENCY_BODY_BYTES: usize = 65_536, "bytes", "An answer that is kept; of a larger one only the status is.";
    AUDIT_TTL_S: u64 = 730 * 86_400, "seconds", "How long it is kept who did what.";
    GRPC_DEADLINE_S: u64 = 60, "seconds", "The longest deadline that a unary gRPC call gets.";
    RETENTION_DAYS: u32 = 36_500, "days", "For how long a tenant may ask to have messages kept, when not for good.";
    ROUTES_PER_USER: usize = 16, "gateways", "Gateways that hold sessions of one user.";
}

/// Events of a partition of the events table: `seq / EVENTS_PER_BUCKET`.
pub const EVENTS_PER_BUCKET: u64 = 4096;

/// The pauses after the first, second, third ... attempt of a webhook that failed, in seconds: more than a day in all.
pub const WEBHOOK_RETRY_SCHEDULE_S: &[u64] = &[1, 5, 20, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200];
