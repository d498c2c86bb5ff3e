//! The files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::TidyError;

/// Folders that hold nothing of ours; what `.gitignore` leaves out.
const PASSED_OVER: &[&str] = &["target", ".git", "node_modules", "data", "corpus", "artifacts"];
/// What makes a file a text to be checked.
const TEXT_EXTENSIONS: &[&str] = &["rs", "toml", "md", "proto", "txt", "sh", "yml", "yaml", "json", "lock", "html"];
const TEXT_NAMES: &[&str] = &["Makefile", "LICENSE", "Dockerfile", "run", ".gitignore"];

/// Folders and modules of tests.
const TEST_CODE: &[&str] = &["tests", "conformance", "benches", "fuzz"];

/// A file's path from the root, with `/`, and its text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The path.
    pub path: String,
    /// The text.
    pub text: String,
}

impl SourceFile {
    /// A file; in tests, one that does not exist.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether its name ends like this.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == extension)
    }

    /// The folder it is in.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }

    /// Whether it is code of tests only: a crate under `tests/`, an integration test, a module `tests` with a file
    /// of its own, a conformance suite, a fuzz target.
    pub fn is_test_code(&self) -> bool {
        let parts = self.path.split('/').map(|part| part.trim_end_matches(".rs"));
        parts.into_iter().any(|part| TEST_CODE.contains(&part))
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text of the repository, in the order of the paths.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn files(root: &Path) -> Result<Vec<SourceFile>, TidyError> {
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Reads one file.
///
/// # Errors
/// It cannot be read as UTF-8.
pub fn read(root: &Path, path: &str) -> Result<SourceFile, TidyError> {
    let text = fs::read_to_string(root.join(path)).map_err(|source| TidyError::File { path: path.into(), source })?;
    Ok(SourceFile { path: path.into(), text })
}

fn walk(root: &Path, folder: &str, found: &mut Vec<SourceFile>) -> Result<(), TidyError> {
    let failed = |source| TidyError::File { path: folder.into(), source };
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && !PASSED_OVER.contains(&name.as_str()) {
            walk(root, &path, found)?;
        } else if kind.is_file() && is_text(&name) {
            found.push(read(root, &path)?);
        }
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    TEXT_NAMES.contains(&name) || extension.is_some_and(|e| TEXT_EXTENSIONS.contains(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_builds_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/b.rs", "target/c.rs", "Makefile", "d.bin"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        let found: Vec<_> = files(folder.path()).unwrap().into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["Makefile", "a/b.rs"]);
    }
}
