//! What there is to say of an operation.

use stonechat_auth::Scope;
use stonechat_errors::Code;

/// One operation of the API in its REST form. An RPC with several REST forms stands in the table several times; the
/// first is the one that documents show.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The gRPC service, without its package.
    pub service: &'static str,
    /// The gRPC method.
    pub method: &'static str,
    /// The HTTP method.
    pub http: Http,
    /// The path, with parameters in braces. A parameter at one place of a path has the same name in every path.
    pub path: &'static str,
    /// The HTTP status of success.
    pub status: u16,
    /// How the request's fields stand in REST.
    pub shape: Shape,
    /// Fields without which the request is refused, by their REST names; those of the path need no mention.
    pub required: &'static [&'static str],
    /// Who may call.
    pub callers: Callers,
    /// What happens when the same request comes again.
    pub repeat: Repeat,
    /// Which budget it costs.
    pub class: Class,
    /// What a request brings.
    pub body: Body,
    /// What success brings.
    pub answer: Answer,
    /// What is answered beside what every operation may answer.
    pub codes: &'static [Code],
    /// An example.
    pub example: Example,
}

/// The HTTP methods of the API.
#[expect(missing_docs, reason = "HTTP's own words")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// How the fields of a REST request stand in its message, where they do not stand there as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Same,
    /// The fields of the message in this field stand beside the others.
    Inline(&'static str),
    /// A field has another name: in REST, in the message.
    Renamed(&'static str, &'static str),
    /// The one of the path, and the list in the message that it is the only item of.
    Single(&'static str, &'static str),
}

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callers {
    /// The operator.
    pub operator: bool,
    /// A server key with this scope.
    pub server: Option<Scope>,
    /// A user, by a token.
    pub user: bool,
}

/// What happens when the same request comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing more: reading, or setting to the same.
    Safe,
    /// The `client_id` of the request gives the first answer again; `Idempotency-Key` is another way to say it.
    ClientId,
    /// With an `Idempotency-Key` the first answer is kept and given again.
    Stored,
    /// It is done again.
    Again,
}

/// Which budget an operation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Sending messages for people.
    Send,
    /// Reading.
    Read,
    /// Changing.
    Write,
    /// Keys, tenants and what else is rare.
    Admin,
}

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A JSON object of fields, or nothing.
    Fields,
    /// Something of this media type, which the service reads itself. [`Backend::raw`](crate::Backend::raw) gets it.
    Raw(&'static str),
}

/// What success brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The RPC's answer as JSON.
    Json,
    /// Something of this media type, which the service writes itself. [`Backend::raw`](crate::Backend::raw) gives it.
    /// Of a JSON lines or event stream type each item is the RPC's answer.
    Raw(&'static str),
    /// Nothing, with status 204 or the like; [`Backend::raw`](crate::Backend::raw) gives it.
    Empty,
}

/// An example, tried by a test.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The REST request: path parameters, query and body in one JSON object.
    pub request: &'static str,
    /// The answer's JSON. For JSON lines and event streams one item; empty where the answer is no JSON.
    pub answer: &'static str,
}

impl Callers {
    /// The operator only.
    pub const OPERATOR: Self = Self { operator: true, server: None, user: false };
    /// A tenant's server that may read, or a user.
    pub const READERS: Self = Self { operator: false, server: Some(Scope::Read), user: true };
    /// A tenant's server that may write, or a user.
    pub const WRITERS: Self = Self { operator: false, server: Some(Scope::Write), user: true };
    /// The operator, or a server key that may administrate its own tenant.
    pub const ADMINS: Self = Self { operator: true, server: Some(Scope::Admin), user: false };

    /// A tenant's server only.
    pub const fn server(scope: Scope) -> Self {
        Self { operator: false, server: Some(scope), user: false }
    }
}

impl Operation {
    /// An operation for servers and users that is as most are: what only reads costs reading, all else writing; its
    /// fields stand as they are; something may not be found.
    pub const fn new(service: &'static str, method: &'static str, http: Http, path: &'static str, status: u16) -> Self {
        let (callers, class) = match http {
            Http::Get => (Callers::READERS, Class::Read),
            Http::Post | Http::Put | Http::Patch | Http::Delete => (Callers::WRITERS, Class::Write),
        };
        Self {
            service,
            method,
            http,
            path,
            status,
            shape: Shape::Same,
            required: &[],
            callers,
            repeat: Repeat::Safe,
            class,
            body: Body::Fields,
            answer: Answer::Json,
            codes: &[Code::NotFound],
            example: Example { request: "{}", answer: "{}" },
        }
    }

    /// The names of the path's parameters.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether the service itself reads the request or writes the answer.
    pub fn is_raw(&self) -> bool {
        self.body != Body::Fields || self.answer != Answer::Json
    }

    /// `Service/Method`.
    pub fn rpc(&self) -> String {
        format!("{}/{}", self.service, self.method)
    }
}

/// The operation of an RPC: the first of it in the table. The method's name is in its own form or in `snake_case`.
pub fn find(operations: &'static [Operation], service: &str, method: &str) -> Option<&'static Operation> {
    operations.iter().find(|operation| operation.service == service && is_same_method(operation, method))
}

/// Whether an operation is of this method, whose name is in its own form or in `snake_case`.
pub fn is_same_method(operation: &Operation, method: &str) -> bool {
    let plain = |name: &'static str| name.bytes().map(|byte| byte.to_ascii_lowercase());
    let given = method.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase());
    plain(operation.method).eq(given)
}

impl Http {
    /// As OpenAPI writes it.
    pub fn lower(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Whether requests bring their fields in a body.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Get | Self::Delete)
    }
}
