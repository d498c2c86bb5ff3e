//! Texts that must not be in the repository: where somebody's machine keeps things, where packages come from.

use crate::{Violation, repository::SourceFile};

/// The only source of packages that a lock file may name.
const PACKAGE_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is forbidden, in pieces, since this file is checked too.
fn forbidden() -> Vec<(String, &'static str)> {
    let folders = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]];
    let registries = [["index.crates", ".io"], ["static.crates", ".io"], ["registry.npm", "js.org"], ["pypi", ".org"]];
    let folders = folders.iter().map(|parts| (parts.concat(), "the folder of somebody's machine"));
    let registries = registries.iter().map(|parts| (parts.concat(), "the address of a registry"));
    folders.chain(registries).collect()
}

/// Checks one text.
pub fn check(file: &SourceFile) -> Vec<Violation> {
    let forbidden = forbidden();
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some((text, what)) = forbidden.iter().find(|(text, _)| line.contains(text.as_str())) {
            found.push(Violation::new(&file.path, number + 1, format!("{text:?} is {what}")));
        }
    }
    found
}

/// Checks that the lock file names no source but the public one.
pub fn lock_file(file: &SourceFile) -> Vec<Violation> {
    let sources = file.text.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
    let others = sources.filter(|(_, line)| *line != format!("source = \"{PACKAGE_SOURCE}\""));
    others.map(|(number, line)| Violation::new(&file.path, number + 1, format!("unknown package {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_and_registries_are_found() {
        for (text, _) in forbidden() {
            let file = SourceFile::new("README.md", format!("first\nsee {text}x\n"));
            assert_eq!(check(&file).iter().map(|v| v.line).collect::<Vec<_>>(), [2], "{text}");
        }
        assert_eq!(check(&SourceFile::new("README.md", "see docs/adr and target/\n")), []);
    }

    #[test]
    fn an_unknown_source_of_packages_is_found() {
        let good = format!("source = \"{PACKAGE_SOURCE}\"\n");
        assert_eq!(lock_file(&SourceFile::new("Cargo.lock", good.clone())), []);
        let bad = format!("{good}source = \"git+https://example.com/x\"\n");
        assert_eq!(lock_file(&SourceFile::new("Cargo.lock", bad)).len(), 1);
    }
}
