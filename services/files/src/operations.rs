//! The table of what is known of files.

use stonechat_errors::Code;
use stonechat_operations::{Example, Http, Operation, Repeat};

/// Operations on what is known of files.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        required: &[],
        codes: &[],
        example: Example {
            request: r#"{"page_size":1}"#,
            answer: r#"{"files":[{"id":"fl_019b7a1c5e007000800000000000000a","owner":"alice","name":"plan.pdf","content_type":"application/pdf","size_bytes":48213,"status":"ready","url":"/v1/files/fl_019b7a1c5e007000800000000000000a","created":"2026-01-02T03:04:05Z","expires":"2026-01-03T03:04:05Z"}],"next_page_token":"fl_019b7a1c5e007000800000000000000b"}"#,
        },
        ..Operation::new("FileService", "ListFiles", Http::Get, "/v1/files", 200)
    },
    Operation {
        example: Example {
            request: r#"{"file":"fl_019b7a1c5e007000800000000000000a"}"#,
            answer: r#"{"id":"fl_019b7a1c5e007000800000000000000a","owner":"alice","name":"cat.jpg","content_type":"image/jpeg","size_bytes":48213,"status":"ready","width":800,"height":600,"blurhash":"LEHV6nWB2yk8pyo0adR*.7kCMdnj","thumbnails":[{"width":320,"height":240,"url":"/v1/files/fl_019b7a1c5e007000800000000000000a/thumbnails/small"}],"url":"/v1/files/fl_019b7a1c5e007000800000000000000a","created":"2026-01-02T03:04:05Z","expires":"2026-01-03T03:04:05Z"}"#,
        },
        ..Operation::new("FileService", "GetFile", Http::Get, "/v1/files/{file}/info", 200)
    },
    Operation {
        example: Example { request: r#"{"file":"fl_019b7a1c5e007000800000000000000a"}"#, answer: r#"{}"# },
        ..Operation::new("FileService", "DeleteFile", Http::Delete, "/v1/files/{file}", 200)
    },
    Operation {
        repeat: Repeat::Again,
        codes: &[Code::NotFound, Code::FailedPrecondition],
        example: Example {
            request: r#"{"file":"fl_019b7a1c5e007000800000000000000a","ttl_s":600}"#,
            answer: r#"{"url":"/v1/files/fl_019b7a1c5e007000800000000000000a?tenant=acme&user=alice&expires=1767323645&signature=c2lnbmVk","expires":"2026-01-02T03:14:05Z"}"#,
        },
        ..Operation::new("FileService", "CreateFileLink", Http::Post, "/v1/files/{file}/link", 200)
    },
];
