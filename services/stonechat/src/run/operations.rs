//! Every operation of the API, whichever service has it.

use serde_json::Value;
use stonechat_operations::Operation;

/// The operations of services beside the api: its documents and the command line show them as well.
pub const OTHERS: &[&[Operation]] = &[];

/// The OpenAPI document of every operation.
pub fn document() -> Value {
    stonechat_api::openapi_document(OTHERS)
}
