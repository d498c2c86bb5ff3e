//! Files: uploads that go on where they broke off, what becomes of them, who may have them, and when they go.
//!
//! [`Files`] works on the rows and on the store of blobs and keeps nothing that matters in memory: any process with the
//! role takes the next part of an upload. What must happen later (an upload expires, a file is to be made or deleted) is
//! written down before there is a reason for it, and [`Files::sweep`] looks at it when it is due.
//!
//! How bytes are shared and when they go is [ADR 0019](../../../docs/adr/0019-contents-and-references.md).

mod append;
mod contents;
mod direct;
mod files;
mod finish;
mod lease;
mod links;
mod names;
mod pieces;
mod quota;
mod range;
mod reader;
mod records;
mod scan;
mod sweep;
#[cfg(test)]
mod tests;
pub mod tus;
mod uploads;

pub use append::AppendError;
pub use files::{Bytes, Files, FilesConfig, FilesDependencies, Shown};
pub use links::{Link, Variant};
pub use names::{clean_name, content_disposition};
pub use range::{Asked, asked_range};
pub use reader::Reader;
pub use sweep::{delete_file, forget_tenant};
pub use tus::Checksum;
pub use uploads::{NewUpload, Upload};

use std::sync::Arc;

use stonechat_errors::Error;
use stonechat_model::TenantId;
use stonechat_rows::Rows;

/// How many bytes a tenant's files and uploads take of its quota.
///
/// # Errors
/// The rows do not answer.
pub async fn used_bytes(rows: &Arc<dyn Rows>, tenant: &TenantId) -> Result<u64, Error> {
    quota::used_bytes(&records::Records { rows: Arc::clone(rows) }, tenant).await
}
