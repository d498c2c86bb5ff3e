//! Data as a whole, and what is read of single messages.

use stonechat_auth::Scope;
use stonechat_errors::Code;
use stonechat_operations::{Answer, Body, Callers, Class, Example, Http, Operation, Repeat};

/// A page of messages, in examples.
const PAGE: &str = r#"{"messages":[{"seq":2,"sender":"alice","time":"2026-01-02T03:04:05Z","type":"message","text":"hi"}],"last_seq":7,"more":false}"#;
/// Work that is done, in examples.
const WORK: &str = r#"{"started":"2026-01-02T03:04:05Z","finished":"2026-01-02T03:04:06Z","conversations":3,"changed":40,"done":true}"#;

/// The table of what does not stream.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        callers: Callers::server(Scope::Write),
        required: &["users"],
        codes: &[Code::TooLarge, Code::LimitExceeded, Code::FailedPrecondition],
        example: Example {
            request: r#"{"users":[{"user":"alice","name":"Alice"}]}"#,
            answer: r#"{"users":[{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}]}"#,
        },
        ..Operation::new("DataService", "CreateUsers", Http::Post, "/v1/bulk/users", 200)
    },
    Operation {
        callers: Callers::server(Scope::Write),
        codes: &[],
        example: Example { request: r#"{"user":"alice"}"#, answer: WORK },
        ..Operation::new("DataService", "EraseUser", Http::Delete, "/v1/users/{user}", 202)
    },
    Operation {
        callers: Callers::server(Scope::Read),
        example: Example { request: r#"{"user":"alice"}"#, answer: WORK },
        ..Operation::new("DataService", "GetErasure", Http::Get, "/v1/users/{user}/erasure", 200)
    },
    Operation {
        codes: &[Code::TooLarge],
        example: Example {
            request: r#"{"user":"alice","away":true,"text":"at lunch"}"#,
            answer: r#"{"user":"alice","availability":"away","text":"at lunch"}"#,
        },
        ..Operation::new("DataService", "SetUserStatus", Http::Put, "/v1/users/{user}/status", 200)
    },
    Operation {
        codes: &[],
        example: Example {
            request: r#"{"sender":"alice"}"#,
            answer: r#"{"conversations":[{"conversation":"orders","count":2,"mentions":1,"read_seq":5}],"total":2,"more":false}"#,
        },
        ..Operation::new("DataService", "ListUnread", Http::Get, "/v1/unread", 200)
    },
    Operation {
        example: Example { request: r#"{"conversation":"orders","seq":2}"#, answer: PAGE },
        ..Operation::new("DataService", "GetMessage", Http::Get, "/v1/conversations/{conversation}/messages/{seq}", 200)
    },
    Operation {
        example: Example { request: r#"{"conversation":"orders"}"#, answer: PAGE },
        ..Operation::new("DataService", "ListPinned", Http::Get, "/v1/conversations/{conversation}/pinned", 200)
    },
    Operation {
        example: Example {
            request: r#"{"conversation":"orders","seq":2}"#,
            answer: r#"{"members":[{"user":"bob","role":"member","joined_seq":1,"read_seq":2,"delivered_seq":2}],"next_page_token":"carol"}"#,
        },
        ..Operation::new(
            "DataService",
            "ListReaders",
            Http::Get,
            "/v1/conversations/{conversation}/messages/{seq}/readers",
            200,
        )
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme"}"#, answer: WORK },
        ..Operation::new("DeletionService", "DeleteTenant", Http::Delete, "/v1/tenants/{tenant}", 202)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme"}"#, answer: WORK },
        ..Operation::new("DeletionService", "GetDeletion", Http::Get, "/v1/tenants/{tenant}/deletion", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        repeat: Repeat::Again,
        codes: &[],
        example: Example { request: "{}", answer: "{}" },
        ..Operation::new("DeletionService", "PurgeStorage", Http::Post, "/v1/storage/purge", 200)
    },
];

/// The table of what streams.
pub(super) const STREAMS: &[Operation] = &[
    Operation {
        callers: Callers::server(Scope::Write),
        class: Class::Admin,
        body: Body::Raw("application/x-ndjson"),
        codes: &[
            Code::NotFound,
            Code::Conflict,
            Code::TooLarge,
            Code::LimitExceeded,
            Code::FailedPrecondition,
            Code::AlreadyExists,
        ],
        example: Example { request: "{}", answer: r#"{"items":3,"entries":2,"users":1,"memberships":0}"# },
        ..Operation::new("TransferService", "ImportData", Http::Post, "/v1/import", 200)
    },
    Operation {
        callers: Callers::server(Scope::Read),
        class: Class::Admin,
        answer: Answer::Raw("application/x-ndjson"),
        codes: &[],
        example: Example {
            request: r#"{"user":"alice"}"#,
            answer: r#"{"user":{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}}"#,
        },
        ..Operation::new("TransferService", "ExportData", Http::Get, "/v1/export", 200)
    },
    Operation {
        callers: Callers::server(Scope::Write),
        class: Class::Admin,
        body: Body::Raw("application/x-ndjson"),
        codes: &[Code::NotFound, Code::TooLarge, Code::LimitExceeded, Code::FailedPrecondition],
        example: Example {
            request: r#"{"conversation":"orders"}"#,
            answer: r#"{"conversation":"orders","users":1000,"last_seq":12}"#,
        },
        ..Operation::new(
            "TransferService",
            "ImportMembers",
            Http::Post,
            "/v1/conversations/{conversation}/bulk-members",
            200,
        )
    },
];
