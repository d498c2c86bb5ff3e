//! The api's operations as commands: a noun, a verb, and what may be given; made from the OpenAPI document, so that
//! the command line has every operation that the api has.

use serde_json::{Map, Value};

/// Operations whose names do not say noun and verb by themselves: the operation, its noun, its verb.
const NAMED: &[(&str, &str, &str)] = &[
    ("mark_read", "message", "mark-read"),
    ("set_member_role", "member", "set-role"),
    ("update_preferences", "conversation", "set-preferences"),
    ("revoke_tokens", "token", "revoke"),
    ("replay_event", "webhook", "replay-event"),
    ("replay_events", "webhook", "replay-events"),
    ("rotate_send_hook_secret", "send-hook", "rotate-secret"),
];

/// How deep references of schemas are followed.
const MOST_REFERENCES: usize = 8;

/// An operation of the api.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it is about, for example `user`.
    pub noun: String,
    /// What it does, for example `list`.
    pub verb: String,
    /// What it does, for people.
    pub about: String,
    /// The HTTP method.
    pub method: String,
    /// The path with its parameters in braces.
    pub path: String,
    /// What may be given.
    pub fields: Vec<Field>,
    /// Whether its answer is a page of many.
    pub is_paged: bool,
    /// Whether it takes an `Idempotency-Key`.
    pub is_idempotent: bool,
}

/// Something that may be given with an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in the api.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Where it stands in a request.
    pub place: Place,
    /// How its text is read.
    pub kind: Kind,
    /// Whether the api demands it.
    pub is_required: bool,
}

/// Where a field stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In the body.
    Body,
}

/// How a field's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// true or false.
    Flag,
    /// Several texts.
    Texts,
    /// A JSON document.
    Json,
}

/// The words of a name in any of the usual forms: `CreateKey`, `create_key`, `TenantService.CreateKey`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.rsplit(['.', '/']).next().unwrap_or_default().chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.iter_mut().next_back().into_iter().for_each(|word| word.extend(letter.to_lowercase()));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn singular(word: &str) -> String {
    match word {
        "status" | "audit" | "usage" => word.to_owned(),
        _ if word.ends_with("statuses") => "status".to_owned(),
        _ => match word.strip_suffix("ies") {
            Some(stem) => format!("{stem}y"),
            None => word.strip_suffix('s').unwrap_or(word).to_owned(),
        },
    }
}

/// Whether a name is that of another REST form of an operation, as `DisableKeyByPost`.
fn is_other_form(words: &[String]) -> bool {
    matches!(words, [.., by, method] if by == "by" && ["get", "post", "put", "patch", "delete"].contains(&method.as_str()))
}

/// The noun and the verb of an operation's name; nothing for another form of one.
fn noun_and_verb(name: &str) -> Option<(String, String)> {
    let words = words(name);
    if is_other_form(&words) {
        return None;
    }
    let snake = words.join("_");
    if let Some((_, noun, verb)) = NAMED.iter().find(|(named, ..)| *named == snake) {
        return Some(((*noun).to_owned(), (*verb).to_owned()));
    }
    let (verb, rest) = words.split_first()?;
    let noun = rest.iter().map(|word| singular(word)).collect::<Vec<_>>().join("-");
    (!noun.is_empty()).then(|| (noun, verb.clone()))
}

