//! Messages.

use stonechat_errors::Code;
use stonechat_operations::{Class, Example, Http, Operation, Repeat, Shape};

use super::DONE;

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        shape: Shape::Inline("message"),
        repeat: Repeat::ClientId,
        class: Class::Send,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example {
            request: r#"{"conversation":"orders","sender":"alice","text":"order 7 is on its way"}"#,
            answer: DONE,
        },
        ..Operation::new("MessageService", "SendMessage", Http::Post, "/v1/conversations/{conversation}/messages", 201)
    },
    Operation {
        example: Example {
            request: r#"{"conversation":"orders","after":6,"page_size":50}"#,
            answer: r#"{"messages":[{"seq":7,"sender":"alice","time":"2026-01-02T03:04:05Z","type":"message","text":"order 7 is on its way"}],"last_seq":7,"more":false}"#,
        },
        ..Operation::new("MessageService", "ListMessages", Http::Get, "/v1/conversations/{conversation}/messages", 200)
    },
    Operation {
        shape: Shape::Inline("message"),
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example {
            request: r#"{"conversation":"orders","seq":7,"sender":"alice","text":"order 7 has arrived"}"#,
            answer: DONE,
        },
        ..Operation::new(
            "MessageService",
            "EditMessage",
            Http::Patch,
            "/v1/conversations/{conversation}/messages/{seq}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","seq":7,"sender":"alice"}"#, answer: DONE },
        ..Operation::new(
            "MessageService",
            "RecallMessage",
            Http::Delete,
            "/v1/conversations/{conversation}/messages/{seq}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded, Code::TooLarge],
        example: Example {
            request: r#"{"conversation":"orders","seq":7,"emoji":"👍","sender":"bob"}"#, answer: DONE
        },
        ..Operation::new(
            "MessageService",
            "AddReaction",
            Http::Put,
            "/v1/conversations/{conversation}/messages/{seq}/reactions/{emoji}",
            200,
        )
    },
    Operation {
        required: &["emoji"],
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example {
            request: r#"{"conversation":"orders","seq":7,"emoji":"👍","sender":"bob"}"#, answer: DONE
        },
        ..Operation::new(
            "MessageService",
            "AddReaction",
            Http::Post,
            "/v1/conversations/{conversation}/messages/{seq}/reactions",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example {
            request: r#"{"conversation":"orders","seq":7,"emoji":"👍","sender":"bob"}"#, answer: DONE
        },
        ..Operation::new(
            "MessageService",
            "RemoveReaction",
            Http::Delete,
            "/v1/conversations/{conversation}/messages/{seq}/reactions/{emoji}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","seq":7,"sender":"bob"}"#, answer: DONE },
        ..Operation::new(
            "MessageService",
            "HideMessage",
            Http::Post,
            "/v1/conversations/{conversation}/messages/{seq}/hide",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example { request: r#"{"conversation":"orders","seq":7}"#, answer: DONE },
        ..Operation::new(
            "MessageService",
            "PinMessage",
            Http::Put,
            "/v1/conversations/{conversation}/messages/{seq}/pin",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","seq":7}"#, answer: DONE },
        ..Operation::new(
            "MessageService",
            "UnpinMessage",
            Http::Delete,
            "/v1/conversations/{conversation}/messages/{seq}/pin",
            200,
        )
    },
    Operation {
        repeat: Repeat::Safe,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example {
            request: r#"{"conversation":"orders","sender":"bob","read_seq":7}"#,
            answer: r#"{"seq":3,"time":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("MessageService", "MarkRead", Http::Post, "/v1/conversations/{conversation}/read", 200)
    },
];
