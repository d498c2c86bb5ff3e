//! The devices that users connected with.

use stonechat_errors::Error;
use stonechat_model::{DeviceId, TenantId, UserId};
use stonechat_proto::internal::v1::DeviceRow;
use stonechat_rows::tables;

use crate::{List, Views, decode, unavailable};

/// The id of a session, as its client is told it: by the gateway that holds it, and its number there.
pub fn session_id(gateway: &str, session: u64) -> String {
    format!("{gateway}-{session}")
}

impl Views {
    /// A page of a user's devices, from one on.
    pub async fn devices(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: Option<&DeviceId>,
        limit: usize,
    ) -> Result<List<(DeviceId, DeviceRow)>, Error> {
        let range = tables::devices(tenant, user, from, limit + 1);
        let mut rows = self.rows.range(range).await.map_err(unavailable)?;
        let next = if rows.len() > limit { rows.pop() } else { None };
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let device = DeviceId::parse(row.key.text(3)).map_err(|_| Error::internal())?;
            items.push((device, decode(row)?));
        }
        Ok(List { items, next: next.map(|row| row.key.text(3).to_owned()) })
    }
}