/// A schema with its reference followed.
fn resolved<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..MOST_REFERENCES {
        match schema.get("$ref").and_then(Value::as_str).and_then(|path| document.pointer(path.strip_prefix('#')?)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn kind(document: &Value, schema: &Value) -> Kind {
    let schema = resolved(document, schema);
    let is = |schema: &Value, name: &str| match schema.get("type") {
        Some(Value::String(text)) => text == name,
        Some(Value::Array(texts)) => texts.iter().any(|text| text == name),
        _ => false,
    };
    let of_texts = || schema.get("items").is_some_and(|items| is(resolved(document, items), "string"));
    match schema {
        _ if is(schema, "string") => Kind::Text,
        _ if is(schema, "integer") || is(schema, "number") => Kind::Number,
        _ if is(schema, "boolean") => Kind::Flag,
        _ if is(schema, "array") && of_texts() => Kind::Texts,
        _ => Kind::Json,
    }
}

fn about(of: &Value) -> String {
    let text = ["description", "summary"].iter().find_map(|name| of.get(*name)?.as_str());
    text.unwrap_or_default().trim().trim_end_matches('.').to_owned()
}

fn parameters(document: &Value, operation: &Value) -> Vec<Field> {
    let list = operation.get("parameters").and_then(Value::as_array);
    let field = |parameter: &Value| {
        let parameter = resolved(document, parameter);
        let place = match parameter.get("in")?.as_str()? {
            "path" => Place::Path,
            "query" => Place::Query,
            _ => return None,
        };
        Some(Field {
            name: parameter.get("name")?.as_str()?.to_owned(),
            about: about(parameter),
            place,
            kind: kind(document, parameter.get("schema").unwrap_or(&Value::Null)),
            is_required: parameter.get("required").and_then(Value::as_bool).unwrap_or_default(),
        })
    };
    list.into_iter().flatten().filter_map(field).collect()
}

fn body_fields(document: &Value, operation: &Value) -> Vec<Field> {
    let body = operation.get("requestBody").map(|body| resolved(document, body));
    let schema = body.and_then(|body| body.pointer("/content/application~1json/schema"));
    let schema = schema.map_or(&Value::Null, |schema| resolved(document, schema));
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        about: match about(schema) {
            text if text.is_empty() => about(resolved(document, schema)),
            text => text,
        },
        place: Place::Body,
        kind: kind(document, schema),
        is_required: is_required(name),
    };
    properties.iter().map(field).collect()
}

/// Whether the answer of an operation says where the next page begins.
fn is_paged(document: &Value, operation: &Value) -> bool {
    let answer = operation.pointer("/responses/200").map(|answer| resolved(document, answer));
    let schema = answer.and_then(|answer| answer.pointer("/content/application~1json/schema"));
    schema.is_some_and(|schema| resolved(document, schema).pointer("/properties/next_page_token").is_some())
}

fn is_idempotent(document: &Value, operation: &Value) -> bool {
    let list = operation.get("parameters").and_then(Value::as_array);
    let is_key = |parameter: &Value| {
        let name = resolved(document, parameter).get("name").and_then(Value::as_str);
        name.is_some_and(|name| name.eq_ignore_ascii_case("idempotency-key"))
    };
    list.into_iter().flatten().any(is_key)
}

/// Whether an operation asks and answers with JSON or nothing: what a command can do. Streams and uploads have
/// commands of their own.
fn is_plain(document: &Value, operation: &Value) -> bool {
    let is_json =
        |part: Option<&Value>| match part.map(|part| resolved(document, part)).and_then(|it| it.get("content")) {
            Some(Value::Object(content)) => content.is_empty() || content.contains_key("application/json"),
            _ => true,
        };
    let answers = operation.get("responses").and_then(Value::as_object);
    let mut good = answers.into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
    is_json(operation.get("requestBody")) && good.all(|(_, answer)| is_json(Some(answer)))
}

/// The operations of an OpenAPI document, by noun and verb.
pub fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    let empty = Map::new();
    for (path, methods) in document.get("paths").and_then(Value::as_object).unwrap_or(&empty) {
        for (method, operation) in methods.as_object().unwrap_or(&empty) {
            let Some((noun, verb)) = operation.get("operationId").and_then(Value::as_str).and_then(noun_and_verb)
            else {
                continue;
            };
            if !is_plain(document, operation) {
                continue;
            }
            let mut fields = parameters(document, operation);
            fields.extend(body_fields(document, operation));
            found.push(Operation {
                noun,
                verb,
                about: about(operation),
                method: method.to_uppercase(),
                path: path.clone(),
                fields,
                is_paged: is_paged(document, operation),
                is_idempotent: is_idempotent(document, operation),
            });
        }
    }
    found.sort_by(|a, b| (&a.noun, &a.verb).cmp(&(&b.noun, &b.verb)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_say_noun_and_verb() {
        let pair = |name: &str| noun_and_verb(name).unwrap();
        assert_eq!(pair("CreateTenant"), ("tenant".into(), "create".into()));
        assert_eq!(pair("TenantService.ListKeys"), ("key".into(), "list".into()));
        assert_eq!(pair("list_statuses"), ("status".into(), "list".into()));
        assert_eq!(pair("ListDeliveries"), ("delivery".into(), "list".into()));
        assert_eq!(pair("SetMemberRole"), ("member".into(), "set-role".into()));
        assert_eq!(noun_and_verb("Ping"), None);
        assert_eq!(noun_and_verb("DisableKeyByPost"), None);
    }

    #[test]
    fn an_operation_says_where_its_fields_stand() {
        let document = json!({
            "paths": { "/v1/users/{user}": { "put": {
                "operationId": "UpsertUser",
                "summary": "Makes or changes a user.",
                "parameters": [
                    { "name": "user", "in": "path", "required": true, "schema": { "type": "string" } },
                    { "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" } },
                ],
                "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/U" } } } },
                "responses": { "200": { "content": { "application/json": { "schema": {} } } } },
            } } },
            "components": { "schemas": { "U": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string", "description": "The name." },
                "tags": { "type": "array", "items": { "type": "string" } },
                "active": { "type": ["boolean", "null"] },
                "settings": { "$ref": "#/components/schemas/U" },
            } } } },
        });
        let [operation] = operations(&document).try_into().unwrap();
        assert_eq!((operation.noun.as_str(), operation.verb.as_str()), ("user", "upsert"));
        assert_eq!((operation.method.as_str(), operation.about.as_str()), ("PUT", "Makes or changes a user"));
        assert!(operation.is_idempotent && !operation.is_paged);
        let kinds = operation.fields.iter().map(|it| (it.name.as_str(), it.place, it.kind, it.is_required));
        let expected = [
            ("user", Place::Path, Kind::Text, true),
            ("active", Place::Body, Kind::Flag, false),
            ("name", Place::Body, Kind::Text, true),
            ("settings", Place::Body, Kind::Json, false),
            ("tags", Place::Body, Kind::Texts, false),
        ];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_operation_of_the_product_is_one_command() {
        let found = operations(&crate::run::operations::document());
        assert!(found.len() > 30, "only {}", found.len());
        for pair in found.windows(2) {
            assert_ne!((&pair[0].noun, &pair[0].verb), (&pair[1].noun, &pair[1].verb));
        }
    }

    #[test]
    fn streams_are_no_commands_of_this_kind() {
        let document = json!({ "paths": { "/v1/export": { "get": {
            "operationId": "ExportTenant",
            "responses": { "200": { "content": { "application/x-ndjson": {} } } },
        } } } });
        assert_eq!(operations(&document), []);
    }

    #[test]
    fn references_that_go_in_circles_end() {
        let document = json!({ "a": { "$ref": "#/b" }, "b": { "$ref": "#/a" } });
        assert_eq!(kind(&document, &document["a"]), Kind::Json);
    }
}
