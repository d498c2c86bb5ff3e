//! What goes wrong with blobs.

use stonechat_errors::{Code, Error};
use stonechat_rows::RowsError;

/// Why a blob was not written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob not found")]
    NotFound,
    /// The range ends beyond the blob, or before it begins.
    #[error("range is not within the blob's {size_bytes} bytes")]
    OutOfRange {
        /// The blob's length in bytes.
        size_bytes: u64,
    },
    /// The blob is longer than [`limits::BLOB_BYTES`](stonechat_model::limits::BLOB_BYTES).
    #[error("blob is too large")]
    TooLarge,
    /// The name holds something else than lower-case letters, digits, `-` and `_`, or is empty or too long.
    #[error("blob name is not valid")]
    InvalidName,
    /// The store does not answer now, or is full; nothing is known of what was to be written.
    #[error("blobs are unavailable: {0}")]
    Unavailable(String),
    /// What is stored is not what was written.
    #[error("stored blob is corrupt: {0}")]
    Corrupt(&'static str),
    /// The key that the blob was sealed with is gone, as after its tenant was deleted.
    #[error("key of the blob is gone")]
    KeyGone,
    /// The key of the tenant was wrapped by a master key that is not in the file of master keys.
    #[error("master key {0} is missing")]
    MasterKeyMissing(String),
    /// The store or its keys are not set up as they should be.
    #[error("{0}")]
    Setup(String),
    /// What was asked for is not to be had of this store.
    #[error("store cannot {0}")]
    Unsupported(&'static str),
}

impl BlobError {
    /// Whether the same may be tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<RowsError> for BlobError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Unavailable(reason) => Self::Unavailable(reason),
            RowsError::BadRequest(reason) => Self::Setup(reason),
            RowsError::Corrupt(_) => Self::Corrupt("row of a key"),
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound | BlobError::KeyGone => Self::not_found("file"),
            BlobError::TooLarge => Self::new(Code::TooLarge, "blob is too large"),
            BlobError::Unavailable(_) => Self::unavailable("files are not to be had now"),
            BlobError::Unsupported(what) => Self::new(Code::FailedPrecondition, format!("store cannot {what}")),
            _ => Self::internal(),
        }
    }
}
