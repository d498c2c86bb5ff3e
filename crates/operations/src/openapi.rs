//! The OpenAPI 3.1 document of operations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use stonechat_errors::Code;
use stonechat_model::limits;

use crate::{Answer, Body, Callers, Contract, Http, Input, Operation, Place, Repeat, inputs, schema};

/// What every operation may answer.
const ALWAYS: &[Code] = &[
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::RateLimited,
    Code::Unavailable,
    Code::DeadlineExceeded,
    Code::Internal,
];

/// What a document says beside its operations.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// The product's version.
    pub version: &'a str,
    /// Paths that are no operations of a table, as OpenAPI has them: what streams bytes in a protocol of its own.
    pub paths: &'a [Value],
}

/// The document of these operations.
pub fn document(about: &About<'_>, operations: &[&'static Operation]) -> Value {
    let contract = Contract::get();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas = Schemas::default();
    for operation in operations {
        let first = operations.iter().find(|other| other.rpc() == operation.rpc());
        let is_first = first.is_some_and(|first| std::ptr::eq(*first, *operation));
        let described = Describe { operation, contract, is_first }.describe(&mut schemas);
        paths.entry(operation.path).or_default().insert(operation.http.lower().to_owned(), described);
    }
    for path in about.paths.iter().filter_map(Value::as_object).flatten() {
        let described = path.1.as_object().cloned().unwrap_or_default();
        paths.entry(path.0).or_default().extend(described);
    }
    let services: BTreeSet<&str> = operations.iter().map(|operation| operation.service).collect();
    let tags = services.iter().map(|service| {
        json!({ "name": tag(service), "description": contract.services.get(*service).cloned().unwrap_or_default() })
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stonechat",
            "version": about.version,
            "summary": "Chat for your product.",
            "description": "The API of tenants and of the operator. Errors are RFC 9457 problems with a `code` of the \
                catalogue. The same operations are there as gRPC, package `stonechat.v1`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas.write(),
            "securitySchemes": security_schemes(),
            "headers": headers(),
        },
    })
}

/// A service's name as a heading.
fn tag(service: &str) -> &str {
    service.strip_suffix("Service").unwrap_or(service)
}

/// Messages that the document names: those that we write, those that we take.
#[derive(Default)]
struct Schemas {
    written: BTreeMap<String, Value>,
}

impl Schemas {
    /// Adds a message with all that it refers to.
    fn add(&mut self, message: &str, is_answer: bool) {
        let name = schema::name(message, is_answer);
        if self.written.contains_key(&name) {
            return;
        }
        let (schema, refers) = schema::of_message(message, is_answer);
        self.written.insert(name, schema);
        refers.iter().for_each(|other| self.add(other, is_answer));
    }

    fn write(mut self) -> BTreeMap<String, Value> {
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let problem = json!({
            "type": "object",
            "description": "What went wrong (RFC 9457).",
            "properties": {
                "type": { "type": "string", "format": "uri-reference" },
                "title": { "type": "string", "description": "The status in words." },
                "status": { "type": "integer", "description": "The HTTP status." },
                "code": { "type": "string", "enum": codes, "description": "The code of the catalogue." },
                "detail": { "type": "string", "description": "What was wrong, for the developer." },
                "retryable": { "type": "boolean", "description": "Whether the same may be tried again unchanged." },
            },
            "required": ["type", "title", "status", "code", "detail", "retryable"],
        });
        self.written.insert("Problem".to_owned(), problem);
        self.written
    }
}

/// Describes one operation.
struct Describe<'a> {
    operation: &'static Operation,
    contract: &'a Contract,
    is_first: bool,
}

