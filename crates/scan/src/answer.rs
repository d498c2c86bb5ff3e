//! What clamd answers. Pure.

use crate::ScanError;

/// The longest answer that is read; clamd's are a line.
pub(crate) const ANSWER_BYTES: usize = 1_024;
/// The longest name of a signature that is kept.
const NAME_CHARS: usize = 128;

/// What the scanner says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It knows nothing of it.
    Clean,
    /// It knows it by this name: printable characters of ASCII, shortened.
    Infected(String),
}

/// Reads the answer to `zINSTREAM`: `stream: OK`, `stream: NAME FOUND` or `... ERROR`, ended by a NUL. Anything else is
/// the answer of no scanner, and never "clean".
///
/// # Errors
/// [`ScanError::TooLarge`] where it says so, else [`ScanError::Unavailable`].
pub fn parse_answer(answer: &[u8]) -> Result<Verdict, ScanError> {
    let odd = || ScanError::Unavailable("scanner gave an answer that is none".to_owned());
    let line = answer.strip_suffix(b"\0").ok_or_else(odd)?;
    if line.contains(&0) {
        return Err(odd());
    }
    if line == b"stream: OK" {
        return Ok(Verdict::Clean);
    }
    if let Some(name) = line.strip_prefix(b"stream: ").and_then(|rest| rest.strip_suffix(b" FOUND")) {
        return Ok(Verdict::Infected(name_of(name)));
    }
    if line == b"INSTREAM size limit exceeded. ERROR" {
        return Err(ScanError::TooLarge);
    }
    if line.ends_with(b"ERROR") {
        return Err(ScanError::Unavailable(format!("scanner failed: {}", name_of(line))));
    }
    Err(odd())
}

/// A text of the scanner that may be shown.
fn name_of(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    bytes.iter().take(NAME_CHARS).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_clamd_are_understood() {
        assert_eq!(parse_answer(b"stream: OK\0"), Ok(Verdict::Clean));
        let name = "Win.Test.EICAR_HDB-1";
        assert_eq!(parse_answer(format!("stream: {name} FOUND\0").as_bytes()), Ok(Verdict::Infected(name.to_owned())));
        assert_eq!(parse_answer(b"INSTREAM size limit exceeded. ERROR\0"), Err(ScanError::TooLarge));
        assert!(parse_answer(b"stream: Can't allocate memory ERROR\0").is_err_and(|error| error.is_retryable()));
    }

    #[test]
    fn only_one_answer_means_clean() {
        let odd: &[&[u8]] = &[
            b"",
            b"\0",
            b"OK\0",
            b"stream: OK",
            b"stream: OK\n",
            b"stream:OK\0",
            b"stream: ok\0",
            b" stream: OK\0",
            b"stream: OK \0",
            b"stream: OK\0\0",
            b"stream: OK\0stream: OK\0",
            b"stream: x FOUND\0stream: OK\0",
            b"stream: FOUND OK\0",
            b"HTTP/1.1 200 OK\r\n\r\n\0",
            b"\xff\xfe\0",
            b"1: stream: OK\0",
        ];
        for answer in odd {
            let parsed = parse_answer(answer);
            assert!(parsed.as_ref().is_err_and(ScanError::is_retryable), "{answer:?}: {parsed:?}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        let long = format!("stream: {}\u{202e}\r\n FOUND\0", "a".repeat(500));
        let Ok(Verdict::Infected(name)) = parse_answer(long.as_bytes()) else { panic!("not found") };
        assert_eq!(name.len(), NAME_CHARS);
        let Ok(Verdict::Infected(name)) = parse_answer(b"stream: a\r\nb\x1b[0m FOUND\0") else { panic!("not found") };
        assert_eq!(name, "a??b?[0m");
    }

    /// Whatever bytes come: no panic, and clean only by the one answer.
    #[test]
    fn changed_answers_are_never_clean() {
        for answer in [&b"stream: OK\0"[..], b"stream: Eicar FOUND\0", b"INSTREAM size limit exceeded. ERROR\0"] {
            for at in 0..answer.len() {
                for value in 0..=255_u8 {
                    let mut changed = answer.to_vec();
                    changed[at] = value;
                    let is_clean = parse_answer(&changed) == Ok(Verdict::Clean);
                    assert_eq!(is_clean, changed == b"stream: OK\0");
                }
                assert_ne!(parse_answer(&answer[..at]), Ok(Verdict::Clean));
            }
        }
    }
}
