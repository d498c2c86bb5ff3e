//! What a virus scanner answers, or whoever stands in its place.

use stonechat_scan::{ScanError, Verdict, parse_answer};

/// The one answer that lets others fetch a file.
const CLEAN: &[u8] = b"stream: OK\0";
/// The longest name of what was found.
const NAME_CHARS: usize = 128;

/// Reads an answer: only one means clean, and what is shown of it is short and harmless.
pub fn answer(data: &[u8]) {
    let is_harmless = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let parsed = parse_answer(data);
    assert_eq!(parsed == Ok(Verdict::Clean), data == CLEAN, "{parsed:?}");
    match parsed {
        Ok(Verdict::Infected(name)) => {
            assert!(data.ends_with(b" FOUND\0"), "found without being said");
            assert!(name.len() <= NAME_CHARS && is_harmless(&name), "{name:?}");
        }
        Err(ScanError::Unavailable(reason)) => {
            assert!(reason.len() <= 2 * NAME_CHARS && is_harmless(&reason), "{reason:?}");
        }
        Ok(Verdict::Clean) | Err(ScanError::TooLarge) => {}
    }
}

/// What clamd answers.
pub fn seeds() -> Vec<Vec<u8>> {
    let answers: [&[u8]; 5] = [
        CLEAN,
        b"stream: Win.Test.EICAR_HDB-1 FOUND\0",
        b"INSTREAM size limit exceeded. ERROR\0",
        b"stream: Can't allocate memory ERROR\0",
        b"stream: x FOUND\0stream: OK\0",
    ];
    answers.map(<[u8]>::to_vec).to_vec()
}
