//! Metrics: each one that is recorded is on its page, and each one on the page is recorded.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Violation, repository::SourceFile};

/// The page.
pub const PAGE: &str = "docs/metrics.md";
/// The macros that record.
const MACROS: &[&str] = &["counter!(", "gauge!(", "histogram!("];
/// What names of metrics begin with.
const PREFIX: &str = "stonechat_";

/// Compares what is recorded with the page.
pub fn check(rust: &[&SourceFile], page: &SourceFile) -> Vec<Violation> {
    let recorded = recorded(rust);
    let described: BTreeMap<&str, usize> =
        (1..).zip(page.text.lines()).filter_map(|(number, line)| Some((described(line)?, number))).collect();
    let mut found = Vec::new();
    for (name, path) in recorded.iter().filter(|(name, _)| !described.contains_key(*name)) {
        found.push(Violation::new(*path, 0, format!("metric {name} is not in {PAGE}")));
    }
    let names: BTreeSet<&str> = recorded.keys().copied().collect();
    for (name, number) in described.iter().filter(|(name, _)| name.starts_with(PREFIX) && !names.contains(**name)) {
        found.push(Violation::new(&page.path, *number, format!("nobody records {name}")));
    }
    found
}

/// The metrics that code outside tests records, and one file that does.
fn recorded<'a>(rust: &[&'a SourceFile]) -> BTreeMap<&'a str, &'a str> {
    let mut names = BTreeMap::new();
    for file in rust.iter().filter(|file| !file.is_test_code()) {
        for recording in MACROS {
            for rest in file.text.split(recording).skip(1) {
                let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|name| name.starts_with(PREFIX) && !name.contains("_test_")) {
                    names.insert(name, file.path.as_str());
                }
            }
        }
    }
    names
}

/// The metric that a row of the page's table is about.
fn described(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split('`').next().map(|name| name.split('{').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_that_are_not_on_the_page_or_not_recorded_are_found() {
        let code = "metrics::counter!(\"stonechat_a_total\").increment(1);\n\
                    histogram!(\n    \"stonechat_b_seconds\", \"kind\" => k).record(1);\n";
        let code = SourceFile::new("crates/a/src/lib.rs", code);
        let page =
            SourceFile::new(PAGE, "| `stonechat_a_total` | x |\n| `stonechat_c{x}` | y |\n| `process_x` | z |\n");
        let found: Vec<_> = check(&[&code], &page).into_iter().map(|v| (v.path, v.line)).collect();
        assert_eq!(found, [("crates/a/src/lib.rs".to_owned(), 0), (PAGE.to_owned(), 2)]);
    }
}
