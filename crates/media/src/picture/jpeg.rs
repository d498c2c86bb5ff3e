//! JPEG (ITU-T T.81) without what says more than the picture: no pixel is touched.

use super::{Stripped, ended, exif::Orientation};
use crate::MediaError;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
/// A JFIF segment without thumbnail has this many bytes of content.
const JFIF_BYTES: usize = 14;
/// Most segments of a file; cameras write some dozens.
const SEGMENTS: usize = 10_000;

/// Keeps what is needed to decode, colour profile and orientation; drops the rest and what follows the picture.
pub(super) fn strip(data: &[u8]) -> Result<Stripped, MediaError> {
    let mut at = 2;
    let mut orientation = None;
    let mut kept = Vec::with_capacity(data.len());
    for _ in 0..SEGMENTS {
        let marker = next_marker(data, &mut at)?;
        if marker == EOI {
            return Ok(assemble(&kept, orientation.unwrap_or(Orientation::UPRIGHT)));
        }
        if matches!(marker, 0x01 | 0xd0..=0xd7 | SOI) {
            return Err(MediaError::Malformed("a marker stands where none may"));
        }
        let content = segment(data, &mut at)?;
        if marker == 0xe1 && content.starts_with(b"Exif\0\0") && orientation.is_none() {
            orientation = Some(Orientation::read(&content[6..]));
        }
        if let Some(content) = keep(marker, content) {
            write(&mut kept, marker, content);
        }
        if marker == SOS {
            let end = scan_end(data, at)?;
            kept.extend_from_slice(&data[at..end]);
            at = end;
        }
    }
    Err(MediaError::TooManySteps)
}

fn assemble(kept: &[u8], orientation: Orientation) -> Stripped {
    let mut bytes = Vec::with_capacity(kept.len() + 64);
    bytes.extend_from_slice(&[0xff, SOI]);
    // JFIF asks to be the first; readers take either order, so Exif stands behind it.
    let mut rest = kept;
    if let [0xff, 0xe0, high, low, ..] = kept {
        let end = 2 + usize::from(u16::from_be_bytes([*high, *low]));
        bytes.extend_from_slice(&kept[..end]);
        rest = &kept[end..];
    }
    if let Some(tiff) = orientation.write() {
        write(&mut bytes, 0xe1, &[b"Exif\0\0".as_slice(), &tiff].concat());
    }
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(&[0xff, EOI]);
    Stripped { bytes, orientation, is_animated: false }
}

/// The next marker; what stands before it is passed over only where it is fill bytes.
fn next_marker(data: &[u8], at: &mut usize) -> Result<u8, MediaError> {
    if *data.get(*at).ok_or_else(ended)? != 0xff {
        return Err(MediaError::Malformed("a marker is missing"));
    }
    while *data.get(*at).ok_or_else(ended)? == 0xff {
        *at += 1;
    }
    let marker = data[*at];
    *at += 1;
    if marker == 0 { Err(MediaError::Malformed("a marker is missing")) } else { Ok(marker) }
}

fn segment<'a>(data: &'a [u8], at: &mut usize) -> Result<&'a [u8], MediaError> {
    let length: [u8; 2] = data.get(*at..*at + 2).and_then(|bytes| bytes.try_into().ok()).ok_or_else(ended)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length < 2 {
        return Err(MediaError::Malformed("a segment is too short"));
    }
    let content = data.get(*at + 2..*at + length).ok_or_else(ended)?;
    *at += length;
    Ok(content)
}

fn keep(marker: u8, content: &[u8]) -> Option<&[u8]> {
    match marker {
        // Frames, tables, restart intervals and scans; not the reserved ones.
        0xc0..=0xcf | SOS | 0xdb..=0xdd => Some(content),
        // JFIF without its thumbnail, which may show more than the picture.
        0xe0 if content.starts_with(b"JFIF\0") && content.len() >= JFIF_BYTES => Some(&content[..JFIF_BYTES]),
        0xe2 if content.starts_with(b"ICC_PROFILE\0") => Some(content),
        0xee if content.starts_with(b"Adobe") => Some(content),
        _ => None,
    }
}

fn write(into: &mut Vec<u8>, marker: u8, content: &[u8]) {
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    into.extend_from_slice(&[0xff, marker]);
    into.extend_from_slice(&length.to_be_bytes());
    let from = into.len();
    into.extend_from_slice(content);
    if marker == 0xe0 && content.len() == JFIF_BYTES {
        // No thumbnail follows any more.
        into[from + 12..from + JFIF_BYTES].fill(0);
    }
}

/// Where the entropy-coded data ends: at a marker that is neither a stuffed byte nor a restart.
fn scan_end(data: &[u8], from: usize) -> Result<usize, MediaError> {
    let mut at = from;
    loop {
        let rest = data.get(at..).ok_or_else(ended)?;
        at += rest.iter().position(|byte| *byte == 0xff).ok_or_else(ended)?;
        match data.get(at + 1).ok_or_else(ended)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Ok(at),
        }
    }
}
