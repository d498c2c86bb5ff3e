//! Events for who pulls them.

use stonechat_auth::Scope;
use stonechat_errors::Code;
use stonechat_operations::{Answer, Callers, Example, Http, Operation};

/// The table.
pub(super) const TABLE: &[Operation] = &[Operation {
    callers: Callers::server(Scope::Read),
    answer: Answer::Raw("text/event-stream"),
    codes: &[Code::FailedPrecondition],
    example: Example {
        request: r#"{"events":["message.*"],"once":true}"#,
        answer: r#"{"id":"evt_0c6e1f6fbf1b4d3fa9b7a8d5c0e4f1a2","type":"message.created","cursor":"CIDAtZLv8pEDEgEBGgEB","body":{"type":"message.created","timestamp":"2026-01-02T03:04:05Z","data":{"conversation":"orders","kind":"group","event":{"seq":7,"sender":"alice","time":"2026-01-02T03:04:05Z","type":"message","text":"hi"}}}}"#,
    },
    ..Operation::new("EventService", "PullEvents", Http::Get, "/v1/events", 200)
}];
