//! The deadline of a gRPC call: `grpc-timeout`, of the gRPC protocol over HTTP/2.

use std::time::Duration;

use stonechat_model::limits;
use tonic::metadata::MetadataMap;

/// The most digits of a timeout.
const DIGITS: usize = 8;

/// How long a call may take: as long as its caller waits, at most as long as any may.
pub(crate) fn of(metadata: &MetadataMap) -> Duration {
    let most = Duration::from_secs(limits::GRPC_DEADLINE_S);
    let given = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse);
    given.map_or(most, |given| given.min(most))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "é", "1é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_limit() {
        let mut metadata = MetadataMap::new();
        assert_eq!(of(&metadata), Duration::from_secs(limits::GRPC_DEADLINE_S));
        metadata.insert("grpc-timeout", "5H".parse().unwrap());
        assert_eq!(of(&metadata), Duration::from_secs(limits::GRPC_DEADLINE_S));
        metadata.insert("grpc-timeout", "3S".parse().unwrap());
        assert_eq!(of(&metadata), Duration::from_secs(3));
    }
}
