//! What texts may hold.

use stonechat_errors::{Code, Error};

/// Checks a text's length in bytes.
pub(crate) fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), Error> {
    if text.len() <= max {
        return Ok(());
    }
    Err(Error::new(Code::TooLarge, format!("{what} is longer than {max} bytes")))
}

/// Whether a character is shown as nothing, or turns the direction of what stands around it
/// (UAX #9: embeddings, overrides, isolates and marks).
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks a text that is shown beside others on one line, such as a name.
pub fn check_plain(what: &'static str, text: &str, max: usize) -> Result<(), Error> {
    check_length(what, text, max)?;
    if text.chars().any(is_deceptive) {
        return Err(Error::invalid(format!("{what} holds a control or bidirectional character")));
    }
    Ok(())
}

/// Checks a text of one's own, such as a message: any Unicode but NUL.
pub fn check_body(what: &'static str, text: &str, max: usize) -> Result<(), Error> {
    check_length(what, text, max)?;
    if text.contains('\0') {
        return Err(Error::invalid(format!("{what} holds NUL")));
    }
    Ok(())
}

/// Checks that JSON is not nested deeper than `max_depth`. Whether it is JSON is for its parser to say.
pub fn check_depth(what: &'static str, json: &[u8], max_depth: usize) -> Result<(), Error> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut is_escaped = false;
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max_depth {
            return Err(Error::invalid(format!("{what} is nested deeper than {max_depth} levels")));
        }
    }
    Ok(())
}

/// Checks that a text is a JSON document that is not nested deeper than `max_depth`.
pub(crate) fn check_json(what: &'static str, text: &str, max_depth: usize) -> Result<(), Error> {
    check_depth(what, text.as_bytes(), max_depth)?;
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
    parsed.map(drop).map_err(|e| Error::invalid(format!("{what} is no JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_deceives() {
        for text in ["a\0", "a\nb", "\u{202e}gnp.exe", "\u{2066}x", "\u{7f}", "\u{85}"] {
            assert!(check_plain("name", text, 100).is_err(), "{text:?}");
        }
        for text in ["", "Zoë 🦀", "日本語", "a\u{200d}b"] {
            assert!(check_plain("name", text, 100).is_ok(), "{text:?}");
        }
        assert_eq!(check_plain("name", "aaa", 2).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn json_is_checked_without_recursion() {
        assert!(check_json("data", r#"{"a":["]}",{"b":"\"[["}]}"#, 3).is_ok());
        assert!(check_json("data", "[[[[]]]]", 3).is_err());
        assert!(check_json("data", &"[".repeat(1_000_000), 64).is_err());
        for text in ["", "{", "nul", "1 2", "{\"a\":}"] {
            assert!(check_json("data", text, 64).is_err(), "{text:?}");
        }
    }
}
