//! Requests made from the descriptors of the contracts, whatever they hold.

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Stands for a client id until the request is finished.
const CLIENT_ID: &str = "00000000-0000-7000-8000-000000000000";

/// What stands in the fields of a request.
#[derive(Debug, Clone)]
pub struct Names {
    pub tenant: String,
    pub user: String,
    pub conversation: String,
    pub key: String,
    pub token: String,
}

/// The contracts.
pub struct Contracts {
    set: FileDescriptorSet,
}

/// One call of a service.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// `/package.Service/Method`.
    pub path: String,
    /// The request's type, `.package.Name`.
    pub request: String,
    pub client_streaming: bool,
}

impl Contracts {
    pub fn new() -> Self {
        Self { set: FileDescriptorSet::decode(stonechat_proto::DESCRIPTORS).expect("descriptors") }
    }

    /// Every call of the services of a package.
    pub fn rpcs(&self, package: &str) -> Vec<Rpc> {
        let mut rpcs = Vec::new();
        for file in self.set.file.iter().filter(|file| file.package() == package) {
            for service in &file.service {
                rpcs.extend(service.method.iter().map(|method| Rpc {
                    path: format!("/{package}.{}/{}", service.name(), method.name()),
                    request: method.input_type().to_owned(),
                    client_streaming: method.client_streaming(),
                }));
            }
        }
        rpcs
    }

    fn message(&self, path: &str) -> &DescriptorProto {
        let found = self.set.file.iter().find_map(|file| {
            let name = path.strip_prefix(&format!(".{}.", file.package()))?;
            file.message_type.iter().find(|message| message.name() == name)
        });
        found.unwrap_or_else(|| panic!("no message {path}"))
    }

    /// Requests of a type, each with another variant of its one-ofs, optional fields and kinds; every text that
    /// names something holds one of these names. Encoded, with the variants' names; each has a client id of its own.
    pub fn requests(&self, path: &str, names: &Names) -> Vec<(String, Vec<u8>)> {
        let mut requests = self.variants(path, names);
        for (_, bytes) in &mut requests {
            let place = bytes.windows(CLIENT_ID.len()).position(|window| window == CLIENT_ID.as_bytes());
            if let Some(at) = place {
                let id = uuid::Uuid::now_v7().to_string();
                bytes[at..at + CLIENT_ID.len()].copy_from_slice(id.as_bytes());
            }
        }
        requests
    }

    fn variants(&self, path: &str, names: &Names) -> Vec<(String, Vec<u8>)> {
        let message = self.message(path);
        let mut all = vec![(String::new(), Vec::new())];
        let mut groups: Vec<Vec<(String, Vec<u8>)>> = Vec::new();
        for field in &message.field {
            if field.oneof_index.is_none() {
                let mut options = self.field(message, field, names);
                if options.len() == 1 {
                    options[0].0.clear();
                }
                groups.push(options);
            }
        }
        for (index, oneof) in (0..).zip(&message.oneof_decl) {
            let of = message.field.iter().filter(|field| field.oneof_index == Some(index));
            let mut options: Vec<_> = of.flat_map(|field| self.field(message, field, names)).collect();
            if oneof.name().starts_with('_') {
                options.insert(0, (String::new(), Vec::new()));
            }
            groups.push(options);
        }
        for options in groups {
            let combine = |(name, bytes): &(String, Vec<u8>)| {
                let one = |(n, b): &(String, Vec<u8>)| (join(name, n), [bytes.as_slice(), b].concat());
                options.iter().map(one).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(combine).collect();
        }
        all
    }

    /// The ways to fill a field.
    fn field(&self, message: &DescriptorProto, field: &FieldDescriptorProto, names: &Names) -> Vec<(String, Vec<u8>)> {
        let number = u64::try_from(field.number()).expect("positive");
        let name = field.name().to_owned();
        let delimited = |bytes: &[u8]| {
            let mut out = varint(number << 3 | 2);
            out.extend(varint(bytes.len() as u64));
            out.extend_from_slice(bytes);
            out
        };
        match field.r#type() {
            Type::Message => {
                let inner = self.variants(field.type_name(), names);
                inner.into_iter().map(|(n, bytes)| (join(&name, &n), delimited(&bytes))).collect()
            }
            Type::String | Type::Bytes => vec![(name, delimited(text(message.name(), field, names).as_bytes()))],
            // Of a kind of conversation each; of other enumerations the first value that is set.
            Type::Enum if field.type_name().ends_with("ConversationKind") => {
                (1..=3).map(|kind| (format!("{name}={kind}"), [varint(number << 3), varint(kind)].concat())).collect()
            }
            Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                vec![(name, [varint(number << 3 | 1), vec![0; 8]].concat())]
            }
            Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                vec![(name, [varint(number << 3 | 5), vec![0; 4]].concat())]
            }
            _ if field.label() == Label::Repeated => vec![(name, delimited(&[1]))],
            _ => vec![(name, [varint(number << 3), varint(1)].concat())],
        }
    }
}

/// What a text field holds, by its name and its message's.
fn text(message: &str, field: &FieldDescriptorProto, names: &Names) -> String {
    let by_message = |id: &str| match id {
        m if m.contains("Conversation") => Some(&names.conversation),
        m if m.contains("User") => Some(&names.user),
        m if m.contains("Tenant") => Some(&names.tenant),
        m if m.contains("Key") => Some(&names.key),
        _ => None,
    };
    match field.name() {
        "conversation" | "conversations" | "conversation_id" => names.conversation.clone(),
        "user" | "users" | "members" | "sender" | "to" | "unsubscribe" | "mentions" | "user_id" | "as_user"
        | "reader" => names.user.clone(),
        "tenant" | "tenant_id" => names.tenant.clone(),
        "key" | "key_id" => names.key.clone(),
        "id" => by_message(message).map_or_else(|| "x".to_owned(), Clone::clone),
        "token" => names.token.clone(),
        "client_id" => CLIENT_ID.to_owned(),
        "kind" => "hs256".to_owned(),
        "emoji" => "👍".to_owned(),
        "data" => "{}".to_owned(),
        "page_token" | "traceparent" | "device" => String::new(),
        _ => "x".to_owned(),
    }
}

fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", one) | (one, "") => one.to_owned(),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number, &mut bytes);
    bytes
}
