//! Uploads: rows by compare-and-set, so that any process may take the next bytes.

use stonechat_errors::{Code, Error};
use stonechat_model::{FileId, TenantId, TimeUs, UserId, limits, now_us};
use stonechat_proto::internal::v1::{UploadRow, UploadState};
use stonechat_rows::tables;

use crate::{
    Files, Reader, clean_name,
    records::{ATTEMPTS, Due, Found, busy, conflict, seconds_us},
};

/// After what nobody is at an upload any more who does not know that it is over.
pub(crate) const GRACE_US: TimeUs = 600_000_000;
/// When a file is looked for that should have been made of an upload.
pub(crate) const FINISH_AGAIN_US: TimeUs = 60_000_000;

/// What an upload is to be.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The user whose file it will be; the tenant's where there is none.
    pub owner: Option<UserId>,
    /// What the client calls it.
    pub name: String,
    /// How many bytes there will be.
    pub size_bytes: u64,
    /// Whether it is a part that a final upload takes.
    pub is_part: bool,
    /// The metadata as it came, to be given back.
    pub metadata: String,
    /// The concatenation as it came, to be given back.
    pub concat: String,
    /// The file with a picture to show for a video.
    pub poster: Option<FileId>,
}

impl NewUpload {
    /// What is kept of what the client said.
    fn to_row(&self, now_us: TimeUs) -> UploadRow {
        UploadRow {
            owner: self.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
            name: clean_name(&self.name),
            metadata: self.metadata.clone(),
            concat: self.concat.clone(),
            poster: self.poster.as_ref().map(ToString::to_string).unwrap_or_default(),
            created_us: now_us,
            ..UploadRow::default()
        }
    }
}

/// An upload as it was read.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its id, and that of the file that becomes of it.
    pub id: FileId,
    pub(crate) tenant: TenantId,
    pub(crate) row: UploadRow,
    pub(crate) version: u64,
}

impl Upload {
    /// How many bytes are here.
    pub fn offset_bytes(&self) -> u64 {
        self.row.offset_bytes
    }

    /// How many there will be.
    pub fn size_bytes(&self) -> u64 {
        self.row.size_bytes
    }

    /// When it expires unless it goes on; `None` when every byte is here.
    pub fn expires_us(&self) -> Option<TimeUs> {
        self.is_open().then_some(self.row.expires_us)
    }

    /// The metadata as it came.
    pub fn metadata(&self) -> &str {
        &self.row.metadata
    }

    /// The concatenation as it came; empty where there was none.
    pub fn concat(&self) -> &str {
        &self.row.concat
    }

    /// Whether it is made of parts.
    pub fn is_final(&self) -> bool {
        !self.row.parts.is_empty()
    }

    /// Whether it is a part that a final upload takes.
    pub fn is_part(&self) -> bool {
        self.row.is_part
    }

    /// Whether it was terminated or has expired.
    pub fn is_over(&self) -> bool {
        self.row.state() == UploadState::Ended || is_expired(&self.row, now_us())
    }

    /// Whether it takes bytes.
    pub fn is_open(&self) -> bool {
        self.row.state() == UploadState::Open
    }

    /// Whether its file is to be made.
    pub fn is_to_be_finished(&self) -> bool {
        self.row.state() == UploadState::Finishing
    }
}

/// The state of an upload with every byte.
fn complete(is_part: bool) -> UploadState {
    if is_part { UploadState::Part } else { UploadState::Finishing }
}

impl Files {
    fn check_size(&self, size_bytes: u64) -> Result<(), Error> {
        match size_bytes > self.max_bytes() {
            true => Err(Error::new(Code::TooLarge, format!("a file has {} bytes at most", self.max_bytes()))),
            false => Ok(()),
        }
    }

