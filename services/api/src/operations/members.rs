//! Members of conversations.

use stonechat_errors::Code;
use stonechat_operations::{Example, Http, Operation, Repeat, Shape};

use super::DONE;

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        required: &["users"],
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example { request: r#"{"conversation":"orders","users":["carol"]}"#, answer: DONE },
        ..Operation::new("MemberService", "AddMembers", Http::Post, "/v1/conversations/{conversation}/members", 200)
    },
    Operation {
        required: &["users"],
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition, Code::LimitExceeded],
        example: Example { request: r#"{"conversation":"orders","users":["carol"]}"#, answer: DONE },
        ..Operation::new(
            "MemberService",
            "RemoveMembers",
            Http::Delete,
            "/v1/conversations/{conversation}/members",
            200,
        )
    },
    Operation {
        shape: Shape::Single("user", "users"),
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","user":"carol"}"#, answer: DONE },
        ..Operation::new(
            "MemberService",
            "RemoveMembers",
            Http::Delete,
            "/v1/conversations/{conversation}/members/{user}",
            200,
        )
    },
    Operation {
        example: Example {
            request: r#"{"conversation":"orders"}"#,
            answer: r#"{"members":[{"user":"alice","role":"owner","joined_seq":1,"read_seq":7,"delivered_seq":7}]}"#,
        },
        ..Operation::new("MemberService", "ListMembers", Http::Get, "/v1/conversations/{conversation}/members", 200)
    },
    Operation {
        required: &["role"],
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","user":"bob","role":"admin"}"#, answer: DONE },
        ..Operation::new(
            "MemberService",
            "SetMemberRole",
            Http::Patch,
            "/v1/conversations/{conversation}/members/{user}",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example {
            request: r#"{"conversation":"orders","user":"bob","until":"2026-01-02T04:00:00Z"}"#,
            answer: DONE,
        },
        ..Operation::new(
            "MemberService",
            "MuteMember",
            Http::Post,
            "/v1/conversations/{conversation}/members/{user}/mute",
            200,
        )
    },
    Operation {
        repeat: Repeat::ClientId,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example { request: r#"{"conversation":"orders","sender":"bob"}"#, answer: DONE },
        ..Operation::new(
            "MemberService",
            "LeaveConversation",
            Http::Post,
            "/v1/conversations/{conversation}/leave",
            200,
        )
    },
];
