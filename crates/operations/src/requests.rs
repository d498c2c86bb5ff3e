//! A REST request's fields: where each stands, and how they make the RPC's request.

use serde_json::Value;

use crate::{Body, Contract, Field, Fields, Kind, Operation, Shape};

/// A field of a REST request.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name in REST.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The field of the contract.
    pub field: Field,
    /// Whether the request is refused without it.
    pub is_required: bool,
    /// Whether it is of the message that stands inline.
    pub(crate) is_inline: bool,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In the body.
    Body,
}

/// The fields of an operation's REST request.
pub fn inputs(operation: &Operation) -> Vec<Input> {
    let contract = Contract::get();
    let Some(method) = contract.method(&operation.rpc()) else { return Vec::new() };
    let mut found = Vec::new();
    for field in contract.fields(&method.request) {
        match (operation.shape, &field.kind) {
            (Shape::Inline(name), Kind::Message(message)) if field.name == name => {
                let inner = contract.fields(message).iter();
                found.extend(inner.map(|inner| input(operation, &inner.name, inner.clone(), true)));
            }
            (Shape::Renamed(rest, name), _) if field.name == name => {
                found.push(input(operation, rest, field.clone(), false));
            }
            (Shape::Single(rest, name), _) if field.name == name => {
                found.push(input(operation, rest, Field { is_list: false, ..field.clone() }, false));
            }
            _ => found.push(input(operation, &field.name, field.clone(), false)),
        }
    }
    found
}

fn input(operation: &Operation, name: &str, field: Field, is_inline: bool) -> Input {
    let is_in_path = operation.path_parameters().any(|parameter| parameter == name);
    let place = match () {
        () if is_in_path => Place::Path,
        () if operation.http.has_body() && operation.body == Body::Fields => Place::Body,
        () => Place::Query,
    };
    let is_required = place == Place::Path || operation.required.contains(&name);
    Input { name: name.to_owned(), place, field, is_required, is_inline }
}

impl Shape {
    /// Brings a REST request's fields into the shape of the message.
    pub(crate) fn apply(self, inputs: &[Input], fields: &mut Fields) {
        match self {
            Self::Same => {}
            Self::Renamed(rest, name) => {
                if let Some(value) = fields.remove(rest) {
                    fields.insert(name.to_owned(), value);
                }
            }
            Self::Single(rest, name) => {
                if let Some(value) = fields.remove(rest) {
                    fields.insert(name.to_owned(), Value::Array(vec![value]));
                }
            }
            Self::Inline(name) => {
                let names = inputs.iter().filter(|input| input.is_inline).map(|input| input.name.as_str());
                let inner: Fields = names.filter_map(|name| fields.remove_entry(name)).collect();
                fields.insert(name.to_owned(), Value::Object(inner));
            }
        }
    }
}
