//! Errors on their way between roles.

use std::time::Duration;

use stonechat_errors::{Code, Error};
use stonechat_proto::v1;
use stonechat_rows::RowsError;

/// The error that a frame of another role carries.
pub(super) fn from_frame(frame: v1::Error) -> Error {
    let Some(code) = Code::from_name(&frame.code) else {
        // Of a newer release.
        let code = if frame.retryable { Code::Unavailable } else { Code::Internal };
        return Error::new(code, frame.reason);
    };
    let wait = (frame.retry_after_ms > 0).then(|| Duration::from_millis(frame.retry_after_ms.into()));
    Error { retry_after: wait, ..Error::new(code, frame.reason) }
}

/// A request of another role that cannot be read.
pub(super) fn unreadable(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("unreadable request: {what}"))
}

/// An error of rows, for a role that asked.
pub(super) fn of_rows(error: RowsError) -> Error {
    match error {
        RowsError::Unavailable(reason) => Error::unavailable(reason),
        RowsError::BadRequest(reason) => Error::invalid(reason),
        RowsError::Corrupt(reason) => Error::new(Code::Internal, reason),
    }
}

/// The error of rows that another role told of.
pub(super) fn to_rows(error: Error) -> RowsError {
    match error.code {
        Code::InvalidArgument | Code::TooLarge => RowsError::BadRequest(error.reason.into_owned()),
        Code::Internal => RowsError::Corrupt(error.reason.into_owned()),
        _ => RowsError::Unavailable(error.to_string()),
    }
}
