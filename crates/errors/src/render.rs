//! How an error looks outside.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use prost::Message as _;
use prost_types::Any;
use serde_json::json;
use tonic::metadata::MetadataValue;

use crate::Error;
use stonechat_proto::v1;

/// The domain of our `google.rpc.ErrorInfo`.
const DOMAIN: &str = "stonechat";

/// `google.rpc.Status`, of googleapis `google/rpc/status.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`, of googleapis `google/rpc/error_details.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

impl Error {
    fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }

    /// As the WebSocket frame that answers the client's frame `id` (0: none).
    pub fn to_frame(&self, id: u64) -> v1::Error {
        let wait = self.retry_after.map_or(0, |wait| wait.as_millis());
        v1::Error {
            id,
            code: self.code.as_str().to_owned(),
            reason: self.reason.to_string(),
            retryable: self.is_retryable(),
            retry_after_ms: wait.try_into().unwrap_or(u32::MAX),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let info = ErrorInfo { reason: error.code.as_str().to_ascii_uppercase(), domain: DOMAIN.to_owned() };
        let detail =
            Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value: info.encode_to_vec() };
        let code = error.code.grpc();
        let status = RpcStatus { code: code as i32, message: error.reason.to_string(), details: vec![detail] };
        let details = status.encode_to_vec().into();
        let mut status = tonic::Status::with_details(code, error.reason.to_string(), details);
        if let Some(seconds) = error.retry_after_s()
            && let Ok(value) = MetadataValue::try_from(seconds.to_string())
        {
            status.metadata_mut().insert("retry-after", value);
        }
        status
    }
}

/// RFC 9457 `application/problem+json`.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.into_response_with(status)
    }
}

impl Error {
    /// The problem with a status of HTTP's own, for what is no error of the catalogue, like a wrong method.
    pub fn into_response_with(self, status: StatusCode) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": self.code.as_str(),
            "detail": self.reason,
            "retryable": self.is_retryable(),
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use std::time::Duration;

    #[test]
    fn a_rate_limit_says_how_long_to_wait_in_every_form() {
        let error = Error::new(Code::RateLimited, "too many commands").retry_after(Duration::from_millis(1200));
        assert_eq!(error.to_frame(3).retry_after_ms, 1200);
        let status = tonic::Status::from(error.clone());
        assert_eq!(status.metadata().get("retry-after").unwrap(), "2");
        let rpc = RpcStatus::decode(status.details()).unwrap();
        let info = ErrorInfo::decode(rpc.details[0].value.as_slice()).unwrap();
        assert_eq!(info.reason, "RATE_LIMITED");
        let response = error.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn every_code_keeps_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
        }
    }
}
