//! Conversations.

use stonechat_errors::Code;
use stonechat_operations::{Example, Http, Operation, Repeat};

use super::DONE;

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        required: &["kind"],
        repeat: Repeat::ClientId,
        codes: &[Code::AlreadyExists, Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example {
            request: r#"{"id":"orders","kind":"group","members":["alice","bob"],"settings":{"name":"Orders"}}"#,
            answer: r#"{"id":"orders","kind":"group","settings":{"name":"Orders","avatar":"","announcement":"","who_may_post":"members","who_may_add":"members","read_receipts":true},"last_seq":1,"member_count":2,"created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z","read_seq":0,"delivered_seq":0}"#,
        },
        ..Operation::new("ConversationService", "CreateConversation", Http::Post, "/v1/conversations", 201)
    },
    Operation {
        codes: &[],
        example: Example {
            request: r#"{"sender":"alice","page_size":10}"#,
            answer: r#"{"conversations":[{"id":"orders","kind":"group","settings":{"name":"Orders","avatar":"","announcement":"","who_may_post":"members","who_may_add":"members","read_receipts":true},"last_seq":1,"member_count":2,"created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z","read_seq":0,"delivered_seq":0}]}"#,
        },
        ..Operation::new("ConversationService", "ListConversations", Http::Get, "/v1/conversations", 200)
    },
    Operation {
        example: Example {
            request: r#"{"conversation":"orders"}"#,
            answer: r#"{"id":"orders","kind":"group","settings":{"name":"Orders","avatar":"","announcement":"","who_may_post":"members","who_may_add":"members","read_receipts":true},"last_seq":1,"member_count":2,"created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z","read_seq":0,"delivered_seq":0}"#,
        },
        ..Operation::new("ConversationService", "GetConversation", Http::Get, "/v1/conversations/{conversation}", 200)
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","settings":{"name":"All orders"}}"#, answer: DONE },
        ..Operation::new(
            "ConversationService",
            "UpdateConversation",
            Http::Patch,
            "/v1/conversations/{conversation}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders"}"#, answer: DONE },
        ..Operation::new(
            "ConversationService",
            "DismissConversation",
            Http::Post,
            "/v1/conversations/{conversation}/dismiss",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders"}"#, answer: DONE },
        ..Operation::new(
            "ConversationService",
            "DismissConversation",
            Http::Delete,
            "/v1/conversations/{conversation}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders"}"#, answer: DONE },
        ..Operation::new(
            "ConversationService",
            "UpgradeConversation",
            Http::Post,
            "/v1/conversations/{conversation}/upgrade",
            200,
        )
    },
    Operation {
        required: &["to"],
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","to":"bob"}"#, answer: DONE },
        ..Operation::new(
            "ConversationService",
            "TransferConversation",
            Http::Post,
            "/v1/conversations/{conversation}/transfer",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example {
            request: r#"{"conversation":"orders","sender":"alice","muted":true}"#,
            answer: r#"{"conversation":"orders","seq":3,"time":"2026-01-02T03:04:05Z","id":"019b7a1c-5e00-7000-8000-000000000001"}"#,
        },
        ..Operation::new(
            "ConversationService",
            "UpdatePreferences",
            Http::Patch,
            "/v1/conversations/{conversation}/preferences",
            200,
        )
    },
];
