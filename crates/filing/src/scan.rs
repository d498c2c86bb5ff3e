//! Having files looked at by a virus scanner before anybody but their owner may know of them.
//!
//! A new file is scanned by the process that made it. Where the scanner does not answer, or that process is lost, the
//! file stays as it is and whoever looks at what is due has it scanned, later each time. Every file is scanned, also one
//! whose bytes are known: what a scanner finds changes with its signatures.

use std::{sync::Arc, time::Duration};

use stonechat_errors::Error;
use stonechat_model::{FileId, TenantId, TimeUs, limits, now_us};
use stonechat_proto::internal::v1::{FileRow, FileState};
use stonechat_rows::tables;
use stonechat_scan::{ScanError, Scanner, Verdict};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use crate::{
    Files,
    records::{ATTEMPTS, Due, Found, busy, seconds_us},
};

/// Doublings of the pause after which it is the longest in any case.
const DOUBLINGS: u32 = 16;

/// A scanner, and what waits for it.
pub(crate) struct Scans {
    scanner: Scanner,
    waiting: Arc<Semaphore>,
    at_once: Semaphore,
}

impl Scans {
    pub fn new(scanner: Scanner) -> Self {
        let waiting = Arc::new(Semaphore::new(limits::SCANS_WAITING));
        Self { scanner, waiting, at_once: Semaphore::new(limits::SCANS_AT_ONCE) }
    }

    pub fn max_bytes(&self) -> u64 {
        self.scanner.max_bytes()
    }
}

/// How long a process has a file to itself that it has scanned, in seconds; no scan takes longer.
fn lease_s(size_bytes: u64) -> u64 {
    limits::SCAN_LEASE_S.saturating_add(size_bytes / limits::SCAN_BYTES_PER_S)
}

/// How long the scanner is left alone after so many attempts at a file.
fn pause_us(attempts: u32) -> TimeUs {
    let longer = 1_u64 << attempts.saturating_sub(1).min(DOUBLINGS);
    seconds_us(limits::SCAN_AGAIN_S.saturating_mul(longer).min(limits::SCAN_AGAIN_MAX_S))
}

impl Files {
    /// The state of a file that was just made.
    pub(crate) fn first_state(&self) -> FileState {
        if self.scans.is_some() { FileState::Scanning } else { FileState::Ready }
    }

