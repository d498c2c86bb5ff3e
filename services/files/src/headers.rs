//! Headers, read and written.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
};
use futures::StreamExt as _;
use stonechat_model::{TimeUs, limits};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// IMF-fixdate (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// How much of a refused body is read and dropped, and for how long.
const DROPPED_BYTES: u64 = 2 * limits::FILE_ONE_SHOT_BYTES;
const DROPPED_FOR: Duration = Duration::from_secs(5);

/// Reads and drops the body of a request that is refused: a connection that is closed while the peer still sends is
/// reset, and the peer never sees why.
pub(crate) async fn drop_body(body: Body) {
    let dropping = async {
        let (mut body, mut dropped) = (body.into_data_stream(), 0);
        while let Some(Ok(bytes)) = body.next().await {
            dropped += bytes.len() as u64;
            if dropped > DROPPED_BYTES {
                break;
            }
        }
    };
    // Whoever sends more, or slowly, is cut off.
    let _ = tokio::time::timeout(DROPPED_FOR, dropping).await;
}

/// A header's text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header that is a number: digits alone.
pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value = text(headers, name)?;
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// The length that a request's body says to have.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers, header::CONTENT_LENGTH.as_str())
}

/// A time as HTTP writes it.
pub(crate) fn http_date(time_us: TimeUs) -> String {
    let time = OffsetDateTime::from_unix_timestamp(time_us / 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(HTTP_DATE).unwrap_or_default()
}

/// Sets a header whose value is ASCII by its making; one that is not is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_http_does() {
        assert_eq!(http_date(784_111_777_000_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_number_has_no_sign() {
        let mut headers = HeaderMap::new();
        for (value, read) in [("12", Some(12)), ("+1", None), ("-1", None), ("1e3", None), ("", None)] {
            headers.insert("upload-offset", HeaderValue::from_static(value));
            assert_eq!(number(&headers, "upload-offset"), read, "{value}");
        }
    }
}
