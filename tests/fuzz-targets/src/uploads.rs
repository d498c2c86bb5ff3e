//! Headers of uploads and downloads, and names of files.

use stonechat_filing::{Asked, asked_range, clean_name, content_disposition, tus};
use stonechat_model::limits;

/// The first byte says which header, the rest is its value.
pub fn headers(data: &[u8]) {
    let Some((kind, value)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(value);
    match kind % 5 {
        0 => {
            if let Ok(found) = tus::metadata(&text) {
                name(&found.name);
            }
        }
        1 => {
            if let Ok(sum) = tus::checksum(&text) {
                let mut summing = sum.begin();
                summing.update(value);
                assert!(!summing.is_right(), "bytes that hold their own sum");
            }
        }
        2 => {
            if let Ok(tus::Concat::Final(parts)) = tus::concat(&text) {
                assert!(!parts.is_empty() && parts.len() <= limits::UPLOAD_PARTS);
            }
        }
        3 => range(&text, value.len() as u64),
        _ => name(&text),
    }
}

fn range(text: &str, size_bytes: u64) {
    for size_bytes in [0, 1, size_bytes, u64::MAX] {
        if let Asked::Part { first, last } = asked_range(Some(text), size_bytes) {
            assert!(first <= last && last < size_bytes);
        }
    }
}

fn name(text: &str) {
    let name = clean_name(text);
    assert!(!name.is_empty() && name.len() <= limits::FILE_NAME_BYTES);
    assert!(!name.contains(['/', '\\', '\u{202e}', '\u{2066}']) && !name.chars().any(char::is_control), "{name:?}");
    assert_eq!(clean_name(&name), name, "a clean name is clean");
    for is_inline in [false, true] {
        let header = content_disposition(text, is_inline);
        assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header:?}");
        assert_eq!(header.matches('"').count(), 2, "{header:?}");
    }
}

/// One good value of each header.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "\0filename d29ybGQucGRm,is_confidential,poster ZmxfMQ==,owner YWxpY2U=",
        "\u{1}sha1 Lve95gjOVATpfV8EL5X4nxwjKHE=",
        "\u{1}sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "\u{2}final;/v1/uploads/fl_1 https://chat.example/v1/uploads/fl_2",
        "\u{3}bytes=0-499",
        "\u{3}bytes=-500",
        "\u{4}../../Gr\u{fc}\u{df}e \u{202e}gpj.exe",
        "\u{4}a\"b%\r\nX: y;.tar.gz",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
