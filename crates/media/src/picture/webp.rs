//! WebP (RFC 9649) without what says more than the picture: no pixel is touched.

use super::{Stripped, ended, exif::Orientation};
use crate::MediaError;

/// Most chunks of a file, frames and their parts counted.
const CHUNKS: usize = 50_000;
const HAS_EXIF: u8 = 0x08;
const HAS_XMP: u8 = 0x04;
const IS_ANIMATED: u8 = 0x02;
/// The frame's place, size, time and flags before its chunks.
const FRAME_BYTES: usize = 16;

/// Keeps what is needed to decode, colour profile, animation and orientation; drops the rest and what follows.
pub(super) fn strip(data: &[u8]) -> Result<Stripped, MediaError> {
    let size: [u8; 4] = data.get(4..8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(ended)?;
    let end = (u32::from_le_bytes(size) as usize).checked_add(8).ok_or_else(ended)?;
    let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
    let (mut orientation, mut flags_at, mut has_pixels) = (Orientation::UPRIGHT, None, false);
    let mut chunks = Chunks { data: data.get(12..end).ok_or_else(ended)?, left: CHUNKS };
    while let Some((kind, content)) = chunks.next()? {
        match &kind {
            b"VP8X" => {
                flags_at = flags_at.or(Some(bytes.len() + 8));
                write(&mut bytes, kind, content);
            }
            b"EXIF" => orientation = Orientation::read(content.strip_prefix(b"Exif\0\0").unwrap_or(content)),
            b"ANMF" => {
                has_pixels = true;
                let frame = strip_frame(content, &mut chunks.left)?;
                write(&mut bytes, kind, &frame);
            }
            b"VP8 " | b"VP8L" => {
                has_pixels = true;
                write(&mut bytes, kind, content);
            }
            b"ICCP" | b"ANIM" | b"ALPH" => write(&mut bytes, kind, content),
            _ => {}
        }
    }
    if !has_pixels {
        return Err(MediaError::Malformed("there are no pixels"));
    }
    let is_animated = finish(&mut bytes, flags_at, orientation)?;
    Ok(Stripped { bytes, orientation, is_animated })
}

/// Sets the flags and the length; gives whether it is animated.
fn finish(bytes: &mut Vec<u8>, flags_at: Option<usize>, orientation: Orientation) -> Result<bool, MediaError> {
    let mut is_animated = false;
    if let Some(flags_at) = flags_at {
        let flags = bytes.get_mut(flags_at).ok_or_else(ended)?;
        *flags &= !(HAS_EXIF | HAS_XMP);
        is_animated = *flags & IS_ANIMATED != 0;
        if let Some(tiff) = orientation.write() {
            *flags |= HAS_EXIF;
            write(bytes, *b"EXIF", &tiff);
        }
    }
    let length = u32::try_from(bytes.len() - 8).map_err(|_| MediaError::Malformed("it is too long"))?;
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(is_animated)
}

fn strip_frame(content: &[u8], left: &mut usize) -> Result<Vec<u8>, MediaError> {
    let (header, rest) = content.split_at_checked(FRAME_BYTES).ok_or_else(ended)?;
    let mut frame = header.to_vec();
    let mut chunks = Chunks { data: rest, left: *left };
    while let Some((kind, content)) = chunks.next()? {
        if matches!(&kind, b"ALPH" | b"VP8 " | b"VP8L") {
            write(&mut frame, kind, content);
        }
    }
    *left = chunks.left;
    Ok(frame)
}

fn write(into: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    into.extend_from_slice(&kind);
    into.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend_from_slice(content);
    if content.len() % 2 == 1 {
        into.push(0);
    }
}

/// A chunk's kind and content.
type Chunk<'a> = ([u8; 4], &'a [u8]);

struct Chunks<'a> {
    data: &'a [u8],
    left: usize,
}

impl<'a> Chunks<'a> {
    fn next(&mut self) -> Result<Option<Chunk<'a>>, MediaError> {
        if self.data.is_empty() {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or(MediaError::TooManySteps)?;
        let (header, rest) = self.data.split_first_chunk::<8>().ok_or_else(ended)?;
        let [a, b, c, d, length @ ..] = *header;
        let (content, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize).ok_or_else(ended)?;
        // A chunk of odd length is followed by a zero, which the last one may lack.
        self.data = if content.len() % 2 == 1 { rest.get(1..).unwrap_or_default() } else { rest };
        Ok(Some(([a, b, c, d], content)))
    }
}
