//! Keys of the devices that users connected with.

use stonechat_model::{DeviceId, TenantId, UserId};

use super::{DEVICES, shard};
use crate::{Key, Range};

/// How many partitions a tenant's devices are spread over.
pub const DEVICE_SHARDS: u64 = 64;

/// Greater than every character of an id.
const AFTER_IDS: &str = "\u{7f}";

/// The key of a user's device.
pub fn device(tenant: &TenantId, user: &UserId, device: &DeviceId) -> Key {
    let shard = shard(user.as_str(), DEVICE_SHARDS);
    Key::new(&DEVICES, [tenant.shared().into(), shard, user.shared().into(), device.shared().into()])
}

/// A page of a user's devices, from a device on.
pub fn devices(tenant: &TenantId, user: &UserId, from: Option<&DeviceId>, limit: usize) -> Range {
    let partition = vec![tenant.shared().into(), shard(user.as_str(), DEVICE_SHARDS)];
    let from = vec![user.shared().into(), from.map_or("", DeviceId::as_str).into()];
    let until = Some(vec![user.shared().into(), AFTER_IDS.into()]);
    Range { table: &DEVICES, partition, from: Some(from), until, reverse: false, limit }
}
