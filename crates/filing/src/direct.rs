//! Files that clients fetch from the store itself, where their tenant allows it: made one object each, and links to it.
//!
//! A file's row names an object before there is one, and what was begun of it in the store is due to be looked at before a
//! byte of it is there. So whatever a process leaves that is killed is found and deleted. Each attempt has a name of its
//! own: whoever deletes what an earlier one left deletes nothing of a later one.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use stonechat_blobs::{BlobError, Link, Store};
use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, TimeUs, limits, now_us};
use stonechat_proto::internal::v1::{FileRow, FileState, TenantRow};
use stonechat_rows::tables;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use crate::{
    Files,
    pieces::failed,
    records::{ATTEMPTS, Due, Found, busy, seconds_us},
    uploads::GRACE_US,
};

/// When a file is looked at again of which an object is to be made.
const LOOK_AGAIN_US: TimeUs = 60_000_000;

/// Objects that clients reach, and what waits to become one.
pub(crate) struct Objects {
    store: Arc<Store>,
    link: Duration,
    waiting: Arc<Semaphore>,
    at_once: Semaphore,
}

impl Objects {
    /// Objects in a store; a link to one is good for so long.
    pub fn new(store: Arc<Store>, link: Duration) -> Self {
        let waiting = Arc::new(Semaphore::new(limits::DIRECT_WAITING));
        Self { store, link, waiting, at_once: Semaphore::new(limits::DIRECT_AT_ONCE) }
    }

    async fn delete(&self, tenant: &TenantId, name: &str) -> Result<(), Error> {
        if name.is_empty() || !self.store.has_direct() {
            return Ok(());
        }
        self.store.delete_direct(tenant, name).await.map_err(failed)
    }

