//! The codes.

use std::fmt;

macro_rules! codes {
    ($($name:ident, $text:literal, $http:literal, $grpc:ident, $retry:literal, $what:literal;)*) => {
        /// A code of the catalogue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $what] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in JSON and in frames.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status.
            pub fn http(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// The gRPC status.
            pub fn grpc(self) -> tonic::Code {
                match self { $(Self::$name => tonic::Code::$grpc,)* }
            }

            /// Whether the same may be tried again unchanged.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// What it means, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// The code of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    InvalidArgument, "invalid_argument", 400, InvalidArgument, false, "An argument is not as it should be.";
    Unauthenticated, "unauthenticated", 401, Unauthenticated, false, "No credential, or one that is not valid.";
    PermissionDenied, "permission_denied", 403, PermissionDenied, false, "The caller may not do this.";
    NotFound, "not_found", 404, NotFound, false, "There is no such thing, or the caller may not see it.";
    AlreadyExists, "already_exists", 409, AlreadyExists, false, "The id is taken.";
    Conflict, "conflict", 409, Aborted, false, "The same client id came with other content, or the thing changed meanwhile.";
    FailedPrecondition, "failed_precondition", 422, FailedPrecondition, false, "The thing's present state does not allow this.";
    TooLarge, "too_large", 413, OutOfRange, false, "Something is larger than its limit.";
    LimitExceeded, "limit_exceeded", 422, FailedPrecondition, false, "A limit of the table of limits is reached.";
    RateLimited, "rate_limited", 429, ResourceExhausted, true, "Too many requests; wait as long as the answer says.";
    Unavailable, "unavailable", 503, Unavailable, true, "A part of the service does not answer now; try again.";
    DeadlineExceeded, "deadline_exceeded", 504, DeadlineExceeded, true, "The answer did not come in time; try again with the same client id.";
    Internal, "internal", 500, Internal, false, "Something broke here.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
