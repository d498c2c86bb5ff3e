//! Messages as JSON schemas (draft 2020-12, the dialect of OpenAPI 3.1).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{Contract, Field, Kind};

/// A message's name in the document: what we take and what we give are not the same.
pub(crate) fn name(message: &str, is_answer: bool) -> String {
    if is_answer { message.to_owned() } else { format!("{message}Input") }
}

/// Where the schema of a message stands in the document.
fn reference(message: &str, is_answer: bool) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", name(message, is_answer)) })
}

/// The schema of a field. `is_answer`: of what we write; otherwise of what we take.
pub(crate) fn of_field(field: &Field, is_answer: bool) -> Value {
    let mut schema = of_kind(&field.kind, field, is_answer);
    if field.is_list {
        schema = json!({ "type": "array", "items": schema });
    } else if field.is_optional || field.kind == Kind::Document {
        schema = nullable(schema);
    }
    if !field.comment.is_empty()
        && let Value::Object(schema) = &mut schema
    {
        schema.insert("description".to_owned(), Value::from(field.comment.as_str()));
    }
    schema
}

fn nullable(schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str).map(ToOwned::to_owned) {
        Some(kind) => {
            let Value::Object(mut schema) = schema else { return schema };
            schema.insert("type".to_owned(), json!([kind, "null"]));
            Value::Object(schema)
        }
        None if schema.get("$ref").is_some() => json!({ "anyOf": [schema, { "type": "null" }] }),
        None => schema,
    }
}

fn of_kind(kind: &Kind, field: &Field, is_answer: bool) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Unsigned => match field.name.as_str() {
            // What a page holds at most is in the limits; more is taken for that.
            "page_size" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            _ => json!({ "type": "integer", "minimum": 0 }),
        },
        Kind::Signed => json!({ "type": "integer" }),
        Kind::Float => json!({ "type": "number" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Document => json!({}),
        Kind::Enum(name) => {
            let names = Contract::get().enums.get(name).cloned().unwrap_or_default();
            match is_answer {
                // A name that is not known yet must not break a reader.
                true => json!({ "type": "string", "examples": names }),
                false => json!({ "type": "string", "enum": names }),
            }
        }
        Kind::Message(message) => reference(message, is_answer),
    }
}

/// The schema of a message, and the messages that it refers to.
pub(crate) fn of_message(message: &str, is_answer: bool) -> (Value, BTreeSet<String>) {
    let contract = Contract::get();
    let Some(found) = contract.messages.get(message) else { return (json!({}), BTreeSet::new()) };
    let (mut properties, mut required, mut variants) = (Map::new(), Vec::new(), Vec::new());
    let mut refers = BTreeSet::new();
    for field in &found.fields {
        if let Kind::Message(other) = &field.kind {
            refers.insert(other.clone());
        }
        match &field.one_of {
            Some(_) => variants.push(of_variant(field, is_answer)),
            None => {
                properties.insert(field.name.clone(), of_field(field, is_answer));
            }
        }
        if is_answer && field.is_always_there {
            required.push(Value::from(field.name.as_str()));
        }
    }
    let mut schema = json!({ "type": "object", "description": found.comment, "properties": properties });
    if !required.is_empty() {
        schema["required"] = Value::Array(required);
    }
    if !variants.is_empty() {
        schema["oneOf"] = Value::Array(variants);
    }
    (schema, refers)
}

/// One kind of a one-of, whose fields stand beside the others under its name as `type`.
fn of_variant(field: &Field, is_answer: bool) -> Value {
    let of_type = json!({
        "type": "object",
        "description": field.comment,
        "properties": { "type": { "const": field.name } },
        "required": ["type"],
    });
    match &field.kind {
        Kind::Message(message) => json!({ "allOf": [of_type, reference(message, is_answer)] }),
        _ => of_type,
    }
}
