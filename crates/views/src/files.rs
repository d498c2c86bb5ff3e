//! Files as far as messages are concerned: which there are, and who may read a message that refers to one.

use std::{collections::BTreeSet, sync::Arc};

use stonechat_errors::Error;
use stonechat_model::{ConversationId, FileId, TenantId, UserId, limits};
use stonechat_proto::internal::v1::{FileRefRow, FileRow, FileState};
use stonechat_rows::{Key, Rows, tables};

use crate::{Views, decode, unavailable};

/// References that are read at once.
const PAGE: usize = 500;

/// A file's row and its version.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFile {
    /// The row.
    pub row: FileRow,
    /// Its version, by which it is changed.
    pub version: u64,
}

/// Where a file is fetched, a path on the server; `thumbnail` names one of its smaller forms.
pub fn file_path(file: &FileId, thumbnail: Option<&str>) -> String {
    match thumbnail {
        None => format!("/v1/files/{file}"),
        Some(form) => format!("/v1/files/{file}/thumbnails/{form}"),
    }
}

impl Views {
    /// The rows that are read.
    pub fn rows(&self) -> &Arc<dyn Rows> {
        &self.rows
    }

    /// The rows of some files of a tenant, in their order, whatever their state; read at once.
    ///
    /// # Errors
    /// The rows do not answer, or one is corrupt.
    pub async fn files(&self, tenant: &TenantId, files: &[FileId]) -> Result<Vec<Option<StoredFile>>, Error> {
        let keys: Vec<Key> = files.iter().map(|file| tables::file(tenant, file)).collect();
        let stored = |row: Option<stonechat_rows::Row>| {
            row.map(|row| Ok(StoredFile { row: decode(&row)?, version: row.version })).transpose()
        };
        self.get(&keys).await?.into_iter().map(stored).collect()
    }

    /// Whether a user, or with `None` the tenant, may have a file: who owns it, and who may read a message that refers to
    /// it. Of one that is not ready its owner and the tenant know, and nobody else.
    ///
    /// # Errors
    /// The rows do not answer, or one is corrupt.
    pub async fn may_have_file(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        file: &FileId,
        row: &FileRow,
    ) -> Result<bool, Error> {
        match user {
            None => Ok(true),
            Some(user) if row.owner == user.as_str() => Ok(true),
            Some(_) if row.state() != FileState::Ready => Ok(false),
            Some(user) => self.may_read_of_file(tenant, user, file).await,
        }
    }

    /// Whether the user may read, now, a message that refers to the file: one of the first
    /// [`limits::FILE_REFS_CHECKED`] of them.
    ///
    /// # Errors
    /// The rows do not answer, or one is corrupt.
    async fn may_read_of_file(&self, tenant: &TenantId, user: &UserId, file: &FileId) -> Result<bool, Error> {
        let (mut after, mut checked): (Option<(ConversationId, u64)>, usize) = (None, 0);
        while checked < limits::FILE_REFS_CHECKED {
            let from = after.as_ref().map(|(conversation, seq)| (conversation, *seq));
            let rows = self.rows.range(tables::file_refs(tenant, file, from, PAGE)).await.map_err(unavailable)?;
            let mut conversations = BTreeSet::new();
            for row in &rows {
                let conversation = ConversationId::parse(row.key.text(2)).map_err(|_| Error::internal())?;
                after = Some((conversation.clone(), row.key.number(3)));
                if !decode::<FileRefRow>(row)?.removed {
                    conversations.insert(conversation);
                }
            }
            let conversations: Vec<ConversationId> = conversations.into_iter().collect();
            if self.are_member(tenant, user, &conversations).await?.contains(&true) {
                return Ok(true);
            }
            if rows.len() < PAGE {
                return Ok(false);
            }
            checked += rows.len();
        }
        Ok(false)
    }
}
