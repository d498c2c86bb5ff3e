//! Attachments: from the ids that a caller names to what everybody sees.
//!
//! A caller names files by their ids, and may name them otherwise than they were uploaded; all else is taken from the
//! rows of the files. A command with a file that is not to be had goes on all the same, marked: the same command may
//! have been taken while the file was there still, and then its answer is the same. Only the owner of the conversation
//! knows that.

use prost::Message as _;
use stonechat_errors::{Code, Error};
use stonechat_model::{FileId, TenantId, TimeUs, UserId, limits, now_us};
use stonechat_proto::{
    internal::v1::{CommandRecord, FileDescription, FileRow, FileState, command_record},
    v1::{Action, Attachment, Message, Thumbnail, action},
};
use stonechat_rows::Put;
use stonechat_views::{StoredFile, Views, file_path};

/// How often a row that others change at the same time is read again.
const ATTEMPTS: usize = 8;
const SECOND_US: TimeUs = 1_000_000;

/// Fills in the attachments of a command, if it has any: without them nothing is read. `user`: on whose behalf files are
/// used; `None`: the tenant's, who may use all of its own.
pub(crate) async fn fill(
    views: &Views,
    tenant: &TenantId,
    user: Option<&UserId>,
    record: &mut CommandRecord,
) -> Result<(), Error> {
    let Some(command_record::Body::Action(action)) = &mut record.body else { return Ok(()) };
    let Some(content) = content_of(action).filter(|content| !content.attachments.is_empty()) else { return Ok(()) };
    for attachment in &mut content.attachments {
        let Attachment { id, name, .. } = std::mem::take(attachment);
        *attachment = Attachment { id, name, ..Attachment::default() };
    }
    let found = find(views, tenant, user, content).await?;
    if record.asked_hash == 0 {
        // What is filled in is no part of what was asked.
        record.asked_hash = stonechat_proto::content_hash(action);
    }
    match (found, content_of(action)) {
        (Some(files), Some(content)) => {
            for (attachment, (id, row)) in content.attachments.iter_mut().zip(files) {
                let name = std::mem::take(&mut attachment.name);
                *attachment = attachment_of(&id, row, name);
            }
        }
        _ => record.lacks_file = true,
    }
    Ok(())
}

fn content_of(action: &mut Action) -> Option<&mut Message> {
    match &mut action.kind {
        Some(action::Kind::Send(content)) => Some(content),
        Some(action::Kind::Edit(edit)) => edit.content.as_mut(),
        _ => None,
    }
}

/// The files of a message, in the order of its attachments; `None` when one of them is not to be had.
async fn find(
    views: &Views,
    tenant: &TenantId,
    user: Option<&UserId>,
    content: &Message,
) -> Result<Option<Vec<(FileId, FileRow)>>, Error> {
    let ids: Option<Vec<FileId>> = content.attachments.iter().map(|it| FileId::parse(&it.id).ok()).collect();
    let Some(ids) = ids else { return Ok(None) };
    let mut files = Vec::with_capacity(ids.len());
    for (id, stored) in ids.iter().zip(views.files(tenant, &ids).await?) {
        let Some(stored) = stored else { return Ok(None) };
        if !may_use(views, tenant, user, id, &stored.row).await? {
            return Ok(None);
        }
        let Some(row) = hold(views, tenant, id, stored).await? else { return Ok(None) };
        files.push((id.clone(), row));
    }
    Ok(Some(files))
}

/// Whether a file may be named.
async fn may_use(
    views: &Views,
    tenant: &TenantId,
    user: Option<&UserId>,
    id: &FileId,
    row: &FileRow,
) -> Result<bool, Error> {
    if !views.may_have_file(tenant, user, id, row).await? {
        return Ok(false);
    }
    match row.state() {
        FileState::Ready => Ok(true),
        FileState::Scanning => {
            let wait = std::time::Duration::from_secs(limits::SCAN_WAIT_S);
            Err(Error::unavailable("a file is being scanned; send the message again").retry_after(wait))
        }
        FileState::Infected => Err(Error::new(Code::FailedPrecondition, "a scanner found something in a file")),
        FileState::Deleted | FileState::Unspecified => Ok(false),
    }
}

/// Keeps a file until the message that is to refer to it does. Files that no message refers to expire: one that is about
/// to is given more time, by compare-and-set, so that either this or its deletion is first, and the other one sees it.
async fn hold(views: &Views, tenant: &TenantId, id: &FileId, stored: StoredFile) -> Result<Option<FileRow>, Error> {
    let hold_us = i64::try_from(limits::FILE_HOLD_S).unwrap_or(i64::MAX).saturating_mul(SECOND_US);
    let mut stored = Some(stored);
    for _ in 0..ATTEMPTS {
        let Some(StoredFile { mut row, version }) = stored else { return Ok(None) };
        let now_us = now_us();
        if row.state() != FileState::Ready {
            return Ok(None);
        }
        if row.expires_us == 0 || row.expires_us > now_us.saturating_add(hold_us) {
            return Ok(Some(row));
        }
        row.expires_us = now_us.saturating_add(hold_us.saturating_mul(2));
        let key = stonechat_rows::tables::file(tenant, id);
        let put = Put { key, value: row.encode_to_vec().into(), version: version + 1, ttl: None };
        let is_set = views.rows().compare_and_set(put, Some(version)).await.map_err(|error| {
            tracing::warn!(%error, "rows did not keep a file for longer");
            Error::unavailable("rows do not answer")
        })?;
        if is_set {
            return Ok(Some(row));
        }
        stored = views.files(tenant, std::slice::from_ref(id)).await?.pop().flatten();
    }
    Err(Error::unavailable("a file is being changed by others"))
}

/// What everybody sees of a file; `name` is what the sender calls it, or empty.
fn attachment_of(id: &FileId, row: FileRow, name: String) -> Attachment {
    let FileDescription { width, height, duration_ms, blurhash, waveform, animated, thumbnails } =
        row.description.unwrap_or_default();
    let thumbnails = thumbnails.iter().zip(["small", "large"]).map(|(thumbnail, form)| Thumbnail {
        width: thumbnail.width,
        height: thumbnail.height,
        url: file_path(id, Some(form)),
    });
    Attachment {
        id: id.to_string(),
        name: if name.is_empty() { row.name } else { name },
        content_type: row.content_type,
        size_bytes: row.size_bytes,
        width,
        height,
        duration_ms,
        blurhash,
        waveform: waveform.into(),
        animated,
        thumbnails: thumbnails.collect(),
        url: file_path(id, None),
    }
}

#[cfg(test)]
mod tests;
