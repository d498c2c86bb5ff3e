//! Which crate may depend on which, and names that say nothing.

use std::collections::BTreeMap;

use crate::{Violation, repository::SourceFile};

/// The binary, which alone puts services together.
const BINARY: &str = "stonechat";
/// Names that say where code was put, not what it does.
const FORBIDDEN_NAMES: &[&str] = &["common", "utils", "util", "helpers", "helper", "manager", "misc", "shared"];
/// Sections of a manifest that name dependencies.
const DEPENDENCIES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// The tiers of the workspace, lowest first. A crate depends on its own tier or lower ones; services never on each
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Crates,
    Clients,
    Services,
    Binary,
    Tests,
}

/// Checks the direction of dependencies between the workspace's crates.
pub fn dependencies(manifests: &[SourceFile]) -> Vec<Violation> {
    let parsed: Vec<(&SourceFile, toml::Table)> =
        manifests.iter().filter_map(|file| Some((file, file.text.parse().ok()?))).collect();
    let tiers: BTreeMap<&str, Tier> =
        parsed.iter().filter_map(|(file, manifest)| Some((name(manifest)?, tier(file, name(manifest)?)))).collect();
    let mut found = Vec::new();
    for (file, manifest) in &parsed {
        let Some((own_name, own)) = name(manifest).and_then(|name| Some((name, tiers.get(name)?))) else { continue };
        for section in DEPENDENCIES {
            let Some(table) = manifest.get(*section).and_then(|section| section.as_table()) else { continue };
            for dependency in table.keys() {
                let Some(other) = tiers.get(dependency.as_str()) else { continue };
                let of_tests = *section == "dev-dependencies" && *other == Tier::Tests;
                // Its own tests may turn a feature of it on.
                let of_itself = *section == "dev-dependencies" && dependency == own_name;
                if !of_tests && !of_itself && !allowed(*own, *other) {
                    let message = format!("must not depend on {dependency}: {own:?} stand below or beside {other:?}");
                    found.push(Violation::new(&file.path, 0, message));
                }
            }
        }
    }
    found
}

/// Checks the names of files and folders.
pub fn names(files: &[SourceFile]) -> Vec<Violation> {
    let bad = |path: &str| {
        let stems = path.split('/').map(|part| part.split('.').next().unwrap_or_default().to_owned());
        stems.into_iter().find(|stem| FORBIDDEN_NAMES.contains(&stem.as_str()))
    };
    let rust = files.iter().filter(|file| file.has_extension("rs"));
    rust.filter_map(|file| Some((file, bad(&file.path)?)))
        .map(|(file, name)| Violation::new(&file.path, 0, format!("{name:?} says nothing: name it by its concern")))
        .collect()
}

fn name(manifest: &toml::Table) -> Option<&str> {
    manifest.get("package")?.get("name")?.as_str()
}

fn tier(file: &SourceFile, name: &str) -> Tier {
    match file.path.split('/').next() {
        _ if name == BINARY => Tier::Binary,
        Some("services") => Tier::Services,
        Some("clients") => Tier::Clients,
        Some("crates") => Tier::Crates,
        _ => Tier::Tests,
    }
}

fn allowed(own: Tier, other: Tier) -> bool {
    other < own || (other == own && own != Tier::Services)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, name: &str, dependencies: &str) -> SourceFile {
        let text = format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependencies}\n");
        SourceFile::new(format!("{path}/Cargo.toml"), text)
    }

    fn violations(path: &str, name: &str, dependencies: &str) -> usize {
        let others = [
            manifest("crates/model", "stonechat-model", ""),
            manifest("services/router", "stonechat-router", ""),
            manifest("tests/chaos", "stonechat-chaos", ""),
            manifest(path, name, dependencies),
        ];
        super::dependencies(&others).len()
    }

    #[test]
    fn services_do_not_depend_on_each_other() {
        let router = "stonechat-router.workspace = true";
        assert_eq!(violations("services/gateway", "stonechat-gateway", router), 1);
        assert_eq!(violations("services/stonechat", "stonechat", router), 0);
        assert_eq!(violations("tests/simulation", "stonechat-simulation", router), 0);
    }

    #[test]
    fn crates_do_not_depend_on_services_or_tests() {
        assert_eq!(violations("crates/views", "stonechat-views", "stonechat-router.workspace = true"), 1);
        assert_eq!(violations("crates/views", "stonechat-views", "stonechat-chaos.workspace = true"), 1);
        assert_eq!(violations("crates/views", "stonechat-views", "stonechat-model.workspace = true"), 0);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let file = |path: &str| SourceFile::new(path, "");
        assert_eq!(names(&[file("crates/a/src/utils.rs"), file("crates/common/src/lib.rs")]).len(), 2);
        assert_eq!(names(&[file("crates/a/src/routes.rs")]), []);
    }
}
