//! Names of files: what of a client's name is shown and sent.

use stonechat_model::limits;

/// What a file without a name is called.
const NAMELESS: &str = "file";
/// How long an ending is kept where a name is cut off, in bytes.
const ENDING_BYTES: usize = 16;

/// Characters that turn text around, or join and hide it (UAX #9, and format characters that are not seen).
fn deceives(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A name to show: what a client says without a path, control characters, and characters that deceive the eye.
pub fn clean_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control() && !deceives(*c)).collect();
    let is_edge = |c: char| c == '.' || c.is_whitespace();
    let name = kept.trim_matches(is_edge);
    if name.is_empty() {
        return NAMELESS.to_owned();
    }
    if name.len() <= limits::FILE_NAME_BYTES {
        return name.to_owned();
    }
    let ending = name.rfind('.').map_or("", |at| &name[at..]);
    let ending = if ending.len() <= ENDING_BYTES { ending } else { "" };
    let mut end = limits::FILE_NAME_BYTES - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", name[..end].trim_end_matches(is_edge))
}

/// A `Content-Disposition` (RFC 6266): the name in ASCII for old clients, and as it is (RFC 8187).
pub fn content_disposition(name: &str, is_inline: bool) -> String {
    let name = clean_name(name);
    let ascii: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' | ';' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let mut exact = String::with_capacity(name.len() * 3);
    for byte in name.bytes() {
        // attr-char of RFC 8187.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            exact.push_str(&format!("%{byte:02X}"));
        }
    }
    let kind = if is_inline { "inline" } else { "attachment" };
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_path_and_nothing_that_deceives() {
        for (given, name) in [
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("/", "file"),
            ("..", "file"),
            ("", "file"),
            ("a\r\nSet-Cookie: x=1.txt", "aSet-Cookie: x=1.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("nul\0l.txt", "null.txt"),
            ("Grüße aus Köln.pdf", "Grüße aus Köln.pdf"),
            (" .hidden. ", "hidden"),
        ] {
            assert_eq!(clean_name(given), name, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let name = clean_name(&format!("{}.pdf", "ü".repeat(300)));
        assert!(name.len() <= limits::FILE_NAME_BYTES && name.ends_with("ü.pdf"), "{name}");
        let dotless = clean_name(&"x".repeat(1_000));
        assert_eq!(dotless.len(), limits::FILE_NAME_BYTES);
    }

    #[test]
    fn a_disposition_is_one_line_of_ascii_whatever_the_name() {
        let header = content_disposition("\"; filename=evil.html\r\nX: y\u{202e}", true);
        assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header}");
        assert_eq!(header.matches('"').count(), 2, "{header}");
        assert_eq!(
            content_disposition("naïve plan.txt", false),
            "attachment; filename=\"na_ve plan.txt\"; filename*=UTF-8''na%C3%AFve%20plan.txt"
        );
    }
}
