//! Shell scripts that do not parse.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{TidyError, Violation, repository::SourceFile};

/// Whether the file is a shell script.
pub fn is_script(file: &SourceFile) -> bool {
    file.has_extension("sh")
        || file.text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh"))
}

/// Checks that bash can read the script.
///
/// # Errors
/// There is no bash.
pub fn check(file: &SourceFile) -> Result<Vec<Violation>, TidyError> {
    let failed = |error: std::io::Error| TidyError::Program { program: "bash", reason: error.to_string() };
    let mut bash =
        Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = bash.stdin.take() {
        input.write_all(file.text.as_bytes()).map_err(failed)?;
    }
    let output = bash.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    Ok(vec![Violation::new(&file.path, 0, String::from_utf8_lossy(&output.stderr).trim().to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_does_not_parse_is_found() {
        assert_eq!(check(&SourceFile::new("a.sh", "if true; then echo a; fi\n")).unwrap(), []);
        assert_eq!(check(&SourceFile::new("a.sh", "if true; then echo a\n")).unwrap().len(), 1);
    }

    #[test]
    fn scripts_are_known_by_their_first_line() {
        assert!(is_script(&SourceFile::new(".ci/run", "#!/usr/bin/env bash\n")));
        assert!(!is_script(&SourceFile::new("Makefile", "run:\n")));
    }
}
