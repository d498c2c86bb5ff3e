//! MPEG sound without container: frames are counted, or their number read where an encoder wrote it down.

use super::milliseconds;
use crate::{Description, MediaError, source::Reading};

/// Bytes that are passed over in search of the first frame.
const LOST_BYTES: u64 = 4_096;
/// Kilobits a second of layer III, version 1 and versions 2 and 2.5 (ISO/IEC 11172-3 and 13818-3).
const BITRATES: [[u32; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const RATES: [u32; 3] = [44_100, 48_000, 32_000];
const ADTS_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
const ADTS_SAMPLES: u64 = 1_024;

struct Frame {
    bytes: u64,
    samples: u64,
    rate: u32,
    /// From the frame's begin to where an encoder's own header may stand.
    side_bytes: u64,
}

/// Describes an MP3 file.
pub(crate) fn mp3(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let mut at = first_frame(reading)?;
    let first = mp3_frame(reading.exact(at)?).ok_or(MediaError::Malformed("there is no sound"))?;
    let mut samples = 0_u64;
    if let Some(frames) = written_frames(reading, at + first.side_bytes)? {
        samples = u64::from(frames) * first.samples;
    } else {
        while at + 4 <= reading.size() {
            let Some(frame) = mp3_frame(reading.exact(at)?) else { break };
            samples += frame.samples;
            at += frame.bytes;
        }
    }
    Ok(Description { duration_ms: milliseconds(samples, first.rate), ..Description::default() })
}

/// Behind tags (ID3v2, whose length is in seven bits of each byte) the next place that looks like a frame.
fn first_frame(reading: &mut Reading<'_>) -> Result<u64, MediaError> {
    let mut at = 0;
    if let [b'I', b'D', b'3', _, _, _, a, b, c, d] = reading.exact::<10>(0)? {
        let length = [a, b, c, d].iter().fold(0_u64, |length, byte| length << 7 | u64::from(byte & 0x7f));
        at = 10 + length;
    }
    for offset in 0..LOST_BYTES {
        if at + offset + 4 > reading.size() {
            break;
        }
        if mp3_frame(reading.exact(at + offset)?).is_some() {
            return Ok(at + offset);
        }
    }
    Err(MediaError::Malformed("there is no sound"))
}

/// How many frames an encoder says there are (Xing, and Info at a constant rate).
fn written_frames(reading: &mut Reading<'_>, at: u64) -> Result<Option<u32>, MediaError> {
    let bytes = reading.some(at, 12)?;
    let [b'X' | b'I', b'i' | b'n', b'n' | b'f', b'g' | b'o', _, _, _, flags, count @ ..] = bytes else {
        return Ok(None);
    };
    let count = count.try_into().ok().map(u32::from_be_bytes);
    Ok(count.filter(|count| flags & 1 == 1 && *count > 0))
}

fn mp3_frame(header: [u8; 4]) -> Option<Frame> {
    let [0xff, second, third, fourth] = header else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    if second & 0xe0 != 0xe0 || layer != 1 || version == 1 {
        return None;
    }
    let is_first = version == 3;
    let kbits = *BITRATES[usize::from(!is_first)].get(usize::from(third >> 4)).filter(|kbits| **kbits > 0)?;
    // Version 2 halves the rates, 2.5 quarters them.
    let rate = RATES.get(usize::from(third >> 2 & 3))? >> [2, 0, 1, 0][usize::from(version)];
    let samples = if is_first { 1_152 } else { 576 };
    let bytes = u64::from(samples / 8 * kbits * 1_000 / rate + u32::from(third >> 1 & 1));
    let is_mono = fourth >> 6 == 3;
    let side_bytes = match (is_first, is_mono) {
        (true, false) => 36,
        (true, true) | (false, false) => 21,
        (false, true) => 13,
    };
    Some(Frame { bytes, samples: u64::from(samples), rate, side_bytes })
}

/// Describes AAC in ADTS (ISO/IEC 14496-3, 1.A.2).
pub(crate) fn adts(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let (mut at, mut samples, mut rate) = (0_u64, 0_u64, 0);
    while at + 7 <= reading.size() {
        let [0xff, second, third, fourth, fifth, sixth, seventh] = reading.exact::<7>(at)? else { break };
        let length = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth) >> 5;
        let Some(frame_rate) = ADTS_RATES.get(usize::from(third >> 2 & 15)) else { break };
        if second & 0xf6 != 0xf0 || length < 7 {
            break;
        }
        rate = *frame_rate;
        samples += ADTS_SAMPLES * u64::from((seventh & 3) + 1);
        at += length;
    }
    if samples == 0 {
        return Err(MediaError::Malformed("there is no sound"));
    }
    Ok(Description { duration_ms: milliseconds(samples, rate), ..Description::default() })
}
