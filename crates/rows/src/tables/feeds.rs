//! Keys of feeds and webhooks.

use stonechat_model::{TenantId, TimeUs, limits};

use super::{DEAD_LETTERS, DELIVERIES, FEED, FEED_HEADS, FEEDS, SEND_HOOKS, WEBHOOK_LANES, WEBHOOKS, of_partition};
use crate::{Key, KeyPart, Range};

/// The one partition of the feeds.
const ALL_FEEDS: &str = "all";
/// A partition of the log of deliveries, in microseconds.
const DELIVERY_BUCKET_US: u64 = 4 * 3_600 * 1_000_000;

/// A time as a part of a key.
fn moment(us: TimeUs) -> u64 {
    u64::try_from(us).unwrap_or(0)
}

/// The key of a tenant's feed.
pub fn feed(tenant: &TenantId) -> Key {
    Key::new(&FEEDS, [ALL_FEEDS.into(), tenant.shared().into()])
}

/// A page of the feeds, from a tenant on.
pub fn feeds(from: Option<&str>, limit: usize) -> Range {
    of_partition(&FEEDS, vec![ALL_FEEDS.into()], from, limit)
}

/// The key of an entry of a feed.
pub fn feed_entry(tenant: &TenantId, partition: u32, position: u64) -> Key {
    Key::new(&FEED, [tenant.shared().into(), u64::from(partition).into(), position.into()])
}

/// The entries of a feed's partition after a position, up to another.
pub fn feed_entries(tenant: &TenantId, partition: u32, after: u64, up_to: u64, limit: usize) -> Range {
    Range {
        table: &FEED,
        partition: vec![tenant.shared().into(), u64::from(partition).into()],
        from: Some(vec![after.saturating_add(1).into()]),
        until: Some(vec![up_to.saturating_add(1).into()]),
        reverse: false,
        limit,
    }
}

/// The key of how far a feed's partition is written.
pub fn feed_head(tenant: &TenantId, partition: u32) -> Key {
    Key::new(&FEED_HEADS, [tenant.shared().into(), u64::from(partition).into()])
}

/// How far each partition of a feed is written.
pub fn feed_heads(tenant: &TenantId) -> Range {
    of_partition(&FEED_HEADS, vec![tenant.shared().into()], None, limits::RANGE_ROWS)
}

/// The key of a webhook.
pub fn webhook(tenant: &TenantId, webhook: &str) -> Key {
    Key::new(&WEBHOOKS, [tenant.shared().into(), webhook.into()])
}

/// A tenant's webhooks.
pub fn webhooks(tenant: &TenantId) -> Range {
    of_partition(&WEBHOOKS, vec![tenant.shared().into()], None, limits::RANGE_ROWS)
}

/// The key of the hook that a tenant's messages pass.
pub fn send_hook(tenant: &TenantId) -> Key {
    Key::new(&SEND_HOOKS, [tenant.shared().into()])
}

/// The key of how far a webhook is in a partition.
pub fn webhook_lane(tenant: &TenantId, lane: &str, partition: u32) -> Key {
    Key::new(&WEBHOOK_LANES, [tenant.shared().into(), lane.into(), u64::from(partition).into()])
}

/// How far a webhook is in each partition.
pub fn webhook_lanes(tenant: &TenantId, lane: &str) -> Range {
    of_partition(&WEBHOOK_LANES, vec![tenant.shared().into(), lane.into()], None, limits::RANGE_ROWS)
}

/// The partition of the log of deliveries that a time is in.
pub fn delivery_bucket(time_us: TimeUs) -> u64 {
    moment(time_us) / DELIVERY_BUCKET_US
}

/// The key of an attempt; `id` tells attempts of one microsecond apart.
pub fn delivery(tenant: &TenantId, webhook: &str, time_us: TimeUs, id: &str) -> Key {
    let parts: [KeyPart; 3] = [tenant.shared().into(), webhook.into(), delivery_bucket(time_us).into()];
    Key::new(&DELIVERIES, parts.into_iter().chain([moment(time_us).into(), id.into()]))
}

/// Attempts of one partition of the log before one of them, newest first.
pub fn deliveries(tenant: &TenantId, webhook: &str, bucket: u64, before: Option<(u64, &str)>, limit: usize) -> Range {
    Range {
        table: &DELIVERIES,
        partition: vec![tenant.shared().into(), webhook.into(), bucket.into()],
        from: None,
        until: before.map(|(time_us, id)| vec![time_us.into(), id.into()]),
        reverse: true,
        limit,
    }
}

/// The key of an event that was given up, by when it happened.
pub fn dead_letter(tenant: &TenantId, webhook: &str, time_us: TimeUs, log: &str, seq: u64) -> Key {
    let parts: [KeyPart; 3] = [tenant.shared().into(), webhook.into(), moment(time_us).into()];
    Key::new(&DEAD_LETTERS, parts.into_iter().chain([log.into(), seq.into()]))
}

/// Events that were given up, from a time on.
pub fn dead_letters(tenant: &TenantId, webhook: &str, from: Option<Vec<KeyPart>>, limit: usize) -> Range {
    Range {
        table: &DEAD_LETTERS,
        partition: vec![tenant.shared().into(), webhook.into()],
        from,
        until: None,
        reverse: false,
        limit,
    }
}
