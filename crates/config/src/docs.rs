//! The documentation that is made from the declarations.

use std::fmt::Write;

use stonechat_model::limits;

use crate::Config;

/// The page `docs/configuration.md`.
pub fn docs() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Made from the code by `make docs`; do not edit.\n\n\
         Defaults stand below the TOML file that `stonechat run --config FILE` names, and that below environment\n\
         variables: `section.key` is `STONECHAT_SECTION__KEY`, lists with commas. A key that does not exist is an\n\
         error. `stonechat config defaults` prints a file with every default, `stonechat config check` checks one.\n",
    );
    for (section, doc) in Config::SECTIONS {
        let _ =
            write!(page, "\n## {section}\n\n{}\n\n| key | default | unit | meaning |\n|---|---|---|---|\n", flow(doc));
        for key in Config::keys().into_iter().filter(|key| key.section == *section) {
            let (path, default) = (key.path(), toml_value(&key.default));
            let _ = writeln!(page, "| `{path}` | `{default}` | {} | {} |", key.unit, flow(key.doc));
        }
    }
    page
}

/// The page `docs/limits.md`.
pub fn limits_docs() -> String {
    let mut page = String::from(
        "# Limits\n\n\
         Made from the code by `make docs`; do not edit.\n\n\
         Nothing grows without bound: every queue, batch, page and text has its limit here.\n\n\
         | limit | value | unit | what it bounds |\n|---|---:|---|---|\n",
    );
    for limit in limits::TABLE {
        let _ = writeln!(page, "| `{}` | {} | {} | {} |", limit.name, grouped(limit.value), limit.unit, limit.what);
    }
    page
}

/// A configuration file with every key at its default, each with its documentation.
pub fn defaults() -> String {
    let mut file = String::new();
    for (section, doc) in Config::SECTIONS {
        let gap = if file.is_empty() { "" } else { "\n" };
        let _ = write!(file, "{gap}# {}\n[{section}]\n", flow(doc));
        for key in Config::keys().into_iter().filter(|key| key.section == *section) {
            for line in key.doc {
                let _ = writeln!(file, "# {}", line.trim());
            }
            let _ = writeln!(file, "# Unit: {}.\n{} = {}", key.unit, key.name, toml_value(&key.default));
        }
    }
    file
}

/// Lines of a documentation comment as one.
fn flow(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn toml_value(value: &serde_json::Value) -> String {
    // JSON's texts, numbers, flags and lists of texts are TOML's too.
    value.to_string()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(65_536), "65 536");
        assert_eq!(grouped(67_108_864), "67 108 864");
    }

    #[test]
    fn every_key_and_limit_is_on_its_page() {
        let (keys, limits) = (docs(), limits_docs());
        for key in Config::keys() {
            assert!(keys.contains(&format!("| `{}` |", key.path())), "{}", key.path());
        }
        for limit in limits::TABLE {
            assert!(limits.contains(&format!("| `{}` |", limit.name)), "{}", limit.name);
        }
    }
}
