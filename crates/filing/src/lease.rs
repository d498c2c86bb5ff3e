//! Having an upload to oneself while its file is made: for seconds, and for longer as long as the work goes on.
//!
//! Making may be done twice, so that a lease which lapsed harms nothing: it spares the work. What a killed process leaves
//! lapses soon, and says how far it was.

use std::{future::Future, pin::pin, time::Duration};

use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, limits, now_us};
use stonechat_proto::internal::v1::{UploadRow, UploadState};
use stonechat_rows::tables;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    Upload,
    contents::Hashed,
    records::{Found, Records, seconds_us},
};

/// How often a process says that it goes on: so that one that is slow to say so does not lose its lease.
const RENEW_EVERY: Duration = Duration::from_millis(limits::UPLOAD_LEASE_S * 1000 / 3);

/// An upload that this process has to itself.
pub(crate) struct Lease<'a> {
    records: &'a Records,
    upload: Upload,
}

impl<'a> Lease<'a> {
    /// Takes an upload that has every byte and whose file is not made; `None` where another process has it.
    pub async fn take(
        records: &'a Records,
        tenant: &TenantId,
        id: &FileId,
        found: Found<UploadRow>,
    ) -> Result<Option<Self>, Error> {
        let Found { row, version } = found;
        if row.state() != UploadState::Finishing || row.leased_until_us >= now_us() {
            return Ok(None);
        }
        let mut lease = Self { records, upload: Upload { id: id.clone(), tenant: tenant.clone(), row, version } };
        Ok(lease.renew().await?.then_some(lease))
    }

    /// The upload as it was taken.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Works, and says meanwhile that this process goes on and how far it has hashed; `None` where another process took
    /// the upload, and the work was stopped.
    pub async fn during<T>(&mut self, hashed: &Hashed, work: impl Future<Output = T>) -> Result<Option<T>, Error> {
        let mut work = pin!(work);
        let mut ticks = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                _ = ticks.tick() => {
                    self.upload.row.hashed = hashed.stretches();
                    if !self.renew().await? {
                        tracing::info!("another process makes a file that this one was slow at");
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Gives the upload back with a change; without effect where another process has it, which makes the same of it.
    pub async fn end(mut self, change: impl FnOnce(&mut UploadRow)) -> Result<(), Error> {
        change(&mut self.upload.row);
        self.upload.row.leased_until_us = 0;
        self.set().await.map(drop)
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        self.upload.row.leased_until_us = now_us() + seconds_us(limits::UPLOAD_LEASE_S);
        self.set().await
    }

    async fn set(&mut self) -> Result<bool, Error> {
        let Upload { id, tenant, row, version } = &mut self.upload;
        let is_set = self.records.set(tables::upload(tenant, id), &*row, Some(*version)).await?;
        *version += 1;
        Ok(is_set)
    }
}
