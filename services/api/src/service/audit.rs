//! Who did what.

use stonechat_errors::Error;
use stonechat_model::now_us;
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::AuditRow,
    v1::{AuditEntry, ListAuditRequest, ListAuditResponse},
};

use super::{Service, page_size};

fn entry(row: AuditRow) -> AuditEntry {
    let AuditRow { time_us, actor, key, operation, tenant: _, target, source, outcome } = row;
    AuditEntry { time_us, actor, key, operation, target, source, outcome }
}

impl Service {
    pub async fn list_audit(&self, caller: &Caller, request: ListAuditRequest) -> Result<ListAuditResponse, Error> {
        let tenant = match caller {
            Caller::Operator if request.tenant.is_empty() => None,
            _ => Some(caller.administrates(&request.tenant)?),
        };
        if let Some(tenant) = &tenant {
            self.keys.tenant(tenant).await?;
        }
        let from = match request.page_token.as_str() {
            "" => None,
            text => Some(text.parse::<u64>().map_err(|_| Error::invalid("page_token is none of ours"))?),
        };
        let before_us = if request.before_us <= 0 { now_us() + 1 } else { request.before_us };
        let size = page_size(request.page_size);
        let page = self.gate.audit().list(tenant.as_ref(), before_us, from, size).await?;
        let entries = page.entries.into_iter().map(entry).collect();
        Ok(ListAuditResponse { entries, next_page_token: page.next.map(|at| at.to_string()).unwrap_or_default() })
    }
}
