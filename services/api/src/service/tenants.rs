//! Tenants: what the operator makes, changes and sees of them.

use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, limits, now_us};
use stonechat_operations::Caller;
use stonechat_proto::{
    internal::v1::{QuotaRow, TenantRow},
    v1::{
        CreateTenantRequest, GetQuotasRequest, GetTenantRequest, GetUsageRequest, ListTenantsRequest,
        ListTenantsResponse, Quotas, ResumeTenantRequest, SetQuotasRequest, SuspendTenantRequest, Tenant,
        UpdateTenantRequest, Usage, UsageDay,
    },
};
use stonechat_quotas::{days, today};
use stonechat_rpc::Control;

use super::{Service, day, page_size, page_token, tenant_id};

/// Days of usage where none are named.
const USAGE_DAYS: u64 = 30;

fn tenant(id: &TenantId, row: TenantRow) -> Tenant {
    Tenant {
        id: id.to_string(),
        name: row.name,
        created_us: row.created_us,
        suspended: row.suspended,
        message_retention_days: row.message_retention_days,
        file_retention_days: row.file_retention_days,
        direct_downloads: row.direct_downloads,
    }
}

fn quotas(row: Option<&QuotaRow>) -> Quotas {
    let stonechat_quotas::Quotas { users, connections, sends_per_s, storage_bytes, api_requests_per_s } =
        stonechat_quotas::Quotas::of_row(row);
    Quotas { users, connections, sends_per_s, storage_bytes, api_requests_per_s }
}

impl Service {
    pub async fn create_tenant(&self, caller: &Caller, request: CreateTenantRequest) -> Result<Tenant, Error> {
        caller.operator()?;
        let id = tenant_id(&request.id)?;
        stonechat_commands::check_plain("name", &request.name, limits::NAME_BYTES)?;
        Ok(tenant(&id, self.keys.create_tenant(&id, &request.name, now_us()).await?))
    }

    pub async fn get_tenant(&self, caller: &Caller, request: GetTenantRequest) -> Result<Tenant, Error> {
        let id = caller.administrates(&request.tenant)?;
        Ok(tenant(&id, self.keys.tenant(&id).await?))
    }

    pub async fn list_tenants(
        &self,
        caller: &Caller,
        request: ListTenantsRequest,
    ) -> Result<ListTenantsResponse, Error> {
        caller.operator()?;
        let size = page_size(request.page_size);
        let mut found = self.keys.tenants(page_token(&request.page_token)?, size + 1).await?;
        let next = if found.len() > size { found.pop().map(|(id, _)| id.to_string()) } else { None };
        let present = found.into_iter().filter(|(_, row)| row.deleted_us == 0);
        let tenants = present.map(|(id, row)| tenant(&id, row)).collect();
        Ok(ListTenantsResponse { tenants, next_page_token: next.unwrap_or_default() })
    }

    pub async fn update_tenant(&self, caller: &Caller, request: UpdateTenantRequest) -> Result<Tenant, Error> {
        caller.operator()?;
        let id = tenant_id(&request.tenant)?;
        let UpdateTenantRequest { name, message_retention_days, file_retention_days, direct_downloads, .. } = request;
        stonechat_commands::check_plain("name", name.as_deref().unwrap_or_default(), limits::NAME_BYTES)?;
        if file_retention_days.is_some_and(|days| days > limits::RETENTION_DAYS) {
            return Err(Error::invalid(format!("file_retention_days is at most {}", limits::RETENTION_DAYS)));
        }
        if message_retention_days.is_some_and(|days| days > limits::RETENTION_DAYS) {
            return Err(Error::invalid(format!("message_retention_days is at most {}", limits::RETENTION_DAYS)));
        }
        if direct_downloads == Some(true) && !self.config.may_allow_direct {
            let reason = "direct_downloads needs a store that clients can reach: files.store is a folder";
            return Err(Error::new(Code::FailedPrecondition, reason));
        }
        let change = |row: &mut TenantRow| {
            if let Some(name) = &name {
                row.name.clone_from(name);
            }
            if let Some(days) = message_retention_days {
                row.message_retention_days = days;
            }
            if let Some(days) = file_retention_days {
                row.file_retention_days = days;
            }
            if let Some(is_allowed) = direct_downloads {
                row.direct_downloads = is_allowed;
            }
        };
        let row = self.keys.change_tenant(&id, change).await?;
        if message_retention_days.is_some() {
            self.jobs.retention_changed();
        }
        Ok(tenant(&id, row))
    }

