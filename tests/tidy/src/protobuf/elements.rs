//! Everything that a contract declares, as one flat list.

use std::{collections::HashMap, fmt::Write};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Field numbers of descriptor.proto, of which the paths of places consist.
mod tag {
    pub const FILE_MESSAGE: i32 = 4;
    pub const FILE_ENUM: i32 = 5;
    pub const FILE_SERVICE: i32 = 6;
    pub const MESSAGE_FIELD: i32 = 2;
    pub const MESSAGE_NESTED: i32 = 3;
    pub const MESSAGE_ENUM: i32 = 4;
    pub const MESSAGE_ONEOF: i32 = 8;
    pub const ENUM_VALUE: i32 = 2;
    pub const SERVICE_METHOD: i32 = 2;
}

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file; its name is its package.
    File,
    /// A message.
    Message,
    /// A field of a message.
    Field,
    /// A one-of of a message.
    Oneof,
    /// An enum.
    Enum,
    /// A value of an enum.
    Value,
    /// A service.
    Service,
    /// A call of a service.
    Rpc,
    /// Numbers and names that may not be used any more; commented or not.
    Reserved,
}

/// Something that a contract declares.
#[derive(Debug, Clone)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// The file, from the folder of the contracts.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Its own name.
    pub name: String,
    /// The full name of what it is in; for what stands in a file, the package.
    pub parent: String,
    /// Its number, of fields and values.
    pub number: Option<i32>,
    /// What it is to who speaks it, as one line: a changed line is a breaking change.
    pub shape: String,
    /// Whether a comment stands above it.
    pub commented: bool,
}

impl Element {
    /// The name with everything it is in.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.parent, self.name)
    }
}

/// The elements of a file, itself first.
pub fn of_file(file: &FileDescriptorProto) -> Vec<Element> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let places = locations
        .map(|location| {
            let line = location.span.first().map_or(0, |line| usize::try_from(*line).unwrap_or(0) + 1);
            let comment = location.leading_comments.as_deref().is_some_and(|comment| !comment.trim().is_empty());
            (location.path.as_slice(), (line, comment))
        })
        .collect();
    let mut walk = Walk { file: file.name(), places, found: Vec::new() };
    let package = file.package();
    walk.add(Kind::File, &[], "", package, None, format!("package {package}"));
    for (place, message) in numbered(&file.message_type) {
        walk.message(message, package, &[tag::FILE_MESSAGE, place]);
    }
    for (place, of) in numbered(&file.enum_type) {
        walk.enumeration(of, package, &[tag::FILE_ENUM, place]);
    }
    for (place, service) in numbered(&file.service) {
        walk.service(service, package, &[tag::FILE_SERVICE, place]);
    }
    walk.found
}

struct Walk<'a> {
    file: &'a str,
    /// Line and whether commented, by path.
    places: HashMap<&'a [i32], (usize, bool)>,
    found: Vec<Element>,
}

impl Walk<'_> {
    fn add(&mut self, kind: Kind, path: &[i32], parent: &str, name: &str, number: Option<i32>, shape: String) {
        let (line, commented) = self.places.get(path).copied().unwrap_or((0, false));
        let (file, name, parent) = (self.file.to_owned(), name.to_owned(), parent.to_owned());
        self.found.push(Element { kind, file, line, name, parent, number, shape, commented });
    }

    fn message(&mut self, message: &DescriptorProto, parent: &str, path: &[i32]) {
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        let full = format!("{parent}.{}", message.name());
        self.add(Kind::Message, path, parent, message.name(), None, format!("message {full}"));
        for (place, field) in numbered(&message.field) {
            let path = [path, &[tag::MESSAGE_FIELD, place]].concat();
            let shape = format!("field {full}.{} = {}: {}", field.name(), field.number(), field_type(field, message));
            self.add(Kind::Field, &path, &full, field.name(), Some(field.number()), shape);
        }
        for (place, oneof) in numbered(&message.oneof_decl) {
            if is_synthetic(message, place) {
                continue;
            }
            let path = [path, &[tag::MESSAGE_ONEOF, place]].concat();
            self.add(Kind::Oneof, &path, &full, oneof.name(), None, format!("oneof {full}.{}", oneof.name()));
        }
        let ranges = message.reserved_range.iter().map(|range| (range.start(), range.end() - 1));
        self.reserved(&full, path, ranges.collect(), &message.reserved_name);
        for (place, nested) in numbered(&message.nested_type) {
            self.message(nested, &full, &[path, &[tag::MESSAGE_NESTED, place]].concat());
        }
        for (place, of) in numbered(&message.enum_type) {
            self.enumeration(of, &full, &[path, &[tag::MESSAGE_ENUM, place]].concat());
        }
    }

    fn enumeration(&mut self, of: &EnumDescriptorProto, parent: &str, path: &[i32]) {
        let full = format!("{parent}.{}", of.name());
        self.add(Kind::Enum, path, parent, of.name(), None, format!("enum {full}"));
        for (place, value) in numbered(&of.value) {
            let path = [path, &[tag::ENUM_VALUE, place]].concat();
            let shape = format!("value {full}.{} = {}", value.name(), value.number());
            self.add(Kind::Value, &path, &full, value.name(), Some(value.number()), shape);
        }
        let ranges = of.reserved_range.iter().map(|range| (range.start(), range.end()));
        self.reserved(&full, path, ranges.collect(), &of.reserved_name);
    }

    fn service(&mut self, service: &ServiceDescriptorProto, parent: &str, path: &[i32]) {
        let full = format!("{parent}.{}", service.name());
        self.add(Kind::Service, path, parent, service.name(), None, format!("service {full}"));
        for (place, method) in numbered(&service.method) {
            let path = [path, &[tag::SERVICE_METHOD, place]].concat();
            let stream = |streams: bool| if streams { "stream " } else { "" };
            let shape = format!(
                "rpc {full}.{}({}{}) returns ({}{})",
                method.name(),
                stream(method.client_streaming()),
                method.input_type().trim_start_matches('.'),
                stream(method.server_streaming()),
                method.output_type().trim_start_matches('.'),
            );
            self.add(Kind::Rpc, &path, &full, method.name(), None, shape);
        }
    }

    fn reserved(&mut self, full: &str, path: &[i32], ranges: Vec<(i32, i32)>, names: &[String]) {
        for number in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            self.add(Kind::Reserved, path, full, "", Some(number), format!("reserved {full} {number}"));
        }
        for name in names {
            self.add(Kind::Reserved, path, full, name, None, format!("reserved {full} {name:?}"));
        }
    }
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}

/// Whether a one-of is only how descriptors say `optional`.
fn is_synthetic(message: &DescriptorProto, oneof: i32) -> bool {
    message.field.iter().any(|field| field.oneof_index == Some(oneof) && field.proto3_optional())
}

fn field_type(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let mut text = String::new();
    if field.proto3_optional() {
        text.push_str("optional ");
    } else if field.label() == Label::Repeated {
        text.push_str("repeated ");
    }
    match field.r#type() {
        Type::Message | Type::Enum | Type::Group => text.push_str(field.type_name().trim_start_matches('.')),
        scalar => text.push_str(scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase().as_str()),
    }
    let oneof = field.oneof_index.and_then(|place| message.oneof_decl.get(usize::try_from(place).ok()?));
    if let Some(oneof) = oneof.filter(|_| !field.proto3_optional()) {
        let _ = write!(text, " in oneof {}", oneof.name());
    }
    text
}