    /// Has a file scanned, if it is to be, on a task of its own that nobody has to wait for. Nothing begins where there is
    /// no scanner or too much waits for it already; who looks at what is due comes back to it.
    pub fn scan(self: &Arc<Self>, tenant: &TenantId, id: &FileId) -> Option<JoinHandle<()>> {
        let waiting = Arc::clone(&self.scans.as_ref()?.waiting).try_acquire_owned().ok()?;
        let (files, tenant, id) = (Arc::clone(self), tenant.clone(), id.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = Box::pin(files.scan_now(&tenant, &id, waiting)).await {
                tracing::warn!(%error, tenant.id = %tenant, file.id = %id, "file is scanned later");
            }
            drop(files.compose(&tenant, &id));
        }))
    }

    async fn scan_now(&self, tenant: &TenantId, id: &FileId, _waiting: OwnedSemaphorePermit) -> Result<(), Error> {
        let Some(scans) = &self.scans else { return Ok(()) };
        let _at_once = scans.at_once.acquire().await.map_err(|_| Error::internal())?;
        let Some(file) = self.claim(tenant, id).await? else { return Ok(()) };
        let asked = tokio::time::timeout(Duration::from_secs(lease_s(file.size_bytes)), async {
            // There are scanners that take no stream without bytes.
            let Some(last) = file.size_bytes.checked_sub(1) else { return Ok(Verdict::Clean) };
            let unreadable = |error: Error| ScanError::Unavailable(error.to_string());
            let bytes = self.stream(tenant, &file.content, (0, last), None).await.map_err(unreadable)?;
            scans.scanner.scan(bytes).await
        });
        let asked = asked.await.unwrap_or_else(|_| Err(ScanError::Unavailable("scan takes too long".to_owned())));
        let verdict = match &asked {
            Ok(Verdict::Clean) => "clean",
            Ok(Verdict::Infected(_)) => "infected",
            Err(ScanError::TooLarge) => "too_large",
            Err(ScanError::Unavailable(_)) => "unavailable",
        };
        metrics::counter!("stonechat_files_scanned_total", "verdict" => verdict).increment(1);
        match asked {
            Ok(Verdict::Clean) => self.judge(tenant, id, FileState::Ready).await,
            Ok(Verdict::Infected(found)) => {
                tracing::warn!(tenant.id = %tenant, file.id = %id, found, "scanner found something in a file");
                self.judge(tenant, id, FileState::Infected).await
            }
            Err(error) => {
                tracing::warn!(%error, tenant.id = %tenant, file.id = %id, "file could not be scanned and will be");
                self.put_off(tenant, id).await
            }
        }
    }

    /// Takes a file for this process's scan; `None` where it is not to be scanned, or another process is at it.
    async fn claim(&self, tenant: &TenantId, id: &FileId) -> Result<Option<FileRow>, Error> {
        let now_us = now_us();
        let claimed = |row: &mut FileRow| {
            let is_due = row.scan_after_us <= now_us;
            if is_due {
                row.scan_after_us = now_us + seconds_us(lease_s(row.size_bytes));
                row.scans = row.scans.saturating_add(1);
            }
            is_due
        };
        self.change_waiting(tenant, id, claimed).await
    }

    /// Writes down what the scanner said.
    async fn judge(&self, tenant: &TenantId, id: &FileId, state: FileState) -> Result<(), Error> {
        let judged = |row: &mut FileRow| {
            row.state = state.into();
            row.scan_after_us = now_us();
            true
        };
        // What is infected gives its bytes back.
        if self.change_waiting(tenant, id, judged).await?.is_some() && state == FileState::Infected {
            self.disarm(tenant, id).await?;
        }
        Ok(())
    }

    async fn put_off(&self, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        let put_off = |row: &mut FileRow| {
            row.scan_after_us = now_us() + pause_us(row.scans);
            true
        };
        self.change_waiting(tenant, id, put_off).await.map(drop)
    }

    /// Changes a file that still waits for its scan, and has it looked at when its row says; `None` where it does not
    /// wait, or `change` says no.
    async fn change_waiting(
        &self,
        tenant: &TenantId,
        id: &FileId,
        change: impl Fn(&mut FileRow) -> bool,
    ) -> Result<Option<FileRow>, Error> {
        for _ in 0..ATTEMPTS {
            let key = tables::file(tenant, id);
            let Some(Found { mut row, version }) = self.records.read::<FileRow>(key.clone()).await? else {
                return Ok(None);
            };
            if row.state() != FileState::Scanning || !change(&mut row) {
                return Ok(None);
            }
            self.records.remember(tenant, &Due::File(id.clone()), row.scan_after_us).await?;
            if self.records.set(key, &row, Some(version)).await? {
                return Ok(Some(row));
            }
        }
        Err(busy())
    }

    /// Looks at a file that waits for its scan; says when to look again.
    pub(crate) fn scan_when_due(self: &Arc<Self>, tenant: &TenantId, id: &FileId, row: &FileRow) -> TimeUs {
        let now_us = now_us();
        if self.scans.is_none() {
            // Whoever took the scanner away did not say that the file is clean.
            return row.expires_us;
        }
        if row.scan_after_us > now_us {
            return row.scan_after_us;
        }
        drop(self.scan(tenant, id));
        now_us + seconds_us(limits::SCAN_AGAIN_S)
    }

    /// Gives back what a file had in which something was found; it stays, without bytes, so that its owner learns why.
    pub(crate) async fn disarm(&self, tenant: &TenantId, id: &FileId) -> Result<(), Error> {
        let key = tables::file(tenant, id);
        let Some(Found { mut row, version }) = self.records.read::<FileRow>(key.clone()).await? else {
            return Ok(());
        };
        if row.state() != FileState::Infected || row.released {
            return Ok(());
        }
        self.release(tenant, id, &row).await?;
        row.released = true;
        if let Some(description) = &mut row.description {
            description.thumbnails.clear();
        }
        self.records.set(key, &row, Some(version)).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
