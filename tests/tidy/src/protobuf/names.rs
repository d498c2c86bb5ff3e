//! Names of contracts: the usual style guide, so that generated code reads well in every language.

use super::{Element, Kind, violation};
use crate::Violation;

/// Finds names that are not in style.
pub fn check(elements: &[Element]) -> Vec<Violation> {
    elements.iter().filter_map(|element| Some(violation(element, wrong(element)?))).collect()
}

fn wrong(element: &Element) -> Option<String> {
    let name = element.name.as_str();
    let problem = match element.kind {
        Kind::File => {
            let folder = element.file.rsplit_once('/').map_or("", |(folder, _)| folder).replace('/', ".");
            let version = name.rsplit('.').next().unwrap_or_default();
            let versioned = version.strip_prefix('v').is_some_and(|v| v.parse::<u32>().is_ok());
            if name != folder {
                format!("package {name} is not its folder {folder}")
            } else if !versioned {
                format!("package {name} does not end with a version")
            } else {
                return None;
            }
        }
        Kind::Message | Kind::Enum | Kind::Service | Kind::Rpc if !is_pascal(name) => {
            format!("{name} is not in PascalCase")
        }
        Kind::Field | Kind::Oneof if !is_snake(name) => format!("{name} is not in lower_snake_case"),
        Kind::Value => return wrong_value(element),
        _ => return None,
    };
    Some(problem)
}

fn wrong_value(element: &Element) -> Option<String> {
    let name = element.name.as_str();
    let of = element.parent.rsplit('.').next().unwrap_or_default();
    let prefix = format!("{}_", screaming(of));
    if !name.starts_with(&prefix) || name.chars().any(|c| c.is_ascii_lowercase()) {
        return Some(format!("{name} does not begin with {prefix} in capitals"));
    }
    if element.number == Some(0) && name != format!("{prefix}UNSPECIFIED") {
        return Some(format!("{name} is zero and not {prefix}UNSPECIFIED"));
    }
    None
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `ConversationKind` as `CONVERSATION_KIND`.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for (place, letter) in name.chars().enumerate() {
        if place > 0 && letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::compiled;

    fn messages(text: &str) -> Vec<String> {
        check(&compiled(text)).into_iter().map(|v| v.message).collect()
    }

    #[test]
    fn names_out_of_style_are_found() {
        let found = messages(
            "syntax = \"proto3\";\npackage test.v1;\nenum ColorKind { RED = 0; COLOR_KIND_BLUE = 1; }\n\
             enum Size { SIZE_SMALL = 0; }\nmessage bad_message { string badField = 1; }\nservice S { rpc get(bad_message) returns (bad_message); }\n",
        );
        assert_eq!(
            found,
            [
                "bad_message is not in PascalCase",
                "badField is not in lower_snake_case",
                "RED does not begin with COLOR_KIND_ in capitals",
                "SIZE_SMALL is zero and not SIZE_UNSPECIFIED",
                "get is not in PascalCase",
            ]
        );
    }

    #[test]
    fn a_package_that_is_not_its_folder_is_found() {
        assert_eq!(
            messages("syntax = \"proto3\";\npackage other.v1;\n"),
            ["package other.v1 is not its folder test.v1"]
        );
    }
}
