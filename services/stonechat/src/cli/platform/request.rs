//! An operation and what was given for it, as an HTTP request; no I/O.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use super::{
    super::CliError,
    operations::{Field, Kind, Operation, Place},
};

/// The field that says where a page begins.
pub const PAGE_TOKEN: &str = "page_token";
const BODY: &str = "body";
const IDEMPOTENCY_KEY: &str = "idempotency_key";
const ALL: &str = "all";

/// A request to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path, filled in.
    pub path: String,
    /// The query's pairs.
    pub query: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Map<String, Value>,
    /// The `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Every page instead of one.
    pub all: bool,
}

fn flag_name(field: &str) -> String {
    field.replace('_', "-")
}

fn argument(field: &Field) -> Arg {
    let argument = Arg::new(field.name.clone()).help(field.about.clone()).value_name(field.name.to_uppercase());
    let argument = match field.place {
        Place::Path => return argument.required(true),
        Place::Query | Place::Body => argument.long(flag_name(&field.name)),
    };
    match field.kind {
        Kind::Text => argument,
        Kind::Number => argument.value_parser(clap::value_parser!(i64)).allow_negative_numbers(true),
        Kind::Flag => argument
            .value_parser(clap::value_parser!(bool))
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Texts => argument.value_delimiter(',').action(ArgAction::Append),
        Kind::Json => argument.value_name("JSON"),
    }
}

/// The command of an operation.
pub fn command(operation: &Operation) -> Command {
    let mut command = Command::new(operation.verb.clone())
        .about(operation.about.clone())
        .after_help(format!("{} {}", operation.method, operation.path));
    for field in &operation.fields {
        command = command.arg(argument(field));
    }
    if operation.fields.iter().any(|field| field.place == Place::Body) {
        let body = Arg::new(BODY).long(BODY).value_name("JSON");
        command = command.arg(body.help("The whole body as JSON, or @FILE, or - for standard input; flags change it"));
    }
    if operation.is_idempotent {
        let key = Arg::new(IDEMPOTENCY_KEY).long("idempotency-key").value_name("KEY");
        command = command.arg(key.help("The same request with the same key is done once"));
    }
    if operation.is_paged {
        let all = Arg::new(ALL).long(ALL).action(ArgAction::SetTrue);
        command = command.arg(all.help("Every page, not one"));
    }
    command
}

fn document(name: &str, text: &str) -> Result<Value, CliError> {
    serde_json::from_str(text).map_err(|e| CliError::Usage(format!("--{}: {e}", flag_name(name))))
}

/// What was given for a field; `None` where nothing was.
fn value(field: &Field, given: &ArgMatches) -> Result<Option<Value>, CliError> {
    let text = |name: &str| given.get_one::<String>(name).cloned();
    let name = field.name.as_str();
    Ok(match (field.place, field.kind) {
        (Place::Path, _) | (_, Kind::Text) => text(name).map(Value::String),
        (_, Kind::Number) => given.get_one::<i64>(name).map(|number| Value::from(*number)),
        (_, Kind::Flag) => given.get_one::<bool>(name).map(|flag| Value::from(*flag)),
        (_, Kind::Texts) => given
            .get_many::<String>(name)
            .map(|texts| Value::Array(texts.filter(|text| !text.is_empty()).cloned().map(Value::String).collect())),
        (_, Kind::Json) => text(name).map(|text| document(name, &text)).transpose()?,
    })
}