    /// Begins an upload. `quota` bounds the bytes of the tenant's files.
    pub async fn create(&self, tenant: &TenantId, quota: u64, new: NewUpload) -> Result<Upload, Error> {
        self.check_size(new.size_bytes)?;
        let id = FileId::generate();
        let now_us = now_us();
        let is_complete = new.size_bytes == 0;
        let row = UploadRow {
            size_bytes: new.size_bytes,
            state: if is_complete { complete(new.is_part) } else { UploadState::Open }.into(),
            is_part: new.is_part,
            expires_us: now_us + seconds_us(limits::UPLOAD_TTL_S),
            ..new.to_row(now_us)
        };
        self.records.remember(tenant, &Due::Upload(id.clone()), now_us + GRACE_US).await?;
        self.counted.take(tenant, &id, new.size_bytes, quota).await?;
        // Nobody else has this id: a row that is there is this one, of a call that was repeated on its way.
        self.records.set(tables::upload(tenant, &id), &row, None).await?;
        self.counted.confirm(&id);
        Ok(Upload { id, tenant: tenant.clone(), row, version: 1 })
    }

    /// An upload of this caller, also one that is over. Others' are as unknown ones.
    pub async fn upload(&self, tenant: &TenantId, reader: &Reader, id: &FileId) -> Result<Upload, Error> {
        let unknown = || Error::not_found("upload");
        let found = self.records.read::<UploadRow>(tables::upload(tenant, id)).await?.ok_or_else(unknown)?;
        let Found { row, version } = found;
        let is_own = match reader {
            Reader::Tenant => true,
            Reader::User(user) => row.owner == user.as_str(),
        };
        if is_own { Ok(Upload { id: id.clone(), tenant: tenant.clone(), row, version }) } else { Err(unknown()) }
    }

    /// Ends an upload; its bytes go.
    pub async fn terminate(&self, upload: Upload) -> Result<(), Error> {
        let Upload { id, tenant, mut row, mut version } = upload;
        for _ in 0..ATTEMPTS {
            if row.state() == UploadState::Ended {
                return Ok(());
            }
            if !matches!(row.state(), UploadState::Open | UploadState::Part) {
                return Err(Error::new(Code::FailedPrecondition, "the upload is finished; delete the file"));
            }
            if self.end(&tenant, &id, &mut row, version).await? {
                return Ok(());
            }
            let found = self.records.read::<UploadRow>(tables::upload(&tenant, &id)).await?;
            Found { row, version } = found.ok_or_else(|| Error::not_found("upload"))?;
        }
        Err(busy())
    }

    /// Ends an upload that is as it was read, and gives back what it took; says whether it was.
    pub(crate) async fn end(
        &self,
        tenant: &TenantId,
        id: &FileId,
        row: &mut UploadRow,
        version: u64,
    ) -> Result<bool, Error> {
        let now_us = now_us();
        // What was being written meanwhile is found when nobody writes any more.
        self.records.remember(tenant, &Due::Upload(id.clone()), now_us + GRACE_US).await?;
        row.state = UploadState::Ended.into();
        row.ended_us = now_us;
        if !self.records.set(tables::upload(tenant, id), row, Some(version)).await? {
            return Ok(false);
        }
        self.give_back(tenant, id, row, version + 1).await?;
        self.pieces.delete(tenant, row.pieces.iter().map(|piece| piece.name.as_str())).await?;
        Ok(true)
    }

    /// Gives back what an upload took that is over without a file. A final one took nothing: its parts did.
    pub(crate) async fn give_back(
        &self,
        tenant: &TenantId,
        id: &FileId,
        row: &mut UploadRow,
        version: u64,
    ) -> Result<(), Error> {
        if row.released || !row.parts.is_empty() {
            return Ok(());
        }
        self.counted.give_back(tenant, id, row.size_bytes).await?;
        row.released = true;
        // Somebody else who does the same writes the same.
        self.records.set(tables::upload(tenant, id), row, Some(version)).await.map(drop)
    }

