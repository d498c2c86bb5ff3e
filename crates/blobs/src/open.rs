//! Opening a store as it is configured.

use std::{path::PathBuf, sync::Arc};

use stonechat_rows::Rows;

use crate::{BlobError, FolderBlobs, MasterKeys, Sealer, Store};

/// Where master keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// From this file, which must be there.
    File(PathBuf),
    /// From this file, which is made, and said to be, where there is none.
    Made(PathBuf),
}

/// A store: what keeps the blobs, and where the master keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder of the blobs.
    pub folder: PathBuf,
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
    let blobs = FolderBlobs::open(&config.folder).await?;
    Ok(Arc::new(Store::new(Arc::new(blobs), Sealer::new(rows, masters))))
}