    pub async fn suspend_tenant(&self, caller: &Caller, request: SuspendTenantRequest) -> Result<Tenant, Error> {
        self.set_suspended(caller, &request.tenant, true).await
    }

    pub async fn resume_tenant(&self, caller: &Caller, request: ResumeTenantRequest) -> Result<Tenant, Error> {
        self.set_suspended(caller, &request.tenant, false).await
    }

    async fn set_suspended(&self, caller: &Caller, named: &str, suspended: bool) -> Result<Tenant, Error> {
        caller.operator()?;
        let id = tenant_id(named)?;
        let row = self.keys.change_tenant(&id, |row| row.suspended = suspended).await?;
        self.tell_changed(&id).await;
        Ok(tenant(&id, row))
    }

    /// Has every node forget what it knows of a tenant, and check the tenant's sessions again.
    pub(super) async fn tell_changed(&self, tenant: &TenantId) {
        self.caller.link().control(Control::TenantChanged { tenant: tenant.clone() }).await;
    }

    pub async fn get_quotas(&self, caller: &Caller, request: GetQuotasRequest) -> Result<Quotas, Error> {
        let id = caller.administrates(&request.tenant)?;
        Ok(quotas(self.keys.tenant(&id).await?.quotas.as_ref()))
    }

    pub async fn set_quotas(&self, caller: &Caller, request: SetQuotasRequest) -> Result<Quotas, Error> {
        caller.operator()?;
        let id = tenant_id(&request.tenant)?;
        let change = |row: &mut TenantRow| {
            let mut quotas = row.quotas.take().unwrap_or_default();
            quotas.users = request.users.unwrap_or(quotas.users);
            quotas.connections = request.connections.unwrap_or(quotas.connections);
            quotas.sends_per_s = request.sends_per_s.unwrap_or(quotas.sends_per_s);
            quotas.storage_bytes = request.storage_bytes.unwrap_or(quotas.storage_bytes);
            quotas.api_requests_per_s = request.api_requests_per_s.unwrap_or(quotas.api_requests_per_s);
            row.quotas = Some(quotas);
        };
        let row = self.keys.change_tenant(&id, change).await?;
        self.tell_changed(&id).await;
        Ok(quotas(row.quotas.as_ref()))
    }

    pub async fn get_usage(&self, caller: &Caller, request: GetUsageRequest) -> Result<Usage, Error> {
        let id = caller.administrates(&request.tenant)?;
        self.keys.tenant(&id).await?;
        let until = if request.until.is_empty() { today(now_us()) } else { day::parse("until", &request.until)? };
        let from = match request.from.as_str() {
            "" => until.saturating_sub(USAGE_DAYS - 1),
            text => day::parse("from", text)?,
        };
        if from > until || until - from >= limits::USAGE_DAYS {
            return Err(Error::invalid(format!("from is before until, by less than {} days", limits::USAGE_DAYS)));
        }
        let used = days(&self.rows, &id, from, until).await?;
        let day = |(at, used): (u64, stonechat_quotas::DayUsage)| UsageDay {
            day: day::write(at),
            api_requests: used.api_requests,
            refused: used.refused,
            sends: used.sends,
            connections: used.connections,
        };
        let storage_bytes = stonechat_filing::used_bytes(&self.rows, &id).await?;
        let users = self.seats.taken(&id).await?;
        Ok(Usage { users, days: used.into_iter().map(day).collect(), storage_bytes })
    }
}
