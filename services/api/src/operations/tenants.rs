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
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":false,"message_retention_days":0}"#,
        },
        ..Operation::new("TenantService", "CreateTenant", Http::Post, "/v1/tenants", 201)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        codes: &[],
        example: Example {
            request: r#"{"page_size":2}"#,
            answer: r#"{"tenants":[{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":false,"message_retention_days":0}],"next_page_token":"beta"}"#,
        },
        ..Operation::new("TenantService", "ListTenants", Http::Get, "/v1/tenants", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":false,"message_retention_days":0}"#,
        },
        ..Operation::new("TenantService", "GetTenant", Http::Get, "/v1/tenants/{tenant}", 200)
    },
    Operation {
        required: &["kind"],
        callers: Callers::ADMINS,
        repeat: Repeat::Stored,
        class: Class::Admin,
        codes: &[Code::NotFound, Code::TooLarge, Code::LimitExceeded],
        example: Example {
            request: r#"{"tenant":"acme","kind":"server","name":"backend","scopes":["read","write"]}"#,
            answer: r#"{"id":"k4f0","kind":"server","name":"backend","created":"2026-01-02T03:04:05Z","disabled":false,"secret":"sk_k4f0_...","scopes":["read","write"]}"#,
        },
        ..Operation::new("TenantService", "CreateKey", Http::Post, "/v1/tenants/{tenant}/keys", 201)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"keys":[{"id":"k4f0","kind":"server","name":"backend","created":"2026-01-02T03:04:05Z","disabled":false,"scopes":["read","write"]}]}"#,
        },
        ..Operation::new("TenantService", "ListKeys", Http::Get, "/v1/tenants/{tenant}/keys", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme","key":"k4f0"}"#, answer: r#"{}"# },
        ..Operation::new("TenantService", "DisableKey", Http::Delete, "/v1/tenants/{tenant}/keys/{key}", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        repeat: Repeat::Stored,
        class: Class::Admin,
        example: Example { request: r#"{"tenant":"acme","key":"k4f0"}"#, answer: r#"{}"# },
        ..Operation::new("TenantService", "DisableKey", Http::Post, "/v1/tenants/{tenant}/keys/{key}/disable", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        codes: &[Code::NotFound, Code::TooLarge, Code::FailedPrecondition],
        example: Example {
            request: r#"{"tenant":"acme","message_retention_days":365,"direct_downloads":true}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":false,"message_retention_days":365,"direct_downloads":true}"#,
        },
        ..Operation::new("TenantService", "UpdateTenant", Http::Patch, "/v1/tenants/{tenant}", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        repeat: Repeat::Stored,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":true,"message_retention_days":0}"#,
        },
        ..Operation::new("TenantService", "SuspendTenant", Http::Post, "/v1/tenants/{tenant}/suspend", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        repeat: Repeat::Stored,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"id":"acme","name":"Acme","created":"2026-01-02T03:04:05Z","suspended":false,"message_retention_days":0}"#,
        },
        ..Operation::new("TenantService", "ResumeTenant", Http::Post, "/v1/tenants/{tenant}/resume", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme"}"#,
            answer: r#"{"users":1000000,"connections":50000,"sends_per_s":5000,"storage_bytes":107374182400,"api_requests_per_s":1000}"#,
        },
        ..Operation::new("TenantService", "GetQuotas", Http::Get, "/v1/tenants/{tenant}/quotas", 200)
    },
    Operation {
        callers: Callers::OPERATOR,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme","users":1000000}"#,
            answer: r#"{"users":1000000,"connections":50000,"sends_per_s":5000,"storage_bytes":107374182400,"api_requests_per_s":1000}"#,
        },
        ..Operation::new("TenantService", "SetQuotas", Http::Patch, "/v1/tenants/{tenant}/quotas", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme","from":"2026-01-01","until":"2026-01-31"}"#,
            answer: r#"{"users":12,"days":[{"day":"2026-01-02","api_requests":120,"refused":0,"sends":64,"connections":9}],"storage_bytes":48213}"#,
        },
        ..Operation::new("TenantService", "GetUsage", Http::Get, "/v1/tenants/{tenant}/usage", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        repeat: Repeat::Stored,
        class: Class::Admin,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example {
            request: r#"{"tenant":"acme","key":"k4f0","overlap_s":3600}"#,
            answer: r#"{"id":"k7a1","kind":"server","name":"backend","created":"2026-01-02T03:04:05Z","disabled":false,"secret":"sk_k7a1_...","scopes":["read","write","admin"]}"#,
        },
        ..Operation::new("TenantService", "RotateKey", Http::Post, "/v1/tenants/{tenant}/keys/{key}/rotate", 201)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"tenant":"acme","page_size":50}"#,
            answer: r#"{"entries":[{"time":"2026-01-02T03:04:05Z","actor":"operator","key":"","operation":"TenantService/DisableKey","target":"k4f0","source":"192.0.2.7","outcome":"ok"}]}"#,
        },
        ..Operation::new("AuditService", "ListAudit", Http::Get, "/v1/tenants/{tenant}/audit", 200)
    },
    Operation {
        callers: Callers::ADMINS,
        class: Class::Admin,
        example: Example {
            request: r#"{"page_size":50}"#,
            answer: r#"{"entries":[{"time":"2026-01-02T03:04:05Z","actor":"operator","key":"","operation":"TenantService/CreateTenant","target":"acme","source":"192.0.2.7","outcome":"ok"}]}"#,
        },
        ..Operation::new("AuditService", "ListAudit", Http::Get, "/v1/audit", 200)
    },
];
