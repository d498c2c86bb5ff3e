//! Every operation of the API, whichever service has it.

use serde_json::Value;
use stonechat_api::Others;

/// What services beside the api have: its documents and the command line show it as well.
pub fn others() -> Others {
    Others { operations: &[stonechat_files::OPERATIONS], paths: vec![stonechat_files::paths()] }
}

/// The OpenAPI document of every operation.
pub fn document() -> Value {
    stonechat_api::openapi_document(&others())
}
