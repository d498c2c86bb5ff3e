//! Open connections of tenants in one process.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use stonechat_model::TenantId;

/// Counts open connections.
#[derive(Default)]
pub struct Connections {
    open: Mutex<HashMap<TenantId, u64>>,
}

/// One open connection; it is closed when this is dropped.
pub struct OpenConnection {
    connections: Arc<Connections>,
    tenant: TenantId,
    /// How many were open with it.
    pub open: u64,
}

impl Connections {
    /// Opens one, unless the tenant has as many as it may.
    pub fn open(self: &Arc<Self>, tenant: &TenantId, quota: u64) -> Option<OpenConnection> {
        let mut all = self.open.lock();
        let open = all.entry(tenant.clone()).or_default();
        if *open >= quota {
            return None;
        }
        *open += 1;
        Some(OpenConnection { connections: Arc::clone(self), tenant: tenant.clone(), open: *open })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut all = self.connections.open.lock();
        if let Some(open) = all.get_mut(&self.tenant) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_makes_room_for_another() {
        let connections = Arc::new(Connections::default());
        let tenant = TenantId::parse("acme").unwrap();
        let first = connections.open(&tenant, 2).unwrap();
        let second = connections.open(&tenant, 2).unwrap();
        assert_eq!((first.open, second.open), (1, 2));
        assert!(connections.open(&tenant, 2).is_none());
        drop(first);
        assert!(connections.open(&tenant, 2).is_some());
        drop(second);
        assert!(connections.open.lock().is_empty());
    }
}
