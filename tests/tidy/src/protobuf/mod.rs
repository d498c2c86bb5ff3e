//! The contracts of `proto/`: comments, names, and changes that would break who speaks an older version.

pub mod baseline;
mod comments;
mod elements;
mod names;

use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use protox::Compiler;

use crate::{TidyError, Violation, repository::SourceFile};
pub use comments::check as comments;
pub use elements::{Element, Kind};
pub use names::check as names;

/// Compiles every contract below a folder, with comments and places.
///
/// # Errors
/// The contracts do not compile.
pub fn compile(proto: &Path, files: &[SourceFile]) -> Result<FileDescriptorSet, TidyError> {
    let failed = |error: protox::Error| TidyError::Proto(error.to_string());
    let paths = files.iter().filter(|file| file.has_extension("proto"));
    let paths: Vec<PathBuf> = paths.filter_map(|file| file.path.strip_prefix("proto/").map(PathBuf::from)).collect();
    let mut compiler = Compiler::new([proto]).map_err(failed)?;
    compiler.include_source_info(true).open_files(paths).map_err(failed)?;
    Ok(compiler.file_descriptor_set())
}

/// Everything that the contracts declare.
pub fn elements(set: &FileDescriptorSet) -> Vec<Element> {
    set.file.iter().flat_map(elements::of_file).collect()
}

/// Where an element stands, as a violation.
fn violation(element: &Element, message: impl Into<String>) -> Violation {
    Violation::new(format!("proto/{}", element.file), element.line, message)
}

#[cfg(test)]
pub(crate) fn compiled(text: &str) -> Vec<Element> {
    let folder = tempfile::tempdir().unwrap();
    let path = "test/v1/a.proto";
    std::fs::create_dir_all(folder.path().join("test/v1")).unwrap();
    std::fs::write(folder.path().join(path), text).unwrap();
    let file = SourceFile::new(format!("proto/{path}"), text);
    elements(&compile(folder.path(), &[file]).unwrap())
}
