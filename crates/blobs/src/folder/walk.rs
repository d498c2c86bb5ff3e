//! Listing a tenant's blobs in the order of their names: folder by folder, since folders are in that order too.

use std::{fs, io, path::Path, time::UNIX_EPOCH};

use stonechat_model::{TenantId, TimeUs};

use crate::{BlobKey, Found};

/// The blobs in a tenant's folder after the given one.
pub fn list(root: &Path, tenant: &TenantId, after: Option<&BlobKey>, limit: usize) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for folder in names(root, |name| after.is_none_or(|after| name >= after.folder()))? {
        let path = root.join(&folder);
        for name in names(&path, |name| after.is_none_or(|after| name > after.name()))? {
            if found.len() >= limit {
                return Ok(found);
            }
            found.extend(look(&path, tenant, &name)?);
        }
    }
    Ok(found)
}

/// A blob; none where it was deleted meanwhile, or where the file is none of ours.
fn look(folder: &Path, tenant: &TenantId, name: &str) -> io::Result<Option<Found>> {
    let Ok(key) = BlobKey::new(tenant, name) else { return Ok(None) };
    let data = match fs::symlink_metadata(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        data => data?,
    };
    if !data.is_file() {
        return Ok(None);
    }
    let since = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified_us = TimeUs::try_from(since.as_micros()).unwrap_or(TimeUs::MAX);
    Ok(Some(Found { key, size_bytes: data.len(), modified_us }))
}

/// The names in a folder that are wanted, in order; none where there is no folder.
fn names(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && is_wanted(&name)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