    async fn give_up(&self, tenant: &TenantId, name: &str, begun: &str) -> Result<(), Error> {
        if begun.is_empty() || !self.store.has_direct() {
            return Ok(());
        }
        match self.store.give_up_direct(tenant, name, begun).await {
            Err(error) if error.is_retryable() => Err(failed(error)),
            Err(error) => {
                // There are stores that refuse it where it became an object.
                tracing::warn!(%error, tenant.id = %tenant, "what was begun of an object stays until the bucket's rules end it");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// How long a process has a file to itself whose object it makes, in seconds; no object takes longer.
fn lease_s(size_bytes: u64) -> u64 {
    limits::DIRECT_LEASE_S.saturating_add(size_bytes / limits::DIRECT_BYTES_PER_S)
}

/// Whether a file may have an object: never one that is being scanned, or in which something was found.
fn may_have_object(row: &FileRow) -> bool {
    row.state() == FileState::Ready && row.size_bytes >= limits::DIRECT_BYTES
}

/// Whether an object is to be begun now, if the tenant allows it.
fn awaits_object(row: &FileRow) -> bool {
    may_have_object(row) && !row.has_object && row.object_after_us <= now_us()
}

/// What was begun of an object, by the name that it has in a file's row.
fn object(id: &FileId, name: &str, begun: &str) -> Due {
    Due::Object { file: id.clone(), name: name.to_owned(), begun: begun.to_owned() }
}

impl Files {
    /// A link with which anybody fetches a file from the store itself; `None` where its bytes are to be given by us: its
    /// tenant does not allow it now, or there is no object. Whether the caller may have the file was asked before.
    pub async fn direct_link(
        &self,
        tenant: &TenantId,
        file: &FileRow,
        content_disposition: String,
        content_type: String,
    ) -> Result<Option<String>, Error> {
        if !file.has_object || !may_have_object(file) || !self.allows_direct(tenant).await? {
            return Ok(None);
        }
        let link = Link { expiry: self.objects.link, content_disposition, content_type };
        match self.objects.store.presign_get(tenant, &file.object, &link).await {
            Ok(url) => Ok(Some(url)),
            Err(error) => {
                tracing::warn!(%error, tenant.id = %tenant, "no link to the store could be made");
                Ok(None)
            }
        }
    }

    /// Whether a tenant allows that clients fetch its files from the store itself, and they can.
    async fn allows_direct(&self, tenant: &TenantId) -> Result<bool, Error> {
        if !self.objects.store.has_direct() {
            return Ok(false);
        }
        let found = self.records.read::<TenantRow>(tables::tenant(tenant)).await?;
        Ok(found.is_some_and(|found| found.row.direct_downloads && found.row.deleted_us == 0))
    }

    /// Has a new file looked at, if it is to have an object, should the process that made it not do so. For before its row
    /// is there.
    pub(crate) async fn remember_object(&self, tenant: &TenantId, id: &FileId, row: &FileRow) -> Result<(), Error> {
        if !may_have_object(row) || !self.allows_direct(tenant).await? {
            return Ok(());
        }
        self.records.remember(tenant, &Due::File(id.clone()), now_us() + LOOK_AGAIN_US).await
    }

    /// Has the object of a file made, if it is to have one, on a task of its own that nobody has to wait for. Nothing
    /// begins where too much waits for it already; who looks at what is due comes back to it.
    pub fn compose(self: &Arc<Self>, tenant: &TenantId, id: &FileId) -> Option<JoinHandle<()>> {
        if !self.objects.store.has_direct() {
            return None;
        }
        let waiting = Arc::clone(&self.objects.waiting).try_acquire_owned().ok()?;
        let (files, tenant, id) = (Arc::clone(self), tenant.clone(), id.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = Box::pin(files.compose_now(&tenant, &id, waiting)).await {
                tracing::warn!(%error, tenant.id = %tenant, file.id = %id, "object of a file is made later");
            }
        }))
    }

    async fn compose_now(&self, tenant: &TenantId, id: &FileId, _waiting: OwnedSemaphorePermit) -> Result<(), Error> {
        // Small files, and those of other tenants, wait for nobody's object.
        let found = self.records.read::<FileRow>(tables::file(tenant, id)).await?;
        if !found.is_some_and(|found| awaits_object(&found.row)) || !self.allows_direct(tenant).await? {
            return Ok(());
        }
        let _at_once = self.objects.at_once.acquire().await.map_err(|_| Error::internal())?;
        let Some(file) = self.claim_object(tenant, id).await? else { return Ok(()) };
        let written = self.write_object(tenant, id, &file).await;
        let outcome = if written.is_ok() { "made" } else { "failed" };
        metrics::counter!("stonechat_files_objects_total", "outcome" => outcome).increment(1);
        match written {
            Ok(()) => self.keep_object(tenant, id, &file.object).await,
            Err(error) => {
                tracing::warn!(%error, tenant.id = %tenant, file.id = %id, "object of a file could not be made and will be");
                self.put_object_off(tenant, id, &file.object).await
            }
        }
    }

    /// Takes a file for this process, under the name of an object that there is not yet; `None` where it is not to have
    /// one, has one, or another process is at it.
    async fn claim_object(&self, tenant: &TenantId, id: &FileId) -> Result<Option<FileRow>, Error> {
        for _ in 0..ATTEMPTS {
            let key = tables::file(tenant, id);
            let found = self.records.read::<FileRow>(key.clone()).await?;
            let Some(Found { mut row, version }) = found.filter(|found| awaits_object(&found.row)) else {
                return Ok(None);
            };
            if !self.allows_direct(tenant).await? {
                return Ok(None);
            }
            row.object = uuid::Uuid::now_v7().simple().to_string();
            row.object_after_us = now_us() + seconds_us(lease_s(row.size_bytes));
            self.records.remember(tenant, &Due::File(id.clone()), row.object_after_us).await?;
            if self.records.set(key, &row, Some(version)).await? {
                return Ok(Some(row));
            }
        }
        Err(busy())
    }

    async fn write_object(&self, tenant: &TenantId, id: &FileId, file: &FileRow) -> Result<(), Error> {
        let store = &self.objects.store;
        let begun = store.begin_direct(tenant, &file.object).await.map_err(failed)?;
        // By then nobody is at it any more.
        let due_us = file.object_after_us + GRACE_US;
        self.records.remember(tenant, &object(id, &file.object, &begun), due_us).await?;
        let last = file.size_bytes.saturating_sub(1);
        let bytes = self.stream(tenant, &file.content, (0, last), None).await?;
        let pieces = bytes.map_err(|error: Error| BlobError::Unavailable(error.to_string())).boxed();
        let writing = store.compose(tenant, &file.object, &begun, pieces);
        let written = tokio::time::timeout(Duration::from_secs(lease_s(file.size_bytes)), writing).await;
        let error = match written {
            Ok(Ok(length)) if length == file.size_bytes => return Ok(()),
            Ok(Ok(_)) => Error::internal(),
            Ok(Err(error)) => failed(error),
            Err(_) => Error::unavailable("object takes too long"),
        };
        // Should this fail, it is done when it is due.
        self.objects.give_up(tenant, &file.object, &begun).await?;
        Err(error)
    }

    /// Writes down that the object is there, where the file is still to have it; otherwise it goes.
    async fn keep_object(&self, tenant: &TenantId, id: &FileId, name: &str) -> Result<(), Error> {
        let kept = self.change_object(tenant, id, name, |row| {
            row.has_object = true;
            row.object_after_us = 0;
        });
        match kept.await? {
            true => Ok(()),
            false => self.objects.delete(tenant, name).await,
        }
    }

    async fn put_object_off(&self, tenant: &TenantId, id: &FileId, name: &str) -> Result<(), Error> {
        let again_us = now_us() + seconds_us(limits::DIRECT_AGAIN_S);
        self.records.remember(tenant, &Due::File(id.clone()), again_us).await?;
        let put_off = |row: &mut FileRow| {
            row.object.clear();
            row.object_after_us = again_us;
        };
        self.change_object(tenant, id, name, put_off).await.map(drop)
    }

    /// Changes a file that may have an object and whose row has it under this name; says whether it does.
    async fn change_object(
        &self,
        tenant: &TenantId,
        id: &FileId,
        name: &str,
        change: impl Fn(&mut FileRow),
    ) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let key = tables::file(tenant, id);
            let found = self.records.read::<FileRow>(key.clone()).await?;
            let has_it = |found: &Found<FileRow>| may_have_object(&found.row) && found.row.object == name;
            let Some(Found { mut row, version }) = found.filter(has_it) else { return Ok(false) };
            change(&mut row);
            if self.records.set(key, &row, Some(version)).await? {
                return Ok(true);
            }
        }
        Err(busy())
    }

