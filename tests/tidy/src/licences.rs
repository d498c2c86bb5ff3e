//! Licences of every package that is linked: each must have one that is allowed.

use std::process::Command;

use serde_json::Value;

use crate::{TidyError, Violation};

/// A package and what its manifest says of its licence.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name and version.
    pub name: String,
    /// An SPDX expression; `None` where there is none.
    pub licence: Option<String>,
}

/// The allowed licences: one a line, `#` begins a comment.
pub fn allow_list(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty()).collect()
}

/// Asks cargo for every package of the workspace's graph.
///
/// # Errors
/// Cargo fails or answers what is not understood.
pub fn packages(root: &std::path::Path) -> Result<Vec<Package>, TidyError> {
    let failed = |reason: String| TidyError::Program { program: "cargo metadata", reason };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let packages = metadata["packages"].as_array().ok_or_else(|| failed("no packages".into()))?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    Ok(packages
        .iter()
        .map(|package| Package {
            name: format!(
                "{} {}",
                text(&package["name"]).unwrap_or_default(),
                text(&package["version"]).unwrap_or_default()
            ),
            licence: text(&package["license"]),
        })
        .collect())
}

/// Checks packages against the allowed licences.
pub fn check(packages: &[Package], allowed: &[&str]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let licence = package.licence.as_deref().unwrap_or_default();
        if !is_allowed(licence, allowed) {
            let message =
                format!("{} is under {licence:?}, which tests/tidy/licences.txt does not allow", package.name);
            found.push(Violation::new("Cargo.lock", 0, message));
        }
    }
    found
}

/// Whether the expression can be met with allowed licences (SPDX 2.3, annex D; `/` is an old form of OR).
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = either(&mut rest, allowed);
    result && rest.is_empty() && !words.is_empty()
}

fn either(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = both(rest, allowed);
    while let ["OR", others @ ..] = *rest {
        *rest = others;
        result |= both(rest, allowed);
    }
    result
}

fn both(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = one(rest, allowed);
    while let ["AND", others @ ..] = *rest {
        *rest = others;
        result &= one(rest, allowed);
    }
    result
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    match *rest {
        ["(", others @ ..] => {
            *rest = others;
            let result = either(rest, allowed);
            let closed = rest.first() == Some(&")");
            *rest = rest.get(1..).unwrap_or_default();
            result && closed
        }
        [licence, "WITH", exception, others @ ..] => {
            *rest = others;
            allowed.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, others @ ..] => {
            *rest = others;
            allowed.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn expressions_are_met_or_not() {
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(good, ALLOWED), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "OR MIT", "MIT WITH Classpath-exception-2.0"] {
            assert!(!is_allowed(bad, ALLOWED), "{bad}");
        }
    }

    #[test]
    fn a_package_without_an_allowed_licence_is_found() {
        let package = |licence: Option<&str>| Package { name: "a 1".into(), licence: licence.map(Into::into) };
        let packages = [package(Some("MIT")), package(Some("AGPL-3.0")), package(None)];
        assert_eq!(check(&packages, ALLOWED).len(), 2);
    }

    #[test]
    fn the_list_may_hold_comments() {
        assert_eq!(allow_list("# why\nMIT\n\nISC # too\n"), ["MIT", "ISC"]);
    }
}
