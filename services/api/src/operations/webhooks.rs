//! Webhooks.

use stonechat_auth::Scope;
use stonechat_errors::Code;
use stonechat_operations::{Callers, Example, Http, Operation, Repeat};

/// Who may look.
const READERS: Callers = Callers::server(Scope::Read);
/// Who may change where events go, which is to read them all.
const WRITERS: Callers = Callers::server(Scope::Admin);

/// The table.
pub(super) const TABLE: &[Operation] = &[
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        required: &["url"],
        codes: &[Code::LimitExceeded],
        example: Example {
            request: r#"{"url":"https://example.com/hooks","description":"orders","events":["message.*"]}"#,
            answer: r#"{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "CreateWebhook", Http::Post, "/v1/webhooks", 201)
    },
    Operation {
        callers: READERS,
        codes: &[],
        example: Example {
            request: r#"{}"#,
            answer: r#"{"webhooks":[{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","created":"2026-01-02T03:04:05Z"}]}"#,
        },
        ..Operation::new("WebhookService", "ListWebhooks", Http::Get, "/v1/webhooks", 200)
    },
    Operation {
        callers: READERS,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a"}"#,
            answer: r#"{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "GetWebhook", Http::Get, "/v1/webhooks/{webhook}", 200)
    },
    Operation {
        callers: WRITERS,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a","description":"orders"}"#,
            answer: r#"{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "UpdateWebhook", Http::Patch, "/v1/webhooks/{webhook}", 200)
    },
    Operation {
        callers: WRITERS,
        example: Example { request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a"}"#, answer: r#"{}"# },
        ..Operation::new("WebhookService", "DeleteWebhook", Http::Delete, "/v1/webhooks/{webhook}", 200)
    },
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a","overlap_s":3600}"#,
            answer: r#"{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "RotateWebhookSecret", Http::Post, "/v1/webhooks/{webhook}/rotate", 200)
    },
    Operation {
        callers: WRITERS,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a"}"#,
            answer: r#"{"id":"wh_019b7a1c5e007000800000000000000a","url":"https://example.com/hooks","description":"orders","events":["message.*"],"enabled":true,"signature":"v1","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "EnableWebhook", Http::Post, "/v1/webhooks/{webhook}/enable", 200)
    },
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a"}"#,
            answer: r#"{"message_id":"test_019b7a1c5e007000800000000000000a","event_type":"webhook.test","attempt":0,"status":200,"delivered":true,"duration_ms":12,"answer":"ok","time":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "TestWebhook", Http::Post, "/v1/webhooks/{webhook}/test", 200)
    },
    Operation {
        callers: READERS,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a","page_size":1}"#,
            answer: r#"{"deliveries":[{"message_id":"evt_0c6e1f6fbf1b4d3fa9b7a8d5c0e4f1a2","event_type":"message.created","conversation":"orders","seq":7,"attempt":1,"status":200,"delivered":true,"duration_ms":12,"answer":"ok","time":"2026-01-02T03:04:05Z"}],"next_page_token":"122724/1767323045000000/evt_1.1"}"#,
        },
        ..Operation::new("WebhookService", "ListDeliveries", Http::Get, "/v1/webhooks/{webhook}/deliveries", 200)
    },
    Operation {
        callers: READERS,
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a"}"#,
            answer: r#"{"dead_letters":[{"message_id":"evt_0c6e1f6fbf1b4d3fa9b7a8d5c0e4f1a2","event_type":"message.created","conversation":"orders","seq":7,"attempts":13,"error":"status 500","time":"2026-01-02T03:04:05Z","dead":"2026-01-03T08:04:05Z"}]}"#,
        },
        ..Operation::new("WebhookService", "ListDeadLetters", Http::Get, "/v1/webhooks/{webhook}/dead_letters", 200)
    },
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        required: &["seq"],
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a","conversation":"orders","seq":7}"#,
            answer: r#"{"message_id":"evt_0c6e1f6fbf1b4d3fa9b7a8d5c0e4f1a2","event_type":"message.created","conversation":"orders","seq":7,"attempt":0,"status":200,"delivered":true,"duration_ms":12,"answer":"ok","time":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "ReplayEvent", Http::Post, "/v1/webhooks/{webhook}/replay_event", 200)
    },
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        required: &["since"],
        codes: &[Code::NotFound, Code::LimitExceeded],
        example: Example {
            request: r#"{"webhook":"wh_019b7a1c5e007000800000000000000a","since":"2026-01-02T03:04:05Z","until":"2026-01-02T04:04:05Z"}"#,
            answer: r#"{"id":"rp_019b7a1c5e007000800000000000000a","since":"2026-01-02T03:04:05Z","until":"2026-01-02T04:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "ReplayEvents", Http::Post, "/v1/webhooks/{webhook}/replay", 202)
    },
    Operation {
        callers: WRITERS,
        required: &["url"],
        codes: &[],
        example: Example {
            request: r#"{"url":"https://example.com/before"}"#,
            answer: r#"{"url":"https://example.com/before","timeout_ms":1000,"fail_open":false,"server_messages":false,"signature":"v1","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "SetSendHook", Http::Put, "/v1/send_hook", 200)
    },
    Operation {
        callers: READERS,
        example: Example {
            request: r#"{}"#,
            answer: r#"{"url":"https://example.com/before","timeout_ms":1000,"fail_open":false,"server_messages":false,"signature":"v1","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "GetSendHook", Http::Get, "/v1/send_hook", 200)
    },
    Operation {
        callers: WRITERS,
        example: Example { request: r#"{}"#, answer: r#"{}"# },
        ..Operation::new("WebhookService", "DeleteSendHook", Http::Delete, "/v1/send_hook", 200)
    },
    Operation {
        callers: WRITERS,
        repeat: Repeat::Again,
        example: Example {
            request: r#"{"overlap_s":3600}"#,
            answer: r#"{"url":"https://example.com/before","timeout_ms":1000,"fail_open":false,"server_messages":false,"signature":"v1","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","created":"2026-01-02T03:04:05Z"}"#,
        },
        ..Operation::new("WebhookService", "RotateSendHookSecret", Http::Post, "/v1/send_hook/rotate", 200)
    },
];