    /// Has a file's object made or deleted, as its tenant wishes it now; says when to look again.
    pub(crate) async fn look_at_object(
        self: &Arc<Self>,
        tenant: &TenantId,
        id: &FileId,
        row: &FileRow,
    ) -> Result<TimeUs, Error> {
        if !may_have_object(row) || !self.objects.store.has_direct() {
            return Ok(TimeUs::MAX);
        }
        let now_us = now_us();
        match (self.allows_direct(tenant).await?, row.has_object) {
            (true, true) | (false, false) => Ok(TimeUs::MAX),
            (false, true) => {
                self.records.remember(tenant, &object(id, &row.object, ""), now_us).await?;
                Ok(TimeUs::MAX)
            }
            (true, false) if row.object_after_us > now_us => Ok(row.object_after_us),
            (true, false) => {
                drop(self.compose(tenant, id));
                Ok(now_us + LOOK_AGAIN_US)
            }
        }
    }

    /// Deletes what was begun of an object, and the object, unless the file is to have it.
    pub(crate) async fn handle_object(
        &self,
        tenant: &TenantId,
        id: &FileId,
        name: &str,
        begun: &str,
    ) -> Result<(), Error> {
        let is_allowed = self.allows_direct(tenant).await?;
        let found = self.records.read::<FileRow>(tables::file(tenant, id)).await?;
        let row = found.map(|found| found.row).filter(|row| may_have_object(row) && row.object == name);
        match row {
            Some(row) if row.has_object && is_allowed => return Ok(()),
            Some(row) if row.object_after_us > now_us() => {
                let due_us = row.object_after_us + GRACE_US;
                return self.records.remember(tenant, &object(id, name, begun), due_us).await;
            }
            Some(_) => {
                // First of all nobody is led to it any more, and whoever has made it after all learns that it goes.
                let withdrawn = |row: &mut FileRow| {
                    row.object.clear();
                    row.has_object = false;
                    row.object_after_us = 0;
                };
                self.change_object(tenant, id, name, withdrawn).await?;
            }
            None => {}
        }
        self.objects.delete(tenant, name).await?;
        self.objects.give_up(tenant, name, begun).await
    }

    /// Deletes the object of a file that gives back what it has. What is still being made of it is deleted when it is due.
    pub(crate) async fn delete_object(&self, tenant: &TenantId, row: &FileRow) -> Result<(), Error> {
        self.objects.delete(tenant, &row.object).await
    }
}

#[cfg(test)]
mod tests;
