//! Users.

use stonechat_auth::Scope;
use stonechat_errors::Code;
use stonechat_operations::{Callers, Example, Http, Operation, Repeat, Shape};

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        codes: &[Code::NotFound, Code::TooLarge, Code::LimitExceeded],
        example: Example {
            request: r#"{"user":"alice","name":"Alice"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "UpsertUser", Http::Put, "/v1/users/{user}", 200)
    },
    Operation {
        shape: Shape::Renamed("id", "user"),
        required: &["id"],
        repeat: Repeat::Stored,
        codes: &[Code::NotFound, Code::TooLarge, Code::LimitExceeded],
        example: Example {
            request: r#"{"id":"alice","name":"Alice"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "UpsertUser", Http::Post, "/v1/users", 201)
    },
    Operation {
        callers: Callers::server(Scope::Read),
        codes: &[],
        example: Example {
            request: r#"{"page_size":2}"#,
            answer: r#"{"users":[{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}],"next_page_token":"3/bob"}"#,
        },
        ..Operation::new("UserService", "ListUsers", Http::Get, "/v1/users", 200)
    },
    Operation {
        example: Example {
            request: r#"{"user":"alice"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "GetUser", Http::Get, "/v1/users/{user}", 200)
    },
    Operation {
        callers: Callers::server(Scope::Write),
        repeat: Repeat::Stored,
        example: Example {
            request: r#"{"user":"alice"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":false,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "DeactivateUser", Http::Post, "/v1/users/{user}/deactivate", 200)
    },
    Operation {
        callers: Callers::server(Scope::Write),
        repeat: Repeat::Stored,
        example: Example {
            request: r#"{"user":"alice"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "ActivateUser", Http::Post, "/v1/users/{user}/activate", 200)
    },
    Operation {
        callers: Callers::server(Scope::Write),
        repeat: Repeat::Stored,
        example: Example {
            request: r#"{"user":"alice","device":"phone"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "RevokeTokens", Http::Post, "/v1/users/{user}/revoke", 200)
    },
    Operation {
        example: Example {
            request: r#"{"user":"alice"}"#,
            answer: r#"{"devices":[{"device":"phone","online":true,"session":"gateway-0199f3c2a4b17d6e8c55a1d2e3f40516-7","connected":"2026-01-02T03:04:05Z"}]}"#,
        },
        ..Operation::new("UserService", "ListDevices", Http::Get, "/v1/users/{user}/devices", 200)
    },
    Operation {
        callers: Callers { user: true, ..Callers::server(Scope::Write) },
        repeat: Repeat::Stored,
        codes: &[Code::NotFound],
        example: Example {
            request: r#"{"user":"alice","device":"phone"}"#,
            answer: r#"{"id":"alice","name":"Alice","avatar":"","active":true,"created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("UserService", "DisconnectUser", Http::Post, "/v1/users/{user}/disconnect", 200)
    },
    Operation {
        required: &["users"],
        codes: &[Code::LimitExceeded],
        example: Example {
            request: r#"{"users":["alice"]}"#,
            answer: r#"{"statuses":[{"user":"alice","availability":"online"}]}"#,
        },
        ..Operation::new("UserService", "ListStatuses", Http::Get, "/v1/statuses", 200)
    },
];
