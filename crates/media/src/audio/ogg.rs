//! Ogg (RFC 3533) with Opus (RFC 7845) or Vorbis: the duration is what the last page says.

use super::milliseconds;
use crate::{Description, MediaError, source::Reading};

/// Opus counts in this rate whatever was recorded.
const OPUS_RATE: u32 = 48_000;
/// The last page begins at most this far from the end: a page's greatest length.
const PAGE_BYTES: u64 = 65_307;

/// Describes an Ogg file with one stream of sound.
pub(crate) fn ogg(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let head = reading.exact::<58>(0)?;
    let serial = &head[14..18];
    let serial = [serial[0], serial[1], serial[2], serial[3]];
    let (rate, skipped) = match &head[28..] {
        opus if opus.starts_with(b"OpusHead") => (OPUS_RATE, u64::from(u16::from_le_bytes([opus[10], opus[11]]))),
        vorbis if vorbis.starts_with(b"\x01vorbis") => {
            (u32::from_le_bytes([vorbis[12], vorbis[13], vorbis[14], vorbis[15]]), 0)
        }
        _ => return Err(MediaError::Malformed("there is no sound")),
    };
    let last = last_granule(reading, serial)?.ok_or(MediaError::Malformed("it ends too early"))?;
    Ok(Description { duration_ms: milliseconds(last.saturating_sub(skipped), rate), ..Description::default() })
}

/// The position that the stream's last page gives.
fn last_granule(reading: &mut Reading<'_>, serial: [u8; 4]) -> Result<Option<u64>, MediaError> {
    let from = reading.size().saturating_sub(PAGE_BYTES);
    let length = usize::try_from(reading.size() - from).unwrap_or(usize::MAX);
    let tail = reading.some(from, length)?;
    let pages = tail.windows(18).filter(|page| page.starts_with(b"OggS\0") && page[14..18] == serial);
    let mut granules = pages.filter_map(|page| page[6..14].try_into().ok().map(u64::from_le_bytes));
    // All ones: no packet ends on that page. Nothing: it holds headers.
    Ok(granules.rfind(|granule| *granule != u64::MAX && *granule > 0))
}
