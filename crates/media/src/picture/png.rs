//! PNG (W3C, third edition) without what says more than the picture: no pixel is touched.

use super::{Stripped, ended, exif::Orientation};
use crate::MediaError;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Most chunks of a file.
const CHUNKS: usize = 200_000;
/// Largest colour profile that is kept; it is compressed.
const PROFILE_BYTES: usize = 1_048_576;

/// Keeps what is needed to decode, colour and animation; drops the rest and what follows the picture.
pub(super) fn strip(data: &[u8]) -> Result<Stripped, MediaError> {
    let mut at = SIGNATURE.len();
    let mut bytes = Vec::with_capacity(data.len());
    bytes.extend_from_slice(data.get(..at).ok_or_else(ended)?);
    let (mut orientation, mut is_animated) = (Orientation::UPRIGHT, false);
    let mut pixels_at = None;
    for number in 0..CHUNKS {
        let length: [u8; 4] = data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or_else(ended)?;
        let length = u32::from_be_bytes(length) as usize;
        let end = at.checked_add(12).and_then(|end| end.checked_add(length)).ok_or_else(ended)?;
        let chunk = data.get(at..end).ok_or_else(ended)?;
        let (kind, content) = (&chunk[4..8], &chunk[8..8 + length]);
        if (number == 0) != (kind == b"IHDR") {
            return Err(MediaError::Malformed("the header chunk is not the first"));
        }
        match kind {
            b"eXIf" => orientation = Orientation::read(content),
            b"IDAT" => _ = pixels_at.get_or_insert(bytes.len()),
            b"acTL" => is_animated = true,
            _ => {}
        }
        if keeps(kind) && (kind != b"iCCP" || length <= PROFILE_BYTES) {
            bytes.extend_from_slice(chunk);
        }
        at = end;
        if kind == b"IEND" {
            let pixels_at = pixels_at.ok_or(MediaError::Malformed("there are no pixels"))?;
            bytes.splice(pixels_at..pixels_at, orientation_chunk(orientation));
            return Ok(Stripped { bytes, orientation, is_animated });
        }
    }
    Err(MediaError::TooManySteps)
}

fn keeps(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"IHDR"
            | b"PLTE"
            | b"IDAT"
            | b"IEND"
            | b"tRNS"
            | b"gAMA"
            | b"cHRM"
            | b"sRGB"
            | b"iCCP"
            | b"cICP"
            | b"sBIT"
            | b"bKGD"
            | b"pHYs"
            | b"acTL"
            | b"fcTL"
            | b"fdAT"
    )
}

/// A chunk that says which way is up; nothing when upright.
fn orientation_chunk(orientation: Orientation) -> Vec<u8> {
    let Some(tiff) = orientation.write() else { return Vec::new() };
    let content = [b"eXIf".as_slice(), &tiff].concat();
    let length = u32::try_from(tiff.len()).unwrap_or_default().to_be_bytes();
    [length.as_slice(), &content, &crc(&content).to_be_bytes()].concat()
}

/// The checksum of chunks (ISO 3309, bit by bit: it is made for thirty bytes only).
fn crc(bytes: &[u8]) -> u32 {
    let mut value = u32::MAX;
    for byte in bytes {
        value ^= u32::from(*byte);
        for _ in 0..8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
        }
    }
    !value
}

/// For tests that make chunks.
#[cfg(test)]
pub(super) use self::tests::{crc as crc_of, deflated};

#[cfg(test)]
mod tests {
    /// See the checksum above.
    pub fn crc(bytes: &[u8]) -> u32 {
        super::crc(bytes)
    }

    /// Packs bytes as PNG does.
    pub fn deflated(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
    }
}
