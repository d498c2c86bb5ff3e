//! Documents: what is generated is current, links lead somewhere, what is named exists.

use std::{collections::BTreeSet, fmt::Write};

use crate::{Violation, repository::SourceFile};

/// What paths of this repository begin with.
const FOLDERS: &[&str] = &["crates/", "services/", "clients/", "tests/", "proto/", "docs/", "deploy/", "fuzz/", ".ci/"];

/// The generated pages and their text.
pub fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("docs/configuration.md", stonechat_config::docs()),
        ("docs/errors.md", errors_docs()),
        ("docs/limits.md", stonechat_config::limits_docs()),
        ("deploy/stonechat.toml", stonechat_config::defaults()),
    ]
}

fn errors_docs() -> String {
    let mut page = String::from(
        "# Errors\n\nMade from the code by `make docs`; do not edit.\n\n\
         The one catalogue: `code` of the WebSocket frame `error`, of `application/problem+json` (RFC 9457), and the\n\
         reason in gRPC's `ErrorInfo`. \"Again\" tells whether the same may be sent again unchanged.\n\n\
         | code | HTTP | gRPC | again | meaning |\n|---|---:|---|---|---|\n",
    );
    for code in stonechat_errors::Code::ALL {
        let again = if code.is_retryable() { "yes" } else { "no" };
        let _ = writeln!(page, "| `{code}` | {} | {:?} | {again} | {} |", code.http(), code.grpc(), code.meaning());
    }
    page
}

/// Checks that a generated page is what would be written now.
pub fn current(path: &str, wanted: &str, files: &[SourceFile]) -> Vec<Violation> {
    match files.iter().find(|file| file.path == path) {
        Some(file) if file.text == wanted => Vec::new(),
        _ => vec![Violation::new(path, 0, "is not current: run `make docs`")],
    }
}

/// Checks that every configuration key is read by the binary: one that changes nothing is a lie.
pub fn keys_are_read(rust: &[&SourceFile]) -> Vec<Violation> {
    let binary: Vec<_> = rust.iter().filter(|file| file.path.starts_with("services/stonechat/src/")).collect();
    let unread = stonechat_config::Config::keys().into_iter().filter(|key| {
        let read = format!(".{}", key.name);
        !binary.iter().any(|file| file.text.contains(&read))
    });
    unread.map(|key| Violation::new("crates/config/src/keys.rs", 0, format!("nobody reads {}", key.path()))).collect()
}

/// Checks that relative links of Markdown pages lead to something.
pub fn links(page: &SourceFile, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in prose(&page.text) {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !exists(&joined(page.folder(), path)) {
                found.push(Violation::new(&page.path, number, format!("link to {path:?} leads nowhere")));
            }
        }
    }
    found
}

/// Checks that files and folders that a page names in backticks exist.
pub fn paths_named(page: &SourceFile, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in prose(&page.text) {
        let code = line.split('`').skip(1).step_by(2);
        let paths = code.filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)) && !code.contains(' '));
        for path in paths.filter(|path| !path.contains(['*', '{', '<']) && !exists(path)) {
            found.push(Violation::new(&page.path, number, format!("there is no {path}")));
        }
    }
    found
}

/// Checks that every `make TARGET` that a page or script names is in the Makefile.
pub fn make_targets(page: &SourceFile, makefile: &str) -> Vec<Violation> {
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', '#', ' ']))
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(names, _)| names.split_whitespace())
        .collect();
    let mut found = Vec::new();
    for (number, line) in page.text.lines().enumerate() {
        let code = line.split('`').skip(1).step_by(2).chain(line.trim_start().strip_prefix("$ "));
        let code: Vec<&str> = if page.has_extension("md") { code.collect() } else { vec![line.trim_start()] };
        for words in code.into_iter().filter_map(|code| code.strip_prefix("make ")) {
            let named =
                words.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            for target in named.filter(|target| !targets.contains(target)) {
                found.push(Violation::new(&page.path, number + 1, format!("`make {target}` is not in the Makefile")));
            }
        }
    }
    found
}

/// Checks that every test that a page names as `test: name` in backticks is a function somewhere.
pub fn tests_named(page: &SourceFile, rust: &[&SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in page.text.lines().enumerate() {
        let code = line.split('`').skip(1).step_by(2);
        for name in code.filter_map(|code| code.strip_prefix("test: ")) {
            let declaration = format!("fn {name}(");
            if !rust.iter().any(|file| file.text.contains(&declaration)) {
                found.push(Violation::new(&page.path, number + 1, format!("there is no test {name}")));
            }
        }
    }
    found
}

/// The lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_page_that_is_not_current_is_found() {
        let files = [SourceFile::new("docs/a.md", "old\n")];
        assert_eq!(current("docs/a.md", "old\n", &files), []);
        assert_eq!(current("docs/a.md", "new\n", &files).len(), 1);
        assert_eq!(current("docs/b.md", "new\n", &files).len(), 1);
    }

    #[test]
    fn keys_that_nobody_reads_are_found() {
        let all: String = stonechat_config::Config::keys().iter().map(|key| format!("c.{};", key.name)).collect();
        let binary = |text: &str| SourceFile::new("services/stonechat/src/a.rs", text);
        assert_eq!(keys_are_read(&[&binary(&all)]), []);
        assert_eq!(keys_are_read(&[&binary(&all.replace(".heartbeat_s", ""))]).len(), 1);
        assert!(keys_are_read(&[&SourceFile::new("crates/config/src/a.rs", all)]).len() > 1);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text =
            "[a](../README.md#x) [b](adr/1.md) [c](https://example.com) [d](#here)\n```\n[e](gone)\n```\n[f](no.md)\n";
        let exists = |path: &str| ["README.md", "docs/adr/1.md"].contains(&path);
        let found = links(&SourceFile::new("docs/a.md", text), exists);
        assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn paths_that_do_not_exist_are_found() {
        let text = "`crates/a` `crates/gone` `docs/adr/NNNN-*.md` `other/x`\n```\n`crates/fenced`\n```\n";
        let found = paths_named(&SourceFile::new("A.md", text), |path| path == "crates/a");
        assert_eq!(found.iter().map(|v| v.message.as_str()).collect::<Vec<_>>(), ["there is no crates/gone"]);
    }

    #[test]
    fn targets_that_do_not_exist_are_found() {
        let makefile = ".PHONY: run\nrun: build ## doc\n\t@echo make fake:\n";
        let page =
            SourceFile::new("README.md", "`make run`, `make walk SEEDS=1` and\n    $ make run\n    $ make jump\n");
        assert_eq!(make_targets(&page, makefile).iter().map(|v| v.line).collect::<Vec<_>>(), [1, 3]);
        let script = SourceFile::new(".ci/run", "make run\n  make jump SECONDS=1\n# make it so\n");
        assert_eq!(make_targets(&script, makefile).iter().map(|v| v.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn tests_that_do_not_exist_are_found() {
        let rust = SourceFile::new("a.rs", "async fn alg_none_is_refused() {}");
        let page = SourceFile::new("SECURITY.md", "| x | `test: alg_none_is_refused` |\n| y | `test: gone` |\n");
        assert_eq!(tests_named(&page, &[&rust]).iter().map(|v| v.line).collect::<Vec<_>>(), [2]);
    }
}
