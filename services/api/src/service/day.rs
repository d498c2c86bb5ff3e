//! Days as texts: `2026-01-31`, in UTC.

use stonechat_errors::Error;
use time::{Date, OffsetDateTime, macros::format_description};

const SECONDS: i64 = 86_400;

/// A day's text as days since 1970.
pub(super) fn parse(what: &'static str, text: &str) -> Result<u64, Error> {
    let wrong = || Error::invalid(format!("{what} must be a day such as 2026-01-31"));
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|_| wrong())?;
    u64::try_from(day.midnight().assume_utc().unix_timestamp() / SECONDS).map_err(|_| wrong())
}

/// The text of a day.
pub(super) fn write(day: u64) -> String {
    let at =
        i64::try_from(day).ok().and_then(|day| OffsetDateTime::from_unix_timestamp(day.checked_mul(SECONDS)?).ok());
    at.map(|at| at.date().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_it_is_written() {
        assert_eq!(parse("from", "1970-01-02").unwrap(), 1);
        for text in ["2026-01-31", "2024-02-29"] {
            assert_eq!(write(parse("from", text).unwrap()), text);
        }
        for text in ["", "2026-02-30", "2026-1-1", "1969-12-31", "tomorrow", "99999-01-01"] {
            assert!(parse("from", text).is_err(), "{text:?}");
        }
    }
}
