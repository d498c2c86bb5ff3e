//! Tenants and their keys.

use stonechat_errors::Code;
use stonechat_operations::{Callers, Class, Example, Http, Operation, Repeat};

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        required: &["id"],
        callers: Callers::OPERATOR,
        repeat: Repeat::Stored,
        class: Class::Admin,
        codes: &[Code::AlreadyExists, Code::TooLarge],
        example: Example {
            request: r#"{"id":"acme","name":"Acme"}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("TenantService", "CreateTenant", Http::Post, "/v1/tenants", 201)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        codes: &[],
        example: Example {
            request: r#"{"page_size":2}"#,
            answer: r#"{"tenants":[{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z"}],"next_page_token":"beta"}"#,
        },
        ..Operation::new("TenantService", "ListTenants", Http::Get, "/v1/tenants", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("TenantService", "GetTenant", Http::Get, "/v1/tenants/{tenant}", 200)
    },
    Operation {
        required: &["kind"],
        callers: Callers::OPERATOR,
        repeat: Repeat::Stored,
        class: Class::Admin,
        codes: &[Code::NotFound, Code::TooLarge],
        example: Example {
            request: r#"{"tenant":"acme","kind":"server","name":"backend"}"#,
            answer: r#"{"id":"k4f0","kind":"server","name":"backend","created":"2026-01-02T03:04:05Z","disabled":false,"secret":"sk_k4f0_..."}"#,
        },
        ..Operation::new("TenantService", "CreateKey", Http::Post, "/v1/tenants/{tenant}/keys", 201)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"keys":[{"id":"k4f0","kind":"server","name":"backend","created":"2026-01-02T03:04:05Z","disabled":false}]}"#,
        },
        ..Operation::new("TenantService", "ListKeys", Http::Get, "/v1/tenants/{tenant}/keys", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme","key":"k4f0"}"#, answer: r#"{}"# },
        ..Operation::new("TenantService", "DisableKey", Http::Delete, "/v1/tenants/{tenant}/keys/{key}", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        repeat: Repeat::Stored,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme","key":"k4f0"}"#, answer: r#"{}"# },
        ..Operation::new("TenantService", "DisableKey", Http::Post, "/v1/tenants/{tenant}/keys/{key}/disable", 200)
    },
];