impl Describe<'_> {
    fn describe(&self, schemas: &mut Schemas) -> Value {
        let operation = self.operation;
        let method = self.contract.method(&operation.rpc());
        let comment = method.map_or("", |method| method.comment.as_str());
        let summary = comment.split(['.', ';']).next().unwrap_or_default();
        let known = inputs(operation);
        let mut described = json!({
            "operationId": self.id(),
            "tags": [tag(operation.service)],
            "summary": summary,
            "description": format!("{comment} {}", callers(operation.callers)),
            "security": security(operation.callers),
            "parameters": self.parameters(&known),
            "responses": self.responses(schemas),
            "x-stonechat-rpc": format!("stonechat.v1.{}", operation.rpc()),
            "x-stonechat-rate-class": format!("{:?}", operation.class).to_lowercase(),
        });
        if let Some(body) = self.body(&known, schemas) {
            described["requestBody"] = body;
        }
        described
    }

    /// The RPC's name; of its other REST forms with the HTTP method.
    fn id(&self) -> String {
        match self.is_first {
            true => self.operation.method.to_owned(),
            false => format!("{}By{:?}", self.operation.method, self.operation.http),
        }
    }

    fn example(&self) -> Map<String, Value> {
        match serde_json::from_str(self.operation.example.request) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    fn parameters(&self, known: &[Input]) -> Value {
        let example = self.example();
        // What a raw body brings as messages is in the body.
        let is_text = |input: &&Input| !matches!(input.field.kind, crate::Kind::Message(_));
        let outside = known.iter().filter(|input| input.place != Place::Body).filter(is_text);
        let mut parameters: Vec<Value> = outside.map(|input| parameter(input, example.get(&input.name))).collect();
        if matches!(self.operation.repeat, Repeat::ClientId | Repeat::Stored) {
            parameters.push(json!({
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key with the same request is done once and gives the same answer.",
                "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
            }));
        }
        if self.operation.callers.user {
            parameters.push(json!({
                "name": "Stonechat-Device",
                "in": "header",
                "description": "The device, for a token that is good for one device only.",
                "schema": { "type": "string", "minLength": 1, "maxLength": limits::DEVICE_ID_BYTES,
                    "pattern": "^[A-Za-z0-9._@:-]+$" },
            }));
        }
        Value::Array(parameters)
    }

    fn body(&self, known: &[Input], schemas: &mut Schemas) -> Option<Value> {
        if let Body::Raw(media) = self.operation.body {
            return Some(json!({ "required": true, "content": { media: {} } }));
        }
        let within: Vec<&Input> = known.iter().filter(|input| input.place == Place::Body).collect();
        if within.is_empty() {
            return None;
        }
        let mut properties = Map::new();
        for input in &within {
            if let crate::Kind::Message(message) = &input.field.kind {
                schemas.add(message, false);
            }
            properties.insert(input.name.clone(), schema::of_field(&input.field, false));
        }
        let required: Vec<&str> =
            within.iter().filter(|input| input.is_required).map(|input| input.name.as_str()).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let mut example = self.example();
        example.retain(|name, _| within.iter().any(|input| input.name == *name));
        Some(json!({
            "required": !required.is_empty(),
            "content": { "application/json": { "schema": schema, "example": example } },
        }))
    }

    fn responses(&self, schemas: &mut Schemas) -> Value {
        let mut responses = Map::new();
        responses.insert(self.operation.status.to_string(), self.success(schemas));
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        let mut codes: Vec<Code> = ALWAYS.iter().chain(self.operation.codes).copied().collect();
        if self.operation.http.has_body() || self.operation.http == Http::Delete {
            codes.push(Code::TooLarge);
        }
        if matches!(self.operation.repeat, Repeat::ClientId | Repeat::Stored) {
            codes.push(Code::Conflict);
        }
        for code in codes {
            let of_status = by_status.entry(code.http()).or_default();
            if !of_status.contains(&code) {
                of_status.push(code);
            }
        }
        for (status, codes) in by_status {
            responses.insert(status.to_string(), problem(&codes));
        }
        Value::Object(responses)
    }

    fn success(&self, schemas: &mut Schemas) -> Value {
        let description = match self.operation.status {
            201 => "It was made.",
            202 => "It was taken and will be done.",
            204 => "It was done; there is nothing to say.",
            _ => "It was done.",
        };
        let mut names = RATE_HEADERS.to_vec();
        if self.operation.repeat == Repeat::Stored {
            names.push("Idempotent-Replayed");
        }
        let mut response = json!({ "description": description, "headers": header_references(&names) });
        let message = self.contract.method(&self.operation.rpc()).map_or("", |method| method.answer.as_str());
        let reference = json!({ "$ref": format!("#/components/schemas/{message}") });
        let example: Value = serde_json::from_str(self.operation.example.answer).unwrap_or(Value::Null);
        match self.operation.answer {
            Answer::Json => {
                schemas.add(message, true);
                response["content"] = json!({ "application/json": { "schema": reference, "example": example } });
            }
            Answer::Raw(media) if media == "application/x-ndjson" || media == "text/event-stream" => {
                schemas.add(message, true);
                let text = json!({ "type": "string", "description": format!("Items of the type {message}.") });
                response["content"] = json!({ media: { "schema": text } });
            }
            Answer::Raw(media) => response["content"] = json!({ media: {} }),
            Answer::Empty => {}
        }
        response
    }
}

