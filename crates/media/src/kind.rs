//! What a file is, by its first bytes. Names and what a client says play no part.

/// As many of a file's first bytes as [`sniff`] looks at.
pub const HEAD_BYTES: usize = 4_096;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A picture (ITU-T T.81).
    Jpeg,
    /// A picture (W3C PNG).
    Png,
    /// A picture, perhaps animated (GIF89a).
    Gif,
    /// A picture, perhaps animated (RFC 9649).
    Webp,
    /// Video in ISO base media (ISO/IEC 14496-12).
    Mp4,
    /// Video in the older form of the same.
    QuickTime,
    /// Sound alone in ISO base media.
    M4a,
    /// Sound or video in Matroska's subset for the web.
    Webm,
    /// Sound in Ogg (RFC 3533): Opus or Vorbis.
    Ogg,
    /// Sound in RIFF.
    Wav,
    /// MPEG sound, layer III.
    Mp3,
    /// MPEG sound, AAC in ADTS.
    Aac,
    /// A document.
    Pdf,
    /// An archive; also the documents of office programs.
    Zip,
    /// A compressed file.
    Gzip,
    /// UTF-8 without control characters. HTML and SVG are this and nothing more.
    Text,
    /// Anything else.
    Binary,
}

impl Kind {
    /// The media type with which it is stored, shown and served. Never one that a browser runs.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
            Self::M4a => "audio/mp4",
            Self::Webm => "video/webm",
            Self::Ogg => "audio/ogg",
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
            Self::Aac => "audio/aac",
            Self::Pdf => "application/pdf",
            Self::Zip => "application/zip",
            Self::Gzip => "application/gzip",
            Self::Text => "text/plain; charset=utf-8",
            Self::Binary => "application/octet-stream",
        }
    }

    /// Whether a browser may show it in a page; everything else is a download.
    pub fn is_inline(self) -> bool {
        !matches!(self, Self::Pdf | Self::Zip | Self::Gzip | Self::Text | Self::Binary)
    }

    /// Whether it is a picture, which is decoded and served without its metadata.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Gif | Self::Webp)
    }
}

/// Says what a file is by its first bytes, [`HEAD_BYTES`] of them or all that there are.
pub fn sniff(head: &[u8]) -> Kind {
    let head = &head[..head.len().min(HEAD_BYTES)];
    match head {
        [0xff, 0xd8, 0xff, ..] => Kind::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Kind::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Webp,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Kind::Wav,
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => iso_media(brand),
        [0x1a, 0x45, 0xdf, 0xa3, rest @ ..] => matroska(rest),
        [b'O', b'g', b'g', b'S', rest @ ..] => ogg(rest),
        [b'I', b'D', b'3', ..] => Kind::Mp3,
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 => mpeg_audio(*second, *third),
        [b'%', b'P', b'D', b'F', b'-', ..] => Kind::Pdf,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Kind::Zip,
        [0x1f, 0x8b, ..] => Kind::Gzip,
        _ if is_text(head) => Kind::Text,
        _ => Kind::Binary,
    }
}

fn iso_media(brand: &[u8]) -> Kind {
    match brand.get(..4) {
        Some(b"M4A " | b"M4B ") => Kind::M4a,
        Some(b"qt  ") => Kind::QuickTime,
        // Pictures in the same container (HEIC, AVIF) are not described here.
        Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis") | None => Kind::Binary,
        Some(_) => Kind::Mp4,
    }
}

fn matroska(rest: &[u8]) -> Kind {
    let is_webm = rest.get(..64.min(rest.len())).is_some_and(|rest| rest.windows(4).any(|word| word == b"webm"));
    if is_webm { Kind::Webm } else { Kind::Binary }
}

fn ogg(rest: &[u8]) -> Kind {
    let sound = |word: &[u8]| word.starts_with(b"OpusHead") || word.starts_with(b"\x01vorbis");
    // The first page holds one packet behind its 27 bytes of header and one lacing value.
    if rest.get(24..).is_some_and(sound) { Kind::Ogg } else { Kind::Binary }
}

fn mpeg_audio(second: u8, third: u8) -> Kind {
    let (layer, is_version_reserved) = (second >> 1 & 3, second >> 3 & 3 == 1);
    match layer {
        0 if second & 0xf0 == 0xf0 => Kind::Aac,
        1 if !is_version_reserved && third >> 4 != 15 && third >> 2 & 3 != 3 => Kind::Mp3,
        _ => Kind::Binary,
    }
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character that is cut off at the end of what was looked at.
        Err(error) if error.error_len().is_none() && head.len() == HEAD_BYTES => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_follows_from_content() {
        let cases: [(&[u8], Kind); 20] = [
            (b"\xff\xd8\xff\xe0", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Png),
            (b"GIF89a", Kind::Gif),
            (b"RIFF\0\0\0\0WEBPVP8 ", Kind::Webp),
            (b"RIFF\0\0\0\0WAVEfmt ", Kind::Wav),
            (b"\0\0\0\x18ftypisom", Kind::Mp4),
            (b"\0\0\0\x18ftypqt  ", Kind::QuickTime),
            (b"\0\0\0\x18ftypM4A ", Kind::M4a),
            (b"\0\0\0\x18ftypheic", Kind::Binary),
            (b"\x1a\x45\xdf\xa3\x84\x42\x82\x84webm", Kind::Webm),
            (b"\x1a\x45\xdf\xa3\x84\x42\x82\x88matroska", Kind::Binary),
            (b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead", Kind::Ogg),
            (b"\xff\xfb\x90\x64", Kind::Mp3),
            (b"\xff\xf1\x50\x80", Kind::Aac),
            (b"%PDF-1.7", Kind::Pdf),
            (b"PK\x03\x04", Kind::Zip),
            (b"\x1f\x8b\x08", Kind::Gzip),
            ("Grüße\n".as_bytes(), Kind::Text),
            (b"", Kind::Binary),
            (b"a\0b", Kind::Binary),
        ];
        for (head, kind) in cases {
            assert_eq!(sniff(head), kind, "{head:02x?}");
        }
    }

    #[test]
    fn html_and_svg_are_text_whatever_they_are_called() {
        for page in [
            "<!DOCTYPE html><script>alert(1)</script>",
            "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
            "\u{feff}<?xml version=\"1.0\"?><svg/>",
            "  \n<html>",
        ] {
            let kind = sniff(page.as_bytes());
            assert_eq!(kind, Kind::Text, "{page}");
            assert!(!kind.is_inline());
            assert!(kind.media_type().starts_with("text/plain"));
        }
    }

    #[test]
    fn text_may_be_cut_off_within_a_character() {
        let mut long = "é".repeat(HEAD_BYTES).into_bytes();
        long.insert(0, b'a');
        assert_eq!(sniff(&long), Kind::Text);
    }
}
