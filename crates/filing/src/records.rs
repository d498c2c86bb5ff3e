//! Rows of files: read, and set by compare-and-set.

use std::{sync::Arc, time::Duration};

use prost::Message;
use stonechat_errors::{Code, Error};
use stonechat_model::{FileId, TenantId, TimeUs, limits};
use stonechat_rows::{Key, Put, Rows, RowsError, tables};

/// Attempts at a row that others change as well.
pub(crate) const ATTEMPTS: usize = 100;

/// The rows.
#[derive(Clone)]
pub(crate) struct Records {
    pub rows: Arc<dyn Rows>,
}

/// A row as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub row: T,
    pub version: u64,
}

/// What is to be looked at at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// An upload.
    Upload(FileId),
    /// A file.
    File(FileId),
    /// What was begun of an object that clients fetch from the store itself.
    Object {
        /// The file.
        file: FileId,
        /// The object's name.
        name: String,
        /// What the store calls what was begun; empty where nothing but the object is left.
        begun: String,
    },
    /// A tenant that was deleted.
    Tenant,
}

impl Due {
    fn to_text(&self) -> String {
        match self {
            Self::Upload(id) => format!("upload/{id}"),
            Self::File(id) => format!("file/{id}"),
            Self::Object { file, name, begun } => format!("object/{file}/{name}/{begun}"),
            Self::Tenant => "tenant/".to_owned(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("upload", id) => FileId::parse(id).ok().map(Self::Upload),
            ("file", id) => FileId::parse(id).ok().map(Self::File),
            ("object", object) => {
                let (file, (name, begun)) =
                    object.split_once('/').and_then(|(file, of)| Some((file, of.split_once('/')?)))?;
                let file = FileId::parse(file).ok()?;
                Some(Self::Object { file, name: name.to_owned(), begun: begun.to_owned() })
            }
            ("tenant", "") => Some(Self::Tenant),
            _ => None,
        }
    }

    /// The row that says when it is to be looked at.
    pub fn put(&self, tenant: &TenantId, due_us: TimeUs) -> Put {
        Put {
            key: tables::file_due(due_us, tenant, &self.to_text()),
            value: bytes::Bytes::new(),
            version: 1,
            ttl: Some(Duration::from_secs(limits::FILE_DUE_TTL_S)),
        }
    }
}

pub(crate) fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about files");
    Error::unavailable("rows do not answer")
}

pub(crate) fn busy() -> Error {
    Error::unavailable("others change the same at once")
}

pub(crate) fn seconds_us(seconds: u64) -> TimeUs {
    TimeUs::try_from(seconds).unwrap_or(TimeUs::MAX / 1_000_000).saturating_mul(1_000_000)
}

pub(crate) fn corrupt(table: &'static str) -> Error {
    tracing::error!(table, "stored row is corrupt");
    Error::internal()
}

impl Records {
    pub async fn read<T: Message + Default>(&self, key: Key) -> Result<Option<Found<T>>, Error> {
        let table = key.table.name;
        let found = self.rows.get(&[key]).await.map_err(unavailable)?.into_iter().flatten().next();
        let Some(row) = found else { return Ok(None) };
        let version = row.version;
        Ok(Some(Found { row: T::decode(row.value).map_err(|_| corrupt(table))?, version }))
    }

    /// Sets a row if it is as it was read, or if there is none; says whether it did.
    pub async fn set<T: Message>(&self, key: Key, row: &T, expected: Option<u64>) -> Result<bool, Error> {
        self.set_for(key, row, expected, None).await
    }

    /// As [`Records::set`], for a while.
    pub async fn set_for<T: Message>(
        &self,
        key: Key,
        row: &T,
        expected: Option<u64>,
        ttl_s: Option<u64>,
    ) -> Result<bool, Error> {
        let ttl = ttl_s.map(Duration::from_secs);
        let put = Put { key, value: row.encode_to_vec().into(), version: expected.unwrap_or(0) + 1, ttl };
        self.rows.compare_and_set(put, expected).await.map_err(unavailable)
    }

    /// Has something looked at at a time: written before there is a reason to.
    pub async fn remember(&self, tenant: &TenantId, due: &Due, due_us: TimeUs) -> Result<(), Error> {
        self.rows.write(vec![due.put(tenant, due_us)]).await.map_err(unavailable)
    }

    pub async fn write(&self, puts: Vec<Put>) -> Result<(), Error> {
        self.rows.write(puts).await.map_err(unavailable)
    }

    pub async fn delete(&self, keys: &[Key]) -> Result<(), Error> {
        self.rows.delete(keys).await.map_err(unavailable)
    }
}

/// Where a row changed between reading and setting too often.
pub(crate) fn conflict() -> Error {
    Error::new(Code::Conflict, "the upload changed meanwhile")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_read_as_it_was_written() {
        let id = FileId::generate();
        let object = |begun: &str| Due::Object { file: id.clone(), name: "a1".to_owned(), begun: begun.to_owned() };
        let objects = [object(""), object("2~a/b/c.-_")];
        for due in [Due::Upload(id.clone()), Due::File(id.clone()), Due::Tenant].into_iter().chain(objects) {
            assert_eq!(Due::parse(&due.to_text()), Some(due));
        }
        assert_eq!(Due::parse("file/../x"), None);
        assert_eq!(Due::parse("other/x"), None);
        assert_eq!(Due::parse(&format!("object/{id}/a1")), None);
    }
}
