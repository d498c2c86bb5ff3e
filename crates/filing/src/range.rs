//! The `Range` header (RFC 9110, section 14).

/// What of a file a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All of it: no range, one in other units, several, or one that makes no sense.
    Whole,
    /// The bytes `first..=last`.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Bytes that are not there.
    Beyond,
}

fn number(text: &str) -> Option<u64> {
    // `parse` takes a sign, which no range has.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a `Range` header asks for of a file of this size. Several ranges are answered with the whole.
pub fn asked_range(header: Option<&str>, size_bytes: u64) -> Asked {
    let Some(set) = header.and_then(|header| header.split_once('=')) else { return Asked::Whole };
    if !set.0.trim().eq_ignore_ascii_case("bytes") || set.1.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = set.1.trim().split_once('-') else { return Asked::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Asked::Whole,
        (true, false) => match number(last) {
            None => Asked::Whole,
            Some(0) => Asked::Beyond,
            Some(_) if size_bytes == 0 => Asked::Beyond,
            Some(suffix) => Asked::Part { first: size_bytes.saturating_sub(suffix), last: size_bytes - 1 },
        },
        (false, is_open) => {
            let Some(first) = number(first) else { return Asked::Whole };
            let last = if is_open { Some(u64::MAX) } else { number(last) };
            match last {
                Some(last) if last < first => Asked::Whole,
                Some(_) if first >= size_bytes => Asked::Beyond,
                Some(last) => Asked::Part { first, last: last.min(size_bytes - 1) },
                None => Asked::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_the_standard_says() {
        let part = |first, last| Asked::Part { first, last };
        for (header, asked) in [
            ("bytes=0-9", part(0, 9)),
            ("bytes=90-", part(90, 99)),
            ("bytes=-5", part(95, 99)),
            ("bytes=-500", part(0, 99)),
            ("bytes=95-1000", part(95, 99)),
            ("Bytes=1-1", part(1, 1)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=9-1", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes", Asked::Whole),
            ("bytes=18446744073709551616-", Asked::Whole),
            ("bytes=0-18446744073709551615", part(0, 99)),
        ] {
            assert_eq!(asked_range(Some(header), 100), asked, "{header}");
        }
        assert_eq!(asked_range(None, 100), Asked::Whole);
        assert_eq!(asked_range(Some("bytes=0-"), 0), Asked::Beyond);
        assert_eq!(asked_range(Some("bytes=-1"), 0), Asked::Beyond);
    }
}
