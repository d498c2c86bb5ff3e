//! Who may have a file: its owner, the tenant, and whoever may read a message that refers to it.

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::{ConversationId, FileId, TenantId, UserId};
use stonechat_proto::internal::v1::{FileRefRow, FileRow, FileState};
use stonechat_rows::tables;

use crate::{
    Files,
    records::{Records, corrupt, unavailable},
};

/// References that are read at once.
const PAGE: usize = 500;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// The tenant, by a server key.
    Tenant,
    /// A user.
    User(UserId),
}

impl Reader {
    /// The user; none for the tenant.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Tenant => None,
            Self::User(user) => Some(user),
        }
    }
}

impl Files {
    /// A file that the reader may know of; for everybody else there is none.
    pub async fn file(&self, tenant: &TenantId, reader: &Reader, id: &FileId) -> Result<FileRow, Error> {
        let unknown = || Error::not_found("file");
        let found = self.records.read::<FileRow>(tables::file(tenant, id)).await?.ok_or_else(unknown)?;
        let row = found.row;
        if row.state() == FileState::Deleted {
            return Err(unknown());
        }
        if self.views.may_have_file(tenant, reader.user(), id, &row).await? { Ok(row) } else { Err(unknown()) }
    }
}

/// Whether a message refers to a file now.
pub(crate) async fn is_referred_to(records: &Records, tenant: &TenantId, id: &FileId) -> Result<bool, Error> {
    let mut after: Option<(ConversationId, u64)> = None;
    loop {
        let from = after.as_ref().map(|(conversation, seq)| (conversation, *seq));
        let rows = records.rows.range(tables::file_refs(tenant, id, from, PAGE)).await.map_err(unavailable)?;
        let count = rows.len();
        for row in rows {
            if !FileRefRow::decode(row.value).map_err(|_| corrupt("file_refs"))?.removed {
                return Ok(true);
            }
            let conversation = ConversationId::parse(row.key.text(2)).map_err(|_| corrupt("file_refs"))?;
            after = Some((conversation, row.key.number(3)));
        }
        if count < PAGE {
            return Ok(false);
        }
    }
}
