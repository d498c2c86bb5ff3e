//! Jobs: work that outlives the request that asked for it.
//!
//! A row says what is wanted. Whichever api process has it leased does it, from its beginning: all of it may be done
//! twice. A process that ends lets its lease lapse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message as _;
use stonechat_auth::Keys;
use stonechat_errors::{Code, Error};
use stonechat_model::{TenantId, TimeUs, UserId, limits, now_us};
use stonechat_proto::{
    internal::v1::{JobKind, JobRow},
    v1::Work,
};
use stonechat_rows::{Key, Put, tables};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Data, decode, expire, unavailable};

/// How long a process has a job to itself without saying so again.
const LEASE_US: TimeUs = 15_000_000;
/// How often it says so.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often a process looks for jobs that others left.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a process looks for tenants whose messages expire.
const LOOK_AT_TENANTS_EVERY: Duration = Duration::from_secs(60);
/// A tenant's rows are deleted this long after it was closed: what was under way by then is decided.
const CLOSED_US: TimeUs = 1_000 * (limits::COMMAND_TIMEOUT_MS as TimeUs);

/// How far a job is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub conversations: u64,
    pub changed: u64,
}

/// The jobs of all tenants.
pub struct Jobs {
    data: Data,
    keys: Keys,
    wanted: Notify,
    /// Whether tenants are to be looked at before it is time.
    retention_changed: AtomicBool,
}

impl Jobs {
    pub(crate) fn new(data: Data, keys: Keys) -> Arc<Self> {
        Arc::new(Self { data, keys, wanted: Notify::new(), retention_changed: AtomicBool::new(false) })
    }

