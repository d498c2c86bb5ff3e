//! The public contract as its descriptors tell it, in the words of its JSON shape.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use stonechat_proto::shape;

/// The package of the public contract.
const PACKAGE: &str = "stonechat.v1";
/// Numbers of fields in `google.protobuf.FileDescriptorProto` and its parts, of which paths to comments consist.
mod number {
    pub const MESSAGE: i32 = 4;
    pub const SERVICE: i32 = 6;
    pub const FIELD: i32 = 2;
    pub const METHOD: i32 = 2;
}

/// The public contract.
#[derive(Debug, Default)]
pub struct Contract {
    /// The RPCs, by `Service/Method`.
    pub methods: BTreeMap<String, Method>,
    /// The messages by their names.
    pub messages: BTreeMap<String, Message>,
    /// The enums by their names: short names in JSON, without the unspecified one.
    pub enums: BTreeMap<String, Vec<String>>,
    /// The services' comments by their names.
    pub services: BTreeMap<String, String>,
}

/// An RPC.
#[derive(Debug)]
pub struct Method {
    /// What it does.
    pub comment: String,
    /// The request's message.
    pub request: String,
    /// The answer's message.
    pub answer: String,
    /// Whether requests or answers are streams.
    pub is_streaming: bool,
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub comment: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name in the contract.
    pub proto_name: String,
    /// Its name in JSON.
    pub name: String,
    /// What it is.
    pub comment: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is a list.
    pub is_list: bool,
    /// Whether it may be null.
    pub is_optional: bool,
    /// Whether JSON always has it.
    pub is_always_there: bool,
    /// The one-of that it is of.
    pub one_of: Option<String>,
}

/// What a field holds, as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of 0 or more.
    Unsigned,
    /// A whole number.
    Signed,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// A time, RFC 3339.
    Time,
    /// Any JSON.
    Document,
    /// One of an enum's names.
    Enum(String),
    /// A message.
    Message(String),
}

impl Contract {
    /// The contract of this build.
    pub fn get() -> &'static Self {
        static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);
        &CONTRACT
    }

    fn read() -> Self {
        let set = FileDescriptorSet::decode(stonechat_proto::DESCRIPTORS).unwrap_or_default();
        let mut contract = Self::default();
        set.file.iter().filter(|file| file.package() == PACKAGE).for_each(|file| contract.add(file));
        contract
    }

    /// An RPC by `Service/Method`.
    pub fn method(&self, rpc: &str) -> Option<&Method> {
        self.methods.get(rpc)
    }

    /// A message's fields; none where there is no such message.
    pub fn fields(&self, message: &str) -> &[Field] {
        self.messages.get(message).map_or(&[], |message| message.fields.as_slice())
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let comments = comments(file);
        let comment = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
        for (at, message) in (0..).zip(&file.message_type) {
            let of_field = |field: i32| comment(&[number::MESSAGE, at, number::FIELD, field]);
            let read = Message { comment: comment(&[number::MESSAGE, at]), fields: fields(message, of_field) };
            self.messages.insert(message.name().to_owned(), read);
        }
        for kind in &file.enum_type {
            let prefix = format!("{}_", shape::module(kind.name()).to_ascii_uppercase());
            let names = kind.value.iter().filter(|value| value.number() != 0);
            let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_ascii_lowercase();
            self.enums.insert(kind.name().to_owned(), names.map(|value| short(value.name())).collect());
        }
        for (at, service) in (0..).zip(&file.service) {
            self.services.insert(service.name().to_owned(), comment(&[number::SERVICE, at]));
            for (of, method) in (0..).zip(&service.method) {
                let read = Method {
                    comment: comment(&[number::SERVICE, at, number::METHOD, of]),
                    request: last(method.input_type()),
                    answer: last(method.output_type()),
                    is_streaming: method.client_streaming() || method.server_streaming(),
                };
                self.methods.insert(format!("{}/{}", service.name(), method.name()), read);
            }
        }
    }
}

fn last(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

/// The comments before declarations, by the declarations' paths, each as one paragraph.
fn comments(file: &FileDescriptorProto) -> BTreeMap<Vec<i32>, String> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let commented = locations.filter(|location| location.leading_comments.is_some());
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    commented.map(|location| (location.path.clone(), plain(location.leading_comments()))).collect()
}

fn fields(message: &DescriptorProto, comment: impl Fn(i32) -> String) -> Vec<Field> {
    (0..).zip(&message.field).map(|(at, field)| read_field(message, field, comment(at))).collect()
}

fn read_field(message: &DescriptorProto, field: &FieldDescriptorProto, comment: String) -> Field {
    let path = format!("{}.{}", message.name(), field.name());
    let is_list = field.label() == Label::Repeated;
    let kind = kind(&path, field);
    let is_optional = field.proto3_optional() || (!is_list && matches!(kind, Kind::Message(_)));
    let left_out = shape::LEFT_OUT.contains(&path.as_str()) || matches!(kind, Kind::Time | Kind::Enum(_));
    let one_of = match field.oneof_index {
        Some(at) if !field.proto3_optional() => {
            usize::try_from(at).ok().and_then(|at| message.oneof_decl.get(at)).map(|one_of| one_of.name().to_owned())
        }
        _ => None,
    };
    let name = match kind {
        Kind::Time => shape::time_name(field.name()).to_owned(),
        _ => field.name().to_owned(),
    };
    Field {
        proto_name: field.name().to_owned(),
        name,
        comment,
        kind,
        is_list,
        is_optional,
        is_always_there: !left_out && one_of.is_none(),
        one_of,
    }
}

fn kind(path: &str, field: &FieldDescriptorProto) -> Kind {
    if shape::DOCUMENTS.contains(&path) {
        return Kind::Document;
    }
    if shape::is_time(field) {
        return Kind::Time;
    }
    match field.r#type() {
        Type::String | Type::Bytes => Kind::Text,
        Type::Bool => Kind::Bool,
        Type::Double | Type::Float => Kind::Float,
        Type::Uint32 | Type::Uint64 | Type::Fixed32 | Type::Fixed64 => Kind::Unsigned,
        Type::Int32 | Type::Int64 | Type::Sint32 | Type::Sint64 | Type::Sfixed32 | Type::Sfixed64 => Kind::Signed,
        Type::Enum => Kind::Enum(last(field.type_name())),
        Type::Message | Type::Group => Kind::Message(last(field.type_name())),
    }
}
