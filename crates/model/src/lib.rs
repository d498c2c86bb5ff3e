//! The words of Stonechat as types: ids that cannot be wrong, positions, limits.

mod client_id;
mod ids;
pub mod limits;
mod position;

pub use client_id::{ClientId, InvalidClientId};
pub use ids::{ConversationId, DeviceId, FileId, GatewayId, InvalidId, KeyId, LogId, LogKey, TenantId, UserId};
pub use position::Position;

/// Microseconds since 1970, UTC.
pub type TimeUs = i64;

/// The present time by this machine's clock.
pub fn now_us() -> TimeUs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
