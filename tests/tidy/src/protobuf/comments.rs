//! Whatever a contract declares has a comment above it.

use super::{Element, Kind, violation};
use crate::Violation;

/// Finds what has no comment.
pub fn check(elements: &[Element]) -> Vec<Violation> {
    let silent = elements.iter().filter(|e| !e.commented && !matches!(e.kind, Kind::File | Kind::Reserved));
    silent.map(|element| violation(element, format!("{} has no comment", element.full_name()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::compiled;

    #[test]
    fn what_has_no_comment_is_found() {
        let elements = compiled(
            "syntax = \"proto3\";\npackage test.v1;\n// An enum.\nenum E {\n  E_UNSPECIFIED = 0;\n}\n\
             // A message.\nmessage M {\n  // A field.\n  string a = 1;\n  string b = 2;\n  oneof c {\n    string d = 3;\n  }\n}\n\
             service S {\n  rpc R(M) returns (M);\n}\n",
        );
        let names: Vec<_> = check(&elements).into_iter().map(|v| (v.line, v.message)).collect();
        let names: Vec<_> = names.iter().map(|(line, text)| (*line, text.split(' ').next().unwrap())).collect();
        assert_eq!(
            names,
            [
                (11, "test.v1.M.b"),
                (13, "test.v1.M.d"),
                (12, "test.v1.M.c"),
                (5, "test.v1.E.E_UNSPECIFIED"),
                (16, "test.v1.S"),
                (17, "test.v1.S.R"),
            ]
        );
    }
}
