//! What is due: uploads that expire, files that no message refers to, work that a process left.
//!
//! Whatever has a time stands in a table by that time. One process at a time looks at it; everything it does may be done
//! twice. What fails is put off.

use std::{sync::Arc, time::Duration};

use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, TimeUs, UserId, limits, now_us};
use stonechat_proto::internal::v1::{CounterRow, FileRow, FileState, FileTenantRow, TenantRow, UploadRow, UploadState};
use stonechat_rows::{Key, KeyPart, Rows, Table, tables};
use tokio_util::sync::CancellationToken;

use crate::{
    Files,
    reader::is_referred_to,
    records::{ATTEMPTS, Due, Found, Records, busy, seconds_us, unavailable},
    uploads::{GRACE_US, is_expired},
};

/// How often it is looked at what is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one process has the looking to itself.
const LEASE_US: TimeUs = 60_000_000;
/// When what failed is tried again.
const AGAIN_US: TimeUs = 300_000_000;
/// When a file is looked for again that is being made or scanned.
const SOON_US: TimeUs = 30_000_000;
/// What is looked at before the lease is renewed.
const PAGE: usize = 200;
/// Hours in which nothing is written any more: what is due is written ahead of its time.
const SETTLED_HOURS: u64 = 2;
/// Where it is kept how far was looked.
const POSITION: &str = "files.sweep";
/// Where it is kept who looks.
const LEASE: &str = "files.sweeper";

/// Marks a file as deleted: from now on nobody has it. Its bytes go when a process with the role looks.
///
/// # Errors
/// The rows do not answer.
pub async fn delete_file(rows: &Arc<dyn Rows>, tenant: &TenantId, id: &FileId) -> Result<bool, Error> {
    let records = Records { rows: Arc::clone(rows) };
    mark_deleted(&records, tenant, id).await
}

/// Has everything deleted that a deleted tenant's files left. For whoever deletes a tenant's rows, before those of files.
///
/// # Errors
/// The rows do not answer.
pub async fn forget_tenant(rows: &Arc<dyn Rows>, tenant: &TenantId) -> Result<(), Error> {
    let records = Records { rows: Arc::clone(rows) };
    // Written with a tenant's first upload.
    if records.read::<FileTenantRow>(tables::file_tenant(tenant)).await?.is_none() {
        return Ok(());
    }
    records.remember(tenant, &Due::Tenant, now_us()).await
}

async fn mark_deleted(records: &Records, tenant: &TenantId, id: &FileId) -> Result<bool, Error> {
    for _ in 0..ATTEMPTS {
        let key = tables::file(tenant, id);
        let Some(Found { mut row, version }) = records.read::<FileRow>(key.clone()).await? else { return Ok(false) };
        if row.state() == FileState::Deleted {
            return Ok(true);
        }
        records.remember(tenant, &Due::File(id.clone()), now_us()).await?;
        row.state = FileState::Deleted.into();
        row.deleted_us = now_us();
        if records.set(key, &row, Some(version)).await? {
            return Ok(true);
        }
    }
    Err(busy())
}

impl Files {
    /// Deletes a file now.
    pub async fn delete(&self, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        if mark_deleted(&self.records, tenant, id).await? {
            self.bury(tenant, id).await?;
        }
        Ok(())
    }

    /// Looks at what is due until the end.
    pub async fn sweep(self: Arc<Self>, end: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while end.run_until_cancelled(every.tick()).await.is_some() {
            if let Some(Err(error)) = end.run_until_cancelled(Box::pin(self.look())).await {
                tracing::warn!(%error, "what is due of files could not be looked at and will be");
            }
        }
    }

    /// Looks at what is due by now, unless another process does.
    pub(crate) async fn look(self: &Arc<Self>) -> Result<(), Error> {
        if !self.lease().await? {
            return Ok(());
        }
        let this_hour = tables::due_hour(now_us());
        let found = self.records.read::<CounterRow>(tables::counter(POSITION)).await?;
        let Some(Found { row, version }) = found else {
            let row = CounterRow { value: this_hour.saturating_sub(SETTLED_HOURS) };
            return self.records.set(tables::counter(POSITION), &row, None).await.map(drop);
        };
        for hour in row.value..=this_hour {
            while self.look_at(hour).await? {
                if !self.lease().await? {
                    return Ok(());
                }
            }
        }
        let value = row.value.max(this_hour.saturating_sub(SETTLED_HOURS));
        if value > row.value {
            self.records.set(tables::counter(POSITION), &CounterRow { value }, Some(version)).await?;
        }
        Ok(())
    }

