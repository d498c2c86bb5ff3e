//! GIF (version 89a) without comments and foreign blocks: frames, their times and the loop stay.

use super::{Stripped, ended, exif::Orientation};
use crate::MediaError;

/// Most blocks of a file.
const BLOCKS: usize = 50_000;

/// Keeps frames, their controls and the loop count; drops the rest and what follows the picture.
pub(super) fn strip(data: &[u8]) -> Result<Stripped, MediaError> {
    let screen: [u8; 13] = data.get(..13).and_then(|bytes| bytes.try_into().ok()).ok_or_else(ended)?;
    let mut at = 13 + table_bytes(screen[10]);
    let mut bytes = Vec::with_capacity(data.len());
    bytes.extend_from_slice(data.get(..at).ok_or_else(ended)?);
    let mut frames = 0_usize;
    for _ in 0..BLOCKS {
        let begin = at;
        let keeps = match data.get(at).ok_or_else(ended)? {
            0x3b if frames > 0 => {
                bytes.push(0x3b);
                return Ok(Stripped { bytes, orientation: Orientation::UPRIGHT, is_animated: frames > 1 });
            }
            0x3b => return Err(MediaError::Malformed("there is no frame")),
            0x2c => {
                let packed = *data.get(at + 9).ok_or_else(ended)?;
                // The descriptor, its colour table, the code size, and the blocks of codes.
                at = skip_blocks(data, at + 10 + table_bytes(packed) + 1)?;
                frames += 1;
                true
            }
            0x21 => {
                let label = *data.get(at + 1).ok_or_else(ended)?;
                let first = data.get(at + 2..data.len().min(at + 14)).ok_or_else(ended)?;
                at = skip_blocks(data, at + 2)?;
                label == 0xf9 || label == 0xff && matches!(first, [11, name @ ..] if is_loop(name))
            }
            _ => return Err(MediaError::Malformed("a block is of no known kind")),
        };
        if keeps {
            bytes.extend_from_slice(data.get(begin..at).ok_or_else(ended)?);
        }
    }
    Err(MediaError::TooManySteps)
}

fn is_loop(name: &[u8]) -> bool {
    name.starts_with(b"NETSCAPE2.0") || name.starts_with(b"ANIMEXTS1.0")
}

/// The bytes of a colour table, by the flags of the block that announces it.
fn table_bytes(packed: u8) -> usize {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

/// Where a chain of blocks ends: behind an empty one.
fn skip_blocks(data: &[u8], mut at: usize) -> Result<usize, MediaError> {
    loop {
        let length = usize::from(*data.get(at).ok_or_else(ended)?);
        at += 1 + length;
        if length == 0 {
            return Ok(at);
        }
    }
}
