//! WAVE in RIFF: duration and waveform of PCM.

use stonechat_model::limits;

use super::milliseconds;
use crate::{Description, MediaError, source::Reading};

const PEAKS: u64 = limits::WAVEFORM_PEAKS as u64;
/// Most chunks before the samples.
const CHUNKS: usize = 1_000;
/// Samples that are looked at for one peak. A sound is not read as a whole: what lies evenly spread tells enough.
const LOOKS_PER_PEAK: u64 = 512;

struct Format {
    is_float: bool,
    channels: u16,
    rate: u32,
    block: u16,
    bits: u16,
}

/// Describes a WAVE file.
pub(crate) fn wav(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let (mut at, mut format) = (12_u64, None);
    for _ in 0..CHUNKS {
        let [a, b, c, d, length @ ..] = reading.exact::<8>(at)?;
        let length = u64::from(u32::from_le_bytes(length));
        match &[a, b, c, d] {
            b"fmt " => format = Some(read_format(reading, at + 8, length)?),
            b"data" => {
                let format = format.ok_or(MediaError::Malformed("samples come before their format"))?;
                // Recorders that were cut off leave a length that is too large.
                let length = length.min(reading.size().saturating_sub(at + 8));
                return samples(reading, &format, at + 8, length);
            }
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    Err(MediaError::TooManySteps)
}

fn read_format(reading: &mut Reading<'_>, at: u64, length: u64) -> Result<Format, MediaError> {
    let bytes = reading.exact::<16>(at)?;
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let mut tag = short(0);
    if tag == 0xfffe && length >= 26 {
        tag = u16::from_le_bytes(reading.exact::<2>(at + 24)?);
    }
    let rate = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let format = Format { is_float: tag == 3, channels: short(2), rate, block: short(12), bits: short(14) };
    let bytes = format.bits.div_ceil(8);
    let fits = format.channels > 0 && u32::from(format.block) == u32::from(format.channels) * u32::from(bytes);
    if !matches!(tag, 1 | 3) || rate == 0 || format.block == 0 || !fits {
        return Err(MediaError::Malformed("samples are of no known format"));
    }
    Ok(format)
}

fn samples(reading: &mut Reading<'_>, format: &Format, at: u64, length: u64) -> Result<Description, MediaError> {
    let block = u64::from(format.block);
    let count = length / block;
    let mut peaks = Vec::new();
    for peak in 0..PEAKS {
        let (from, until) = (count * peak / PEAKS, count * (peak + 1) / PEAKS);
        let step = ((until - from) / LOOKS_PER_PEAK).max(1);
        let mut loudest = 0.0_f32;
        let mut sample = from;
        while sample < until {
            let bytes = reading.some(at + sample * block, usize::from(format.bits.div_ceil(8)))?;
            loudest = loudest.max(amplitude(bytes, format.is_float));
            sample += step;
        }
        peaks.push(loudest);
    }
    let duration_ms = milliseconds(count, format.rate);
    let waveform = if count == 0 { Vec::new() } else { peaks.into_iter().map(scaled).collect() };
    Ok(Description { duration_ms, waveform, ..Description::default() })
}

/// How far a sample is from silence, 0 to 1.
fn amplitude(bytes: &[u8], is_float: bool) -> f32 {
    let value = match *bytes {
        // Eight bits are unsigned.
        [a] => (f32::from(a) - 128.0) / 128.0,
        [a, b] => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
        [_, b, c] => f32::from(i16::from_le_bytes([b, c])) / 32_768.0,
        [a, b, c, d] if is_float => f32::from_le_bytes([a, b, c, d]),
        [_, _, c, d] => f32::from(i16::from_le_bytes([c, d])) / 32_768.0,
        _ => 0.0,
    };
    if value.is_finite() { value.abs().min(1.0) } else { 0.0 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
fn scaled(value: f32) -> u8 {
    (value * 100.0).round() as u8
}
