//! Rust files that no module declares: nobody compiles them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Violation, repository::SourceFile};

/// Checks that every Rust file is reached from a target of its package.
pub fn check(files: &[SourceFile]) -> Vec<Violation> {
    let rust: BTreeMap<&str, &SourceFile> =
        files.iter().filter(|f| f.has_extension("rs")).map(|f| (f.path.as_str(), f)).collect();
    let mut reached = BTreeSet::new();
    for manifest in files.iter().filter(|file| file.name() == "Cargo.toml") {
        for target in targets(manifest, &rust) {
            reach(&target, &rust, &mut reached);
        }
    }
    let dead = rust.keys().filter(|path| !reached.contains(**path));
    dead.map(|path| Violation::new(*path, 0, "no module declares this file: remove it or declare it")).collect()
}

/// The files that targets of the package begin with: by cargo's layout, and those the manifest names.
fn targets(manifest: &SourceFile, rust: &BTreeMap<&str, &SourceFile>) -> Vec<String> {
    let folder = if manifest.folder().is_empty() { String::new() } else { format!("{}/", manifest.folder()) };
    let mut found: Vec<String> =
        ["src/lib.rs", "src/main.rs", "build.rs"].iter().map(|path| format!("{folder}{path}")).collect();
    for group in ["src/bin/", "tests/", "benches/", "examples/"] {
        let group = format!("{folder}{group}");
        let inside = rust.keys().filter_map(|path| Some((path, path.strip_prefix(group.as_str())?)));
        found.extend(
            inside.filter(|(_, rest)| !rest.contains('/') || rest.ends_with("/main.rs")).map(|(p, _)| (*p).to_owned()),
        );
    }
    let table: toml::Table = manifest.text.parse().unwrap_or_default();
    for section in ["lib", "bin", "test", "bench", "example"] {
        let entries = match table.get(section) {
            Some(toml::Value::Array(entries)) => entries.clone(),
            Some(entry) => vec![entry.clone()],
            None => Vec::new(),
        };
        let paths = entries.iter().filter_map(|entry| entry.get("path")?.as_str());
        found.extend(paths.map(|path| format!("{folder}{path}")));
    }
    found
}

/// Follows the modules of a target.
fn reach(target: &str, rust: &BTreeMap<&str, &SourceFile>, reached: &mut BTreeSet<String>) {
    // A file and whether its modules lie beside it, as those of a target or of a mod.rs do.
    let mut waiting = vec![(target.to_owned(), true)];
    while let Some((path, is_root)) = waiting.pop() {
        let Some(file) = rust.get(path.as_str()) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        let beside = if is_root { file.folder().to_owned() } else { path.trim_end_matches(".rs").to_owned() };
        declared(&parsed.items, &beside, file.folder(), &mut waiting);
    }
}

fn declared(items: &[syn::Item], folder: &str, own_folder: &str, waiting: &mut Vec<(String, bool)>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let inside = format!("{folder}/{}", module.ident);
        if let Some((_, items)) = &module.content {
            declared(items, &inside, own_folder, waiting);
        } else if let Some(path) = path_attribute(module) {
            waiting.push((normal(&format!("{own_folder}/{path}")), true));
        } else {
            waiting.push((format!("{inside}.rs"), false));
            waiting.push((format!("{inside}/mod.rs"), true));
        }
    }
}

fn path_attribute(module: &syn::ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            path,
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) if path.is_ident("path") => Some(text.value()),
        _ => None,
    })
}

/// The path without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
        check(&files).into_iter().map(|v| v.path).collect()
    }

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let files = [
            ("a/Cargo.toml", ""),
            ("a/src/lib.rs", "mod b;"),
            ("a/src/b.rs", "mod c;"),
            ("a/src/b/c.rs", ""),
            ("a/src/d.rs", ""),
            ("a/src/b/e.rs", ""),
        ];
        assert_eq!(dead(&files), ["a/src/b/e.rs", "a/src/d.rs"]);
    }

    #[test]
    fn targets_inline_modules_and_named_paths_are_followed() {
        let files = [
            ("a/Cargo.toml", "[[bin]]\nname = \"x\"\npath = \"src/x.rs\"\n"),
            ("a/src/lib.rs", "mod b { mod c; }\n#[path = \"../odd/d.rs\"]\nmod d;"),
            ("a/src/b/c.rs", ""),
            ("a/odd/d.rs", ""),
            ("a/src/x.rs", ""),
            ("a/src/bin/y.rs", ""),
            ("a/tests/t.rs", "mod story;"),
            ("a/tests/story/mod.rs", "mod part;"),
            ("a/tests/story/part.rs", ""),
        ];
        assert_eq!(dead(&files), Vec::<String>::new());
    }
}
