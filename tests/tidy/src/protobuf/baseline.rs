//! Changes that would break who speaks an older version.
//!
//! `proto/baseline/PACKAGE.txt` holds the shape of everything that was ever released. What stands there may only
//! go when its number and its name are reserved, so that neither ever means something else.

use std::collections::{BTreeMap, BTreeSet};

use super::{Element, Kind};
use crate::Violation;

/// The folder of the baselines.
pub const FOLDER: &str = "proto/baseline";

/// The shape of each package, as the text of its baseline, by path.
pub fn texts(elements: &[Element]) -> BTreeMap<String, String> {
    let mut by_package: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let packages: BTreeMap<&str, &str> =
        elements.iter().filter(|e| e.kind == Kind::File).map(|e| (e.file.as_str(), e.name.as_str())).collect();
    for element in elements.iter().filter(|e| e.kind != Kind::File) {
        let package = packages.get(element.file.as_str()).copied().unwrap_or_default();
        by_package.entry(format!("{FOLDER}/{package}.txt")).or_default().insert(&element.shape);
    }
    by_package.into_iter().map(|(path, lines)| (path, lines.into_iter().map(|l| format!("{l}\n")).collect())).collect()
}

/// Compares a package's accepted shape with its present one.
pub fn check(path: &str, accepted: &str, present: &str) -> Vec<Violation> {
    let (accepted, present): (BTreeSet<&str>, BTreeSet<&str>) = (accepted.lines().collect(), present.lines().collect());
    let mut found = Vec::new();
    for line in accepted.difference(&present).filter(|line| !is_reserved_now(line, &present)) {
        found.push(Violation::new(path, 0, format!("breaking change: {line:?} is gone; reserve its number and name")));
    }
    for line in present.difference(&accepted) {
        found.push(Violation::new(path, 0, format!("{line:?} is new: accept it with `make proto-accept`")));
    }
    found
}

/// What may be written as the new baseline: nothing while something is broken.
pub fn accept(path: &str, accepted: &str, present: &str) -> Result<(), Vec<Violation>> {
    let mut broken = check(path, accepted, present);
    broken.retain(|violation| violation.message.starts_with("breaking"));
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// Whether a line is a field or value whose number and name are reserved.
fn is_reserved_now(line: &str, present: &BTreeSet<&str>) -> bool {
    let Some(rest) = line.strip_prefix("field ").or_else(|| line.strip_prefix("value ")) else { return false };
    let Some((full, rest)) = rest.split_once(" = ") else { return false };
    let Some((parent, name)) = full.rsplit_once('.') else { return false };
    let number = rest.split(':').next().unwrap_or_default();
    present.contains(format!("reserved {parent} {number}").as_str())
        && present.contains(format!("reserved {parent} {name:?}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::compiled;

    const OLD: &str = "enum E { E_UNSPECIFIED = 0; E_A = 1; }\nmessage M { string a = 1; oneof k { string b = 2; } }\n\
                       service S { rpc R(M) returns (stream M); }\n";

    fn text(body: &str) -> String {
        let elements = compiled(&format!("syntax = \"proto3\";\npackage test.v1;\n{body}"));
        texts(&elements).remove("proto/baseline/test.v1.txt").unwrap()
    }

    fn broken(new: &str) -> Vec<String> {
        let found = accept("b", &text(OLD), &text(new)).err().unwrap_or_default();
        found.into_iter().map(|v| v.message.split('"').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn what_was_added_is_no_breaking_change_but_must_be_accepted() {
        let new = OLD.replace("string a = 1;", "string a = 1; repeated int32 c = 3;");
        assert_eq!(broken(&new), Vec::<String>::new());
        let found = check("b", &text(OLD), &text(&new));
        assert!(found[0].message.contains("field test.v1.M.c = 3: repeated int32"), "{found:?}");
        assert_eq!(check("b", &text(OLD), &text(OLD)), []);
    }

    #[test]
    fn removed_renumbered_and_retyped_fields_are_breaking() {
        let field = ["field test.v1.M.a = 1: string"];
        for new in [
            "",
            "string a = 4;",
            "int32 a = 1;",
            "optional string a = 1;",
            "string renamed = 1;",
            "repeated string a = 1;",
        ] {
            assert_eq!(broken(&OLD.replace("string a = 1;", new)), field, "{new}");
        }
        let moved = "message M { string a = 1; oneof other { string b = 2; } }";
        let moved = OLD.replace("message M { string a = 1; oneof k { string b = 2; } }", moved);
        assert_eq!(broken(&moved), ["field test.v1.M.b = 2: string in oneof k", "oneof test.v1.M.k"]);
    }

    #[test]
    fn a_field_may_go_when_its_number_and_name_are_reserved() {
        assert_eq!(broken(&OLD.replace("string a = 1;", "reserved 1; reserved \"a\";")), Vec::<String>::new());
        assert_eq!(broken(&OLD.replace("string a = 1;", "reserved 1;")).len(), 1);
        assert_eq!(broken(&OLD.replace("E_A = 1;", "reserved 1; reserved \"E_A\";")), Vec::<String>::new());
    }

    #[test]
    fn removed_values_and_changed_calls_are_breaking() {
        assert_eq!(broken(&OLD.replace("E_A = 1;", "")), ["value test.v1.E.E_A = 1"]);
        let call = ["rpc test.v1.S.R(test.v1.M) returns (stream test.v1.M)"];
        assert_eq!(broken(&OLD.replace("(stream M)", "(M)")), call);
        assert_eq!(broken(&OLD.replace("rpc R(M) returns (stream M);", "")), call);
    }
}
