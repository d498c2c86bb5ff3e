//! What an answer means, and when an attempt follows that failed.

use std::time::Duration;

use stonechat_model::{TimeUs, limits};
use stonechat_outbound::{Answer, OutboundError};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// There is nothing to deliver: the event is not there any more, or not wanted.
    Skipped,
    /// It failed, and the receiver may have said how long it wants to be left alone.
    Failed {
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// The receiver wants no more (410).
    Gone,
}

impl Outcome {
    /// What an answer means; redirects are not followed and count as failures.
    pub fn of(answer: &Result<Answer, OutboundError>, now_us: TimeUs) -> Self {
        match answer {
            Ok(answer) => match answer.status {
                200..=299 => Self::Delivered,
                410 => Self::Gone,
                429 | 503 => {
                    let wait = answer.retry_after.as_deref().and_then(|text| retry_after(text, now_us));
                    Self::Failed { retry_after: wait }
                }
                _ => Self::Failed { retry_after: None },
            },
            Err(_) => Self::Failed { retry_after: None },
        }
    }
}

/// What a `Retry-After` asks for (RFC 9110, section 10.2.3): seconds or a date, [`limits::WEBHOOK_RETRY_AFTER_S`] at
/// most. `None` where it is neither.
pub fn retry_after(text: &str, now_us: TimeUs) -> Option<Duration> {
    let most = limits::WEBHOOK_RETRY_AFTER_S;
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean the longest wait.
        return Some(Duration::from_secs(text.parse().unwrap_or(most).min(most)));
    }
    let at_s = http_date_s(text)?;
    let wait = at_s.saturating_sub(now_us / 1_000_000);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0).min(most)))
}

/// An IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since 1970.
fn http_date_s(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if parts.next() != Some("GMT") || parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now_us = 784_111_777 * 1_000_000;
        assert_eq!(retry_after("0", now_us), Some(Duration::ZERO));
        assert_eq!(retry_after(" 120 ", now_us), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now_us), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now_us), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Thu, 29 Feb 1996 00:00:00 GMT", 825_552_000 * 1_000_000), Some(Duration::ZERO));
        let most = Some(Duration::from_secs(limits::WEBHOOK_RETRY_AFTER_S));
        for text in ["99999999999999999999999", "86400", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(retry_after(text, now_us), most, "{text}");
        }
        for text in
            ["", "-1", "1.5", "soon", "Sun, 06 Nov", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37"]
        {
            assert_eq!(retry_after(text, now_us), None, "{text}");
        }
    }

    #[test]
    fn only_what_the_receiver_took_is_delivered() {
        let answer = |status| {
            let body = bytes::Bytes::new();
            Ok(Answer { status, retry_after: Some("7".to_owned()), body, is_cut: false })
        };
        let of = |status| Outcome::of(&answer(status), 0);
        let wait = Some(Duration::from_secs(7));
        assert_eq!((of(200), of(204), of(410)), (Outcome::Delivered, Outcome::Delivered, Outcome::Gone));
        for status in [301, 302, 307, 308, 400, 404, 500, 502] {
            assert_eq!(of(status), Outcome::Failed { retry_after: None }, "{status}");
        }
        assert_eq!(of(429), Outcome::Failed { retry_after: wait });
        assert_eq!(of(503), Outcome::Failed { retry_after: wait });
        assert_eq!(Outcome::of(&Err(OutboundError::Resolve), 0), Outcome::Failed { retry_after: None });
    }
}