fn query_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(query_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A text as one segment of a path or one value of a query (RFC 3986): all but the unreserved is escaped.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The request that was asked for. `read` gives what `--body` names.
pub fn request(
    operation: &Operation,
    given: &ArgMatches,
    read: impl Fn(&str) -> Result<String, CliError>,
) -> Result<Request, CliError> {
    let has_body = operation.fields.iter().any(|field| field.place == Place::Body);
    let given_body = if has_body { given.get_one::<String>(BODY) } else { None };
    let mut body = match given_body {
        Some(source) => match document(BODY, &read(source)?)? {
            Value::Object(fields) => fields,
            _ => return Err(CliError::Usage("--body: a JSON object is needed".to_owned())),
        },
        None => Map::new(),
    };
    let (mut path, mut query) = (operation.path.clone(), Vec::new());
    for field in &operation.fields {
        let Some(value) = value(field, given)? else { continue };
        match field.place {
            Place::Path => path = path.replace(&format!("{{{}}}", field.name), &escaped(&query_text(&value))),
            Place::Query => query.push((field.name.clone(), query_text(&value))),
            Place::Body => {
                body.insert(field.name.clone(), value);
            }
        }
    }
    Ok(Request {
        method: operation.method.clone(),
        path,
        query,
        body,
        idempotency_key: if operation.is_idempotent { given.get_one(IDEMPOTENCY_KEY).cloned() } else { None },
        all: operation.is_paged && given.get_flag(ALL),
    })
}

impl Request {
    /// Path and query.
    pub fn target(&self) -> String {
        let pairs = self.query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        match pairs.collect::<Vec<_>>() {
            pairs if pairs.is_empty() => self.path.clone(),
            pairs => format!("{}?{}", self.path, pairs.join("&")),
        }
    }

    /// Asks for the page that begins here instead.
    pub fn turn_to(&mut self, page_token: &str) {
        self.query.retain(|(name, _)| name != PAGE_TOKEN);
        self.query.push((PAGE_TOKEN.to_owned(), page_token.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation() -> Operation {
        let field = |name: &str, place, kind| Field {
            name: name.to_owned(),
            about: String::new(),
            place,
            kind,
            is_required: false,
        };
        Operation {
            noun: "thing".to_owned(),
            verb: "change".to_owned(),
            about: String::new(),
            method: "PATCH".to_owned(),
            path: "/v1/things/{thing}".to_owned(),
            fields: vec![
                field("thing", Place::Path, Kind::Text),
                field("page_token", Place::Query, Kind::Text),
                field("user_names", Place::Body, Kind::Texts),
                field("muted", Place::Body, Kind::Flag),
                field("size", Place::Body, Kind::Number),
                field("settings", Place::Body, Kind::Json),
            ],
            is_paged: true,
            is_idempotent: true,
        }
    }

    fn asked(arguments: &[&str]) -> Result<Request, CliError> {
        let given = command(&operation()).try_get_matches_from([&["change"], arguments].concat()).unwrap();
        request(&operation(), &given, |source| Ok(source.to_owned()))
    }

    #[test]
    fn flags_go_where_their_fields_stand() {
        let request =
            asked(&["a/b?", "--user-names", "x,y", "--user-names=z", "--muted", "--size=-3", "--settings={\"a\":1}"]);
        let request = request.unwrap();
        assert_eq!(request.target(), "/v1/things/a%2Fb%3F");
        let body = json!({ "user_names": ["x", "y", "z"], "muted": true, "size": -3, "settings": { "a": 1 } });
        assert_eq!(Value::Object(request.body), body);
    }

    #[test]
    fn flags_change_a_body_that_was_given_whole() {
        let request = asked(&["t", "--body", r#"{"size":1,"other":2}"#, "--size", "5", "--muted=false"]).unwrap();
        assert_eq!(Value::Object(request.body), json!({ "size": 5, "other": 2, "muted": false }));
    }

    #[test]
    fn what_is_no_json_is_told() {
        for wrong in [["t", "--body", "{"], ["t", "--body", "[]"], ["t", "--settings", "{]"]] {
            assert!(matches!(asked(&wrong), Err(CliError::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn pages_are_turned() {
        let mut request = asked(&["t", "--page-token", "1", "--all"]).unwrap();
        assert!(request.all);
        request.turn_to("2/ä");
        assert_eq!(request.target(), "/v1/things/t?page_token=2%2F%C3%A4");
    }
}
