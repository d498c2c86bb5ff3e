//! Texts of paths and queries as the JSON values that their fields hold.

use serde_json::Value;
use stonechat_errors::Error;

use crate::{Field, Kind};

/// What a text of a query stands for. A list has commas between its items.
pub(crate) fn from_query(name: &str, field: &Field, text: &str) -> Result<Value, Error> {
    if field.is_list {
        let items = text.split(',').filter(|item| !item.is_empty());
        return items.map(|item| single(name, &field.kind, item)).collect();
    }
    single(name, &field.kind, text)
}

/// What a text of a path stands for. What is no number where one is needed names nothing that there is.
pub(crate) fn from_path(name: &'static str, field: &Field, text: &str) -> Result<Value, Error> {
    let what = if name == "seq" { "message" } else { name };
    single(name, &field.kind, text).map_err(|_| Error::not_found(what))
}

fn single(name: &str, kind: &Kind, text: &str) -> Result<Value, Error> {
    let value = match kind {
        Kind::Unsigned => text.parse::<u64>().ok().map(Value::from),
        Kind::Signed => text.parse::<i64>().ok().map(Value::from),
        Kind::Float => text.parse::<f64>().ok().map(Value::from),
        Kind::Bool => text.parse::<bool>().ok().map(Value::from),
        Kind::Text | Kind::Time | Kind::Enum(_) => Some(Value::from(text)),
        Kind::Document | Kind::Message(_) => serde_json::from_str(text).ok(),
    };
    let what = match kind {
        Kind::Bool => "true or false",
        Kind::Document | Kind::Message(_) => "JSON",
        _ => "a number",
    };
    value.ok_or_else(|| Error::invalid(format!("{name} must be {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: Kind, is_list: bool) -> Field {
        Field {
            proto_name: String::new(),
            name: String::new(),
            comment: String::new(),
            kind,
            is_list,
            is_optional: false,
            is_always_there: true,
            one_of: None,
        }
    }

    #[test]
    fn a_text_becomes_what_its_field_holds() {
        let read = |kind, is_list, text| from_query("x", &field(kind, is_list), text).ok();
        assert_eq!(read(Kind::Unsigned, false, "7"), Some(Value::from(7)));
        assert_eq!(read(Kind::Bool, false, "true"), Some(Value::from(true)));
        assert_eq!(read(Kind::Text, true, "a,b,"), Some(serde_json::json!(["a", "b"])));
        for (kind, text) in [(Kind::Unsigned, "-1"), (Kind::Unsigned, ""), (Kind::Bool, "1"), (Kind::Signed, "7.5")] {
            assert_eq!(read(kind.clone(), false, text), None, "{kind:?} {text}");
        }
    }
}