fn parameter(input: &Input, example: Option<&Value>) -> Value {
    let mut schema = schema::of_field(&input.field, false);
    if let Value::Object(schema) = &mut schema {
        schema.remove("description");
        // A query has no null: what is not given is not there.
        if let Some(kind) = schema.get("type").and_then(|kind| kind.get(0)).cloned() {
            schema.insert("type".to_owned(), kind);
        }
        if input.place == Place::Path && schema.get("type").and_then(Value::as_str) == Some("string") {
            schema.insert("minLength".to_owned(), Value::from(1));
        }
    }
    let mut parameter = json!({
        "name": input.name,
        "in": if input.place == Place::Path { "path" } else { "query" },
        "description": input.field.comment,
        "required": input.is_required,
        "schema": schema,
    });
    if input.field.is_list {
        parameter["style"] = Value::from("form");
        parameter["explode"] = Value::from(false);
    }
    if let Some(example) = example {
        parameter["example"] = example.clone();
    }
    parameter
}

fn problem(codes: &[Code]) -> Value {
    let texts: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.meaning())).collect();
    let code = codes[0];
    let example = json!({
        "type": "about:blank", "title": title(code.http()), "status": code.http(), "code": code.as_str(),
        "detail": code.meaning().trim_end_matches('.').to_lowercase(), "retryable": code.is_retryable(),
    });
    let mut response = json!({
        "description": texts.join(" "),
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" }, "example": example,
        } },
    });
    // Who is not known has no budget.
    let mut names = if codes.contains(&Code::Unauthenticated) { Vec::new() } else { RATE_HEADERS.to_vec() };
    if codes.iter().any(|code| code.is_retryable()) {
        names.push("Retry-After");
    }
    response["headers"] = header_references(&names);
    response
}

fn title(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

/// What every answer to a caller who is known says.
const RATE_HEADERS: &[&str] = &["RateLimit", "RateLimit-Policy"];

fn header_references(names: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    Value::Object(names.iter().map(reference).collect())
}

fn headers() -> Value {
    json!({
        "Retry-After": {
            "description": "How many seconds to wait.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "RateLimit": {
            "description": "What is left of the budget that is nearest to its end: its name, requests that are left \
                (`r`), seconds until it is full again (`t`).",
            "schema": { "type": "string" },
            "example": "\"api\";r=120;t=1",
        },
        "RateLimit-Policy": {
            "description": "The budgets that the request cost: names, requests at once (`q`), seconds in which an empty \
                one fills (`w`).",
            "schema": { "type": "string" },
            "example": "\"api-key\";q=1600;w=2, \"api\";q=2000;w=2",
        },
        "Idempotent-Replayed": {
            "description": "`true` where the request was done before, and this is its first answer.",
            "schema": { "type": "string", "enum": ["true"] },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "operator": { "type": "http", "scheme": "bearer", "description": "The operator's key." },
        "server": { "type": "http", "scheme": "bearer", "description": "A tenant's server key, `sk_...`." },
        "user": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A user token that the tenant signed." },
    })
}

fn security(callers: Callers) -> Value {
    let mut any = Vec::new();
    if callers.operator {
        any.push(json!({ "operator": [] }));
    }
    if callers.server.is_some() {
        any.push(json!({ "server": [] }));
    }
    if callers.user {
        any.push(json!({ "user": [] }));
    }
    Value::Array(any)
}

/// Who may call, in words.
fn callers(callers: Callers) -> String {
    let mut who = Vec::new();
    if callers.operator {
        who.push("the operator".to_owned());
    }
    if let Some(scope) = callers.server {
        who.push(format!("a server key with the scope `{scope}`"));
    }
    if callers.user {
        who.push("a user".to_owned());
    }
    format!("For {}.", who.join(", or "))
}