    /// Looks soon at what expires by now: how long a tenant keeps messages was changed.
    pub(crate) fn retention_changed(&self) {
        self.retention_changed.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// Asks for a job; one that was asked for before is the same.
    pub(crate) async fn ask(&self, kind: JobKind, tenant: &TenantId, user: Option<&UserId>) -> Result<Work, Error> {
        let key = tables::job(tenant, user);
        let row = JobRow {
            tenant: tenant.to_string(),
            kind: kind.into(),
            user: user.map(ToString::to_string).unwrap_or_default(),
            started_us: now_us(),
            ..JobRow::default()
        };
        let is_new = self.set(key.clone(), &row, None).await?;
        self.wanted.notify_one();
        if is_new { Ok(work(&row)) } else { self.find(tenant, user).await }
    }

    /// How far a job is.
    pub(crate) async fn find(&self, tenant: &TenantId, user: Option<&UserId>) -> Result<Work, Error> {
        let row = self.read(&tables::job(tenant, user)).await?;
        row.map(|(row, _)| work(&row)).ok_or_else(|| Error::not_found("job"))
    }

    /// Does jobs until the end.
    pub async fn run(self: Arc<Self>, end: CancellationToken) {
        let mut tenants_at = Instant::now();
        loop {
            if self.retention_changed.swap(false, Ordering::Relaxed) || tenants_at <= Instant::now() {
                tenants_at = Instant::now() + LOOK_AT_TENANTS_EVERY;
                if let Some(Err(error)) = end.run_until_cancelled(self.look_at_tenants()).await {
                    tracing::warn!(%error, "what expires could not be found and will be looked for again");
                }
            }
            if let Some(Err(error)) = end.run_until_cancelled(self.look()).await {
                tracing::warn!(%error, "jobs could not be done and will be tried again");
            }
            let wait = async {
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            };
            if end.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Asks for the work of tenants whose messages expire, where it was not done up to the present day.
    async fn look_at_tenants(&self) -> Result<(), Error> {
        let mut from: Option<String> = None;
        loop {
            let mut found = self.keys.tenants(from.as_deref(), limits::EXPORT_PAGE + 1).await?;
            let next = if found.len() > limits::EXPORT_PAGE { found.pop() } else { None };
            for (tenant, row) in found {
                if let Some(before_us) = expire::expires_before(&row, now_us()) {
                    self.ask_to_expire(&tenant, before_us).await?;
                }
            }
            match next {
                Some((tenant, _)) => from = Some(tenant.to_string()),
                None => return Ok(()),
            }
        }
    }

    async fn ask_to_expire(&self, tenant: &TenantId, before_us: TimeUs) -> Result<(), Error> {
        let key = tables::expiry_job(tenant);
        let found = self.read(&key).await?;
        let is_asked = |job: &JobRow| job.before_us >= before_us || job.leased_until_us >= now_us();
        if found.as_ref().is_some_and(|(job, _)| is_asked(job)) {
            return Ok(());
        }
        let row = JobRow {
            tenant: tenant.to_string(),
            kind: JobKind::ExpireMessages.into(),
            started_us: now_us(),
            before_us,
            ..JobRow::default()
        };
        // Where another process was first, it asked for the same.
        self.set(key, &row, found.map(|(_, version)| version)).await.map(drop)
    }

    async fn look(&self) -> Result<(), Error> {
        let mut from: Option<String> = None;
        loop {
            let range = tables::jobs(from.as_deref(), limits::EXPORT_PAGE + 1);
            let mut rows = self.data.rows.range(range).await.map_err(unavailable)?;
            let next = if rows.len() > limits::EXPORT_PAGE { rows.pop() } else { None };
            for row in rows {
                let job: JobRow = decode(&row)?;
                if job.finished_us == 0
                    && job.leased_until_us < now_us()
                    && let Err(error) = self.work_on(row.key, job, row.version).await
                {
                    tracing::warn!(%error, "job failed and will be tried again");
                }
            }
            match next {
                Some(row) => from = Some(row.key.text(1).to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// Leases a job, does it, and says that it is done.
    async fn work_on(&self, key: Key, job: JobRow, version: u64) -> Result<(), Error> {
        let mut lease = Lease { jobs: self, key, job, version };
        if !lease.renew().await? {
            return Ok(());
        }
        let job = lease.job.clone();
        let mut progress = Progress::default();
        let done = {
            let mut doing = std::pin::pin!(self.perform(&job, &mut progress));
            loop {
                tokio::select! {
                    done = &mut doing => break done,
                    () = tokio::time::sleep(RENEW_EVERY) => {
                        if !lease.renew().await? {
                            return Err(Error::new(Code::Conflict, "another process does the job"));
                        }
                    }
                }
            }
        };
        let finished_us = if done.is_ok() { now_us() } else { 0 };
        lease.job = JobRow {
            finished_us,
            leased_until_us: 0,
            conversations: progress.conversations,
            changed: progress.changed,
            ..job
        };
        lease.save().await?;
        done
    }

    async fn perform(&self, job: &JobRow, progress: &mut Progress) -> Result<(), Error> {
        let tenant = TenantId::parse(&job.tenant).map_err(|_| Error::internal())?;
        match job.kind() {
            JobKind::EraseUser => {
                let user = UserId::parse(&job.user).map_err(|_| Error::internal())?;
                self.data.erase_user(&tenant, &user, progress).await?;
                tracing::info!(tenant.id = %tenant, conversations = progress.conversations, "user was erased");
            }
            JobKind::DeleteTenant => {
                let wait_us = job.started_us.saturating_add(CLOSED_US).saturating_sub(now_us());
                tokio::time::sleep(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))).await;
                self.data.delete_tenant(&tenant, progress).await?;
                self.delete_jobs_of(&tenant).await?;
                tracing::info!(tenant.id = %tenant, conversations = progress.conversations, "tenant was deleted");
            }
            JobKind::ExpireMessages => {
                self.data.expire_messages(&tenant, job.before_us, progress).await?;
                tracing::info!(tenant.id = %tenant, events = progress.changed, "what was said too long ago was taken out");
            }
            JobKind::Unspecified => {}
        }
        Ok(())
    }

    /// Deletes the jobs of a tenant's users; the tenant's own stays and says when it was deleted.
    async fn delete_jobs_of(&self, tenant: &TenantId) -> Result<(), Error> {
        let prefix = format!("{tenant}/");
        let mut from = prefix.clone();
        loop {
            let range = tables::jobs(Some(&from), limits::EXPORT_PAGE);
            let rows = self.data.rows.range(range).await.map_err(unavailable)?;
            let count = rows.len();
            let of_users = rows.into_iter().map(|row| row.key);
            let of_users = of_users.filter(|key| key.text(1).starts_with(&prefix) && key.text(1) != prefix);
            let keys: Vec<Key> = of_users.collect();
            let Some(last) = keys.last().filter(|_| count == limits::EXPORT_PAGE) else {
                return self.data.rows.delete(&keys).await.map_err(unavailable);
            };
            from = last.text(1).to_owned();
            self.data.rows.delete(&keys).await.map_err(unavailable)?;
        }
    }

    async fn read(&self, key: &Key) -> Result<Option<(JobRow, u64)>, Error> {
        let found = self.data.rows.get(std::slice::from_ref(key)).await.map_err(unavailable)?;
        let row = found.into_iter().flatten().next();
        row.map(|row| Ok((decode(&row)?, row.version))).transpose()
    }

    async fn set(&self, key: Key, row: &JobRow, expected: Option<u64>) -> Result<bool, Error> {
        let version = expected.unwrap_or(0) + 1;
        let put = Put { key, value: row.encode_to_vec().into(), version, ttl: None };
        self.data.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }
}

/// A job that this process has to itself.
struct Lease<'a> {
    jobs: &'a Jobs,
    key: Key,
    job: JobRow,
    version: u64,
}

impl Lease<'_> {
    async fn renew(&mut self) -> Result<bool, Error> {
        self.job.leased_until_us = now_us() + LEASE_US;
        self.save().await
    }

    async fn save(&mut self) -> Result<bool, Error> {
        let is_ours = self.jobs.set(self.key.clone(), &self.job, Some(self.version)).await?;
        self.version += u64::from(is_ours);
        Ok(is_ours)
    }
}

fn work(row: &JobRow) -> Work {
    Work {
        started_us: row.started_us,
        finished_us: row.finished_us,
        conversations: row.conversations,
        changed: row.changed,
        done: row.finished_us > 0,
    }
}
