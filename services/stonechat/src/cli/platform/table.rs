//! Answers as people read them: a list as a table, one thing as lines.

use serde_json::{Map, Value};

/// The longest text of a cell; what is longer is cut.
const CELL_CHARACTERS: usize = 48;

/// A value on one line. What others wrote must not move the cursor or change colours.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cut(text: String) -> String {
    match text.char_indices().nth(CELL_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The fields' names as they are shown: by name, but what says which thing it is comes first.
fn in_order(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_by_key(|name| !matches!(*name, "id" | "user" | "seq"));
    names
}

/// Lines of columns that stand below each other; the first line has their names.
fn table(rows: &[Value]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        for name in row.as_object().into_iter().flat_map(Map::keys) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    if names.is_empty() {
        return rows.iter().map(cell).collect();
    }
    let names = in_order(names);
    let head = names.iter().map(|name| name.to_uppercase()).collect();
    let body = rows.iter().map(|row| names.iter().map(|name| cut(cell(&row[*name]))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let joined = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(joined).collect()
}

/// The list in an answer that is a page of things: its one field that is a list of objects.
fn list(answer: &Map<String, Value>) -> Option<&Vec<Value>> {
    let mut lists = answer.values().filter_map(Value::as_array);
    match (lists.next(), lists.next()) {
        (Some(list), None) if list.iter().all(Value::is_object) && !answer.contains_key("id") => Some(list),
        _ => None,
    }
}

/// The lines of an answer.
pub fn lines(answer: &Value) -> Vec<String> {
    match answer {
        Value::Null => Vec::new(),
        Value::Object(fields) => match list(fields) {
            Some(rows) if rows.is_empty() => vec!["none".to_owned()],
            Some(rows) => table(rows),
            None => {
                let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or_default();
                let names = in_order(fields.keys().map(String::as_str).collect());
                names.into_iter().map(|name| format!("{name:width$}  {}", cell(&fields[name]))).collect()
            }
        },
        other => vec![cell(other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_is_a_table() {
        let page = json!({ "keys": [{ "id": "k1", "scopes": ["a", "b"] }, { "id": "key22", "disabled": true }] });
        assert_eq!(lines(&page), ["ID     SCOPES  DISABLED", "k1     a,b", "key22          true"]);
        assert_eq!(lines(&json!({ "keys": [] })), ["none"]);
    }

    #[test]
    fn one_thing_is_lines() {
        assert_eq!(lines(&json!({ "id": "a", "created": "now" })), ["id       a", "created  now"]);
        assert_eq!(lines(&Value::Null), Vec::<String>::new());
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(lines(&json!({ "name": "\u{1b}[2Jx\n" })), ["name  \u{fffd}[2Jx\u{fffd}"]);
    }
}