    /// Looks at some of what is due in an hour; says whether there may be more.
    async fn look_at(self: &Arc<Self>, hour: u64) -> Result<bool, Error> {
        let range = tables::file_dues(hour, now_us(), PAGE);
        let rows = self.records.rows.range(range).await.map_err(unavailable)?;
        let count = rows.len();
        for row in rows {
            let tenant = TenantId::parse(row.key.text(2));
            if let (Ok(tenant), Some(due)) = (tenant, Due::parse(row.key.text(3)))
                && let Err(error) = Box::pin(self.handle(&tenant, &due)).await
            {
                tracing::warn!(%error, tenant.id = %tenant, "something of files is put off");
                metrics::counter!("stonechat_files_put_off_total").increment(1);
                self.records.remember(&tenant, &due, now_us() + AGAIN_US).await?;
            }
            self.records.delete(&[row.key]).await?;
        }
        Ok(count == PAGE)
    }

    /// Takes the looking for this process, or keeps it; says whether it has it.
    async fn lease(&self) -> Result<bool, Error> {
        let now_us = now_us();
        let found = self.records.read::<CounterRow>(tables::counter(LEASE)).await?;
        let (until, version) = found.map_or((0, None), |found| (found.row.value, Some(found.version)));
        let mine = self.leased.load(std::sync::atomic::Ordering::Relaxed);
        if until != mine && until > u64::try_from(now_us).unwrap_or(0) {
            return Ok(false);
        }
        // Another process that took the same microsecond loses the compare-and-set.
        let value = u64::try_from(now_us + LEASE_US).unwrap_or(0);
        let is_set = self.records.set(tables::counter(LEASE), &CounterRow { value }, version).await?;
        if is_set {
            self.leased.store(value, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(is_set)
    }

    async fn handle(self: &Arc<Self>, tenant: &TenantId, due: &Due) -> Result<(), Error> {
        match due {
            Due::Upload(id) => self.handle_upload(tenant, id).await,
            Due::File(id) => self.handle_file(tenant, id).await,
            Due::Object { file, name, begun } => self.handle_object(tenant, file, name, begun).await,
            Due::Tenant => self.handle_tenant(tenant).await,
        }
    }

    async fn handle_upload(&self, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        let found = self.records.read::<UploadRow>(tables::upload(tenant, id)).await?;
        let is_there = found.is_some();
        let Some(Found { mut row, version }) = found else { return self.counted.settle(tenant, id, is_there).await };
        let due = Due::Upload(id.clone());
        let again = |due_us| self.records.remember(tenant, &due, due_us);
        let now_us = now_us();
        match row.state() {
            UploadState::Open | UploadState::Part if is_expired(&row, now_us) => {
                metrics::counter!("stonechat_uploads_expired_total").increment(1);
                match self.end(tenant, id, &mut row, version).await? {
                    true => Ok(()),
                    false => again(now_us + SOON_US).await,
                }
            }
            UploadState::Open | UploadState::Part => {
                self.counted.settle(tenant, id, is_there).await?;
                again(row.expires_us.max(now_us + SOON_US)).await
            }
            UploadState::Finishing => {
                self.finish(tenant, id).await?;
                again(now_us + SOON_US).await
            }
            UploadState::Taken => self.handle_taken(tenant, id, row, version).await,
            UploadState::Finished | UploadState::Ended if row.ended_us + GRACE_US > now_us => {
                again(row.ended_us + GRACE_US).await
            }
            UploadState::Finished => {
                self.counted.settle(tenant, id, is_there).await?;
                self.clear(tenant, id, &row, &row.contents, version).await
            }
            UploadState::Ended => {
                self.counted.settle(tenant, id, is_there).await?;
                let was_released = row.released;
                self.give_back(tenant, id, &mut row, version).await?;
                let version = if was_released || !row.released { version } else { version + 1 };
                self.clear(tenant, id, &row, &[], version).await
            }
            UploadState::Unspecified => Ok(()),
        }
    }

    /// A part goes the way of the upload that took it.
    async fn handle_taken(
        &self,
        tenant: &TenantId,
        id: &FileId,
        mut row: UploadRow,
        version: u64,
    ) -> Result<(), Error> {
        let into = match FileId::parse(&row.into) {
            Ok(into) => self.records.read::<UploadRow>(tables::upload(tenant, &into)).await?,
            Err(_) => None,
        };
        match into {
            Some(into) if matches!(into.row.state(), UploadState::Open | UploadState::Finishing) => {
                self.records.remember(tenant, &Due::Upload(id.clone()), now_us() + SOON_US).await
            }
            Some(into) if into.row.state() == UploadState::Finished => {
                self.counted.settle(tenant, id, true).await?;
                self.clear(tenant, id, &row, &into.row.contents, version).await
            }
            _ => match self.end(tenant, id, &mut row, version).await? {
                true => Ok(()),
                false => Err(busy()),
            },
        }
    }

    /// Deletes what was written for an upload that is over and is no part of what was made of it.
    async fn clear(
        &self,
        tenant: &TenantId,
        id: &FileId,
        row: &UploadRow,
        contents: &[String],
        version: u64,
    ) -> Result<(), Error> {
        let mut kept = std::collections::HashSet::new();
        for content in contents {
            let found = self.contents.find(tenant, content).await?;
            kept.extend(found.into_iter().flat_map(|row| row.pieces).map(|piece| piece.name));
        }
        loop {
            let range = tables::upload_pieces(tenant, id, None, PAGE);
            let written = self.records.rows.range(range).await.map_err(unavailable)?;
            let names = written.iter().map(|row| row.key.text(2)).filter(|name| !kept.contains(*name));
            self.pieces.delete(tenant, names).await?;
            let (count, keys): (usize, Vec<Key>) = (written.len(), written.into_iter().map(|row| row.key).collect());
            self.records.delete(&keys).await?;
            if count < PAGE {
                break;
            }
        }
        let (key, ttl_s) = (tables::upload(tenant, id), Some(limits::UPLOAD_TTL_S));
        let row = UploadRow { pieces: Vec::new(), ..row.clone() };
        self.records.set_for(key, &row, Some(version), ttl_s).await.map(drop)
    }

    async fn handle_file(self: &Arc<Self>, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        let key = tables::file(tenant, id);
        let Some(Found { mut row, version }) = self.records.read::<FileRow>(key.clone()).await? else {
            return Ok(());
        };
        let now_us = now_us();
        let due = Due::File(id.clone());
        let again = |due_us| self.records.remember(tenant, &due, due_us);
        if row.state() == FileState::Deleted {
            return self.bury(tenant, id).await;
        }
        if row.state() == FileState::Infected {
            self.disarm(tenant, id).await?;
        }
        let last_us = self.last_us(tenant, row.created_us).await?;
        if row.state() == FileState::Scanning && row.expires_us.min(last_us) > now_us {
            let due_us = self.scan_when_due(tenant, id, &row);
            return again(due_us.min(row.expires_us).min(last_us)).await;
        }
        if row.expires_us == 0 && last_us > now_us {
            return Ok(());
        }
        if row.expires_us > now_us && last_us > now_us {
            let object_us = self.look_at_object(tenant, id, &row).await?;
            return again(row.expires_us.min(last_us).min(object_us)).await;
        }
        if last_us <= now_us || !is_referred_to(&self.records, tenant, id).await? {
            metrics::counter!("stonechat_files_expired_total").increment(1);
            // As it was read: a message that is to refer to it keeps it by changing the row.
            row.state = FileState::Deleted.into();
            row.deleted_us = now_us;
            again(now_us + SOON_US).await?;
            return match self.records.set(key, &row, Some(version)).await? {
                true => self.bury(tenant, id).await,
                false => Ok(()),
            };
        }
        let age_us = now_us - row.created_us;
        let wait_us = age_us.clamp(seconds_us(limits::FILE_HOLD_S), seconds_us(limits::FILE_RECHECK_MAX_S));
        row.expires_us = (now_us + wait_us).min(last_us);
        again(row.expires_us).await?;
        if self.records.set(key, &row, Some(version)).await? {
            again(self.look_at_object(tenant, id, &row).await?.min(row.expires_us)).await?;
        }
        Ok(())
    }

    /// When a file goes whatever refers to it, by its tenant's wish.
    async fn last_us(&self, tenant: &TenantId, created_us: TimeUs) -> Result<TimeUs, Error> {
        let found = self.records.read::<TenantRow>(tables::tenant(tenant)).await?;
        let days = found.map_or(0, |found| found.row.file_retention_days);
        let kept_us = seconds_us(u64::from(days) * 86_400);
        Ok(if days == 0 { TimeUs::MAX } else { created_us.saturating_add(kept_us) })
    }

    /// Gives back what a deleted file had: its place in the list, its bytes, its part of the quota.
    async fn bury(&self, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        let key = tables::file(tenant, id);
        let Some(Found { mut row, version }) = self.records.read::<FileRow>(key.clone()).await? else {
            return Ok(());
        };
        if row.state() != FileState::Deleted {
            return Ok(());
        }
        if let Ok(owner) = UserId::parse(&row.owner) {
            self.records.delete(&[tables::user_file(tenant, &owner, id)]).await?;
        }
        // What was infected has given back all it had.
        if !row.released {
            self.release(tenant, id, &row).await?;
            row.released = true;
        }
        let ttl_s = Some(limits::FILE_DELETED_TTL_S);
        self.records.set_for(key, &row, Some(version), ttl_s).await.map(drop)
    }

    /// Gives back a file's bytes and its part of the quota.
    pub(crate) async fn release(&self, tenant: &TenantId, id: &FileId, row: &FileRow) -> Result<(), Error> {
        let thumbnails = row.description.iter().flat_map(|shown| &shown.thumbnails).map(|shown| &shown.content);
        let mut contents: Vec<&String> = thumbnails.chain([&row.content]).collect();
        contents.sort_unstable();
        contents.dedup();
        for content in contents {
            self.contents.release(tenant, content, id).await?;
        }
        self.delete_object(tenant, row).await?;
        self.counted.give_back(tenant, id, row.counted_bytes).await
    }

    /// Deletes what a deleted tenant's files left: bytes first, then the rows that said where they were.
    async fn handle_tenant(&self, tenant: &TenantId) -> Result<(), Error> {
        self.pieces.delete_tenant(tenant).await?;
        for shard in 0..tables::FILE_SHARDS {
            let partition = vec![KeyPart::from(tenant.shared()), shard.into()];
            self.delete_listed(&tables::UPLOADS, &tables::UPLOAD_PIECES, partition.clone()).await?;
            self.delete_listed(&tables::FILE_CONTENTS, &tables::CONTENT_REFS, partition).await?;
        }
        let of_tenant = vec![KeyPart::from(tenant.shared())];
        self.records.rows.delete_partition(&tables::FILE_TENANTS, of_tenant).await.map_err(unavailable)
    }

    /// Deletes rows that each name a partition of another table, which goes before them.
    async fn delete_listed(
        &self,
        list: &'static Table,
        named: &'static Table,
        partition: Vec<KeyPart>,
    ) -> Result<(), Error> {
        loop {
            let (from, until, reverse) = (None, None, false);
            let range =
                stonechat_rows::Range { table: list, partition: partition.clone(), from, until, reverse, limit: PAGE };
            let rows = self.records.rows.range(range).await.map_err(unavailable)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let of_row = vec![partition[0].clone(), row.key.text(2).into()];
                self.records.rows.delete_partition(named, of_row).await.map_err(unavailable)?;
            }
            let keys: Vec<Key> = rows.into_iter().map(|row| row.key).collect();
            self.records.delete(&keys).await?;
        }
    }
}