    /// Makes a final upload of parts; the file is to be made of it then. Asked for again it gives what was made of them:
    /// a client that did not hear the answer knows nothing of it.
    pub async fn concatenate(
        &self,
        tenant: &TenantId,
        reader: &Reader,
        parts: &[FileId],
        new: NewUpload,
    ) -> Result<Upload, Error> {
        let mut uploads: Vec<Upload> = Vec::new();
        for part in parts {
            uploads.push(self.upload(tenant, reader, part).await?);
        }
        // Where whoever took them was interrupted it goes on.
        let mut made = match self.made_of(tenant, reader, &uploads).await? {
            Some(made) if made.is_open() => made,
            Some(made) => return Ok(made),
            None => self.begin_final(tenant, &uploads, new).await?,
        };
        for part in &mut uploads {
            if !self.take(part, &made.id).await? {
                self.end(tenant, &made.id, &mut made.row, made.version).await?;
                return Err(conflict());
            }
        }
        made.row.state = UploadState::Finishing.into();
        made.row.offset_bytes = made.row.size_bytes;
        made.row.pieces = uploads.iter().flat_map(|part| part.row.pieces.clone()).collect();
        if !self.records.set(tables::upload(tenant, &made.id), &made.row, Some(made.version)).await? {
            return Err(conflict());
        }
        made.version += 1;
        Ok(made)
    }

    /// Begins a final upload before its parts are taken: what becomes of them is said by its row.
    async fn begin_final(&self, tenant: &TenantId, parts: &[Upload], new: NewUpload) -> Result<Upload, Error> {
        for (index, part) in parts.iter().enumerate() {
            let is_twice = parts[..index].iter().any(|other| other.id == part.id);
            if is_twice || part.is_over() || part.row.state() != UploadState::Part {
                return Err(Error::invalid(format!("upload {} is no part with every byte", part.id)));
            }
        }
        let size_bytes = parts.iter().map(Upload::size_bytes).sum();
        self.check_size(size_bytes)?;
        let (id, now_us) = (FileId::generate(), now_us());
        let row = UploadRow {
            size_bytes,
            state: UploadState::Open.into(),
            parts: parts.iter().map(|part| part.id.to_string()).collect(),
            expires_us: now_us + GRACE_US,
            ..new.to_row(now_us)
        };
        self.records.remember(tenant, &Due::Upload(id.clone()), now_us + FINISH_AGAIN_US).await?;
        self.records.set(tables::upload(tenant, &id), &row, None).await?;
        Ok(Upload { id, tenant: tenant.clone(), row, version: 1 })
    }

    /// The final upload that took just these parts before, or began to.
    async fn made_of(&self, tenant: &TenantId, reader: &Reader, parts: &[Upload]) -> Result<Option<Upload>, Error> {
        let taken = parts.first().filter(|part| part.row.state() == UploadState::Taken);
        let Some(into) = taken.and_then(|part| FileId::parse(&part.row.into).ok()) else { return Ok(None) };
        let made = match self.upload(tenant, reader, &into).await {
            Err(error) if error.code == Code::NotFound => return Ok(None),
            made => made?,
        };
        let is_of_these = made.row.parts.iter().map(String::as_str).eq(parts.iter().map(|part| part.id.as_str()));
        Ok(Some(made).filter(|made| is_of_these && made.row.state() != UploadState::Ended))
    }

    /// Takes a part for a final upload; says whether it was still to be had.
    async fn take(&self, part: &mut Upload, into: &FileId) -> Result<bool, Error> {
        // Of a final upload that goes on: what it took before, and what another one took since.
        if part.row.state() != UploadState::Part {
            return Ok(part.row.state() == UploadState::Taken && part.row.into == into.as_str());
        }
        part.row.state = UploadState::Taken.into();
        part.row.into = into.to_string();
        part.row.ended_us = now_us();
        let due_us = now_us() + GRACE_US;
        self.records.remember(&part.tenant, &Due::Upload(part.id.clone()), due_us).await?;
        let key = tables::upload(&part.tenant, &part.id);
        if self.records.set(key.clone(), &part.row, Some(part.version)).await? {
            return Ok(true);
        }
        let found = self.records.read::<UploadRow>(key).await?;
        Ok(found.is_some_and(|found| found.row.into == into.as_str()))
    }
}

/// Whether an upload rested for too long.
pub(crate) fn is_expired(row: &UploadRow, now_us: TimeUs) -> bool {
    matches!(row.state(), UploadState::Open | UploadState::Part) && row.expires_us <= now_us
}
