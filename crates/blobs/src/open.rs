//! Opening a store as it is configured.

use std::{path::PathBuf, sync::Arc};

use stonechat_rows::Rows;

use crate::{BlobError, Blobs, FolderBlobs, MasterKeys, Sealer, Store};

/// Where master keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// From this file, which must be there.
    File(PathBuf),
    /// From this file, which is made, and said to be, where there is none.
    Made(PathBuf),
}

/// What keeps the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobsConfig {
    /// A folder.
    Folder(PathBuf),
    /// S3 and what speaks like it.
    #[cfg(feature = "s3")]
    S3(crate::S3Config),
}

/// A store: what keeps the blobs, and where the master keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// What keeps the blobs.
    pub blobs: BlobsConfig,
    /// The master keys.
    pub master_keys: MasterKeySource,
}

/// Opens a store with the keys in these rows.
///
/// # Errors
/// [`BlobError::Setup`], with what is to be changed.
pub async fn open(config: StoreConfig, rows: Arc<dyn Rows>) -> Result<Arc<Store>, BlobError> {
    let masters = match &config.master_keys {
        MasterKeySource::File(path) => MasterKeys::load(path)?,
        MasterKeySource::Made(path) => MasterKeys::load_or_make(path)?,
    };
    let blobs: Arc<dyn Blobs> = match &config.blobs {
        BlobsConfig::Folder(path) => Arc::new(FolderBlobs::open(path).await?),
        #[cfg(feature = "s3")]
        BlobsConfig::S3(config) => Arc::new(crate::S3Blobs::new(config)?),
    };
    Ok(Arc::new(Store::new(blobs, Sealer::new(rows, masters))))
}
