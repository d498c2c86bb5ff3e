//! What a tenant was given.

use stonechat_model::limits;
use stonechat_proto::internal::v1::QuotaRow;

/// What a tenant may use. 0 in a row stands for the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Users that were ever written.
    pub users: u64,
    /// Open connections of clients.
    pub connections: u64,
    /// Messages sent in a second.
    pub sends_per_s: u32,
    /// Bytes of files.
    pub storage_bytes: u64,
    /// API requests in a second.
    pub api_requests_per_s: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            users: limits::TENANT_USERS,
            connections: limits::TENANT_CONNECTIONS,
            sends_per_s: limits::TENANT_SENDS_PER_S,
            storage_bytes: limits::TENANT_STORAGE_BYTES,
            api_requests_per_s: limits::TENANT_API_REQUESTS_PER_S,
        }
    }
}

impl Quotas {
    /// Those of a row.
    pub fn of_row(row: Option<&QuotaRow>) -> Self {
        let default = Self::default();
        let Some(row) = row else { return default };
        let given = |value: u64, default: u64| if value == 0 { default } else { value };
        let given_rate = |value: u32, default: u32| if value == 0 { default } else { value };
        Self {
            users: given(row.users, default.users),
            connections: given(row.connections, default.connections),
            sends_per_s: given_rate(row.sends_per_s, default.sends_per_s),
            storage_bytes: given(row.storage_bytes, default.storage_bytes),
            api_requests_per_s: given_rate(row.api_requests_per_s, default.api_requests_per_s),
        }
    }

    /// The share of one of several processes, never nothing.
    #[must_use]
    pub fn share(self, processes: u32) -> Self {
        let processes = processes.max(1);
        Self {
            connections: self.connections.div_ceil(u64::from(processes)),
            sends_per_s: self.sends_per_s.div_ceil(processes),
            api_requests_per_s: self.api_requests_per_s.div_ceil(processes),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_the_default_and_a_share_is_never_nothing() {
        let row = QuotaRow { users: 5, ..QuotaRow::default() };
        let quotas = Quotas::of_row(Some(&row));
        assert_eq!(quotas, Quotas { users: 5, ..Quotas::default() });
        let few = Quotas { sends_per_s: 1, connections: 10, ..quotas }.share(4);
        assert_eq!((few.sends_per_s, few.connections, few.users), (1, 3, 5));
    }
}
