//! Matroska (RFC 9559) in EBML (RFC 8794), as browsers record it: elements whose length may be unknown.

use crate::{Description, MediaError, source::Reading};

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TIME_SCALE: u32 = 0x002a_d7b1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK: u32 = 0xae;
const VIDEO: u32 = 0xe0;
const WIDTH: u32 = 0xb0;
const HEIGHT: u32 = 0xba;
const CLUSTER: u32 = 0x1f43_b675;
const CLUSTER_TIME: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
/// Nanoseconds of a unit of time where the file does not say.
const DEFAULT_SCALE: u64 = 1_000_000;

#[derive(Default)]
struct Found {
    scale: u64,
    duration: f64,
    width: u64,
    height: u64,
    has_segment: bool,
    cluster_time: u64,
    /// The latest block's time: recorders that stream write no duration.
    latest: u64,
}

struct Element {
    id: u32,
    content: u64,
    /// `None`: unknown, until something that cannot be in it.
    length: Option<u64>,
}

/// Describes a file by its headers and, where they say no duration, by the times of its blocks.
pub(crate) fn webm(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let mut found = Found { scale: DEFAULT_SCALE, ..Found::default() };
    let mut at = 0;
    while at < reading.size() {
        let Some(element) = element(reading, at)? else { break };
        at = match element.id {
            // Looked into by going on behind their headers: whatever is in them is told by its own id.
            SEGMENT | INFO | TRACKS | TRACK | VIDEO | CLUSTER | BLOCK_GROUP => {
                if element.id == CLUSTER && found.duration > 0.0 {
                    break;
                }
                found.has_segment |= element.id == SEGMENT;
                element.content
            }
            _ => {
                let Some(length) = element.length else {
                    return Err(MediaError::Malformed("an element has no length"));
                };
                take(reading, &element, length, &mut found)?;
                element.content.checked_add(length).ok_or(MediaError::Malformed("an element is too long"))?
            }
        };
    }
    if !found.has_segment {
        return Err(MediaError::Malformed("there is no segment"));
    }
    let pixels = |value: u64| u32::try_from(value).unwrap_or(0);
    Ok(Description {
        width: pixels(found.width),
        height: pixels(found.height),
        duration_ms: milliseconds(&found),
        ..Description::default()
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
fn milliseconds(found: &Found) -> u64 {
    let units = if found.duration > 0.0 { found.duration } else { found.latest as f64 };
    (units * found.scale as f64 / 1e6).clamp(0.0, 1e15) as u64
}

fn take(reading: &mut Reading<'_>, element: &Element, length: u64, found: &mut Found) -> Result<(), MediaError> {
    let at = element.content;
    match element.id {
        EBML if at > 64 => return Err(MediaError::Malformed("a second file follows")),
        TIME_SCALE => found.scale = number(reading, at, length)?.max(1),
        DURATION if length == 4 => found.duration = f64::from(f32::from_be_bytes(reading.exact(at)?)),
        DURATION if length == 8 => found.duration = f64::from_be_bytes(reading.exact(at)?),
        WIDTH => found.width = number(reading, at, length)?,
        HEIGHT => found.height = number(reading, at, length)?,
        CLUSTER_TIME => found.cluster_time = number(reading, at, length)?,
        SIMPLE_BLOCK | BLOCK => {
            // The track's number, then a time relative to the cluster's.
            let skip = vint_bytes(reading.exact::<1>(at)?[0]);
            let relative = i16::from_be_bytes(reading.exact(at + skip)?);
            found.latest = found.latest.max(found.cluster_time.saturating_add_signed(relative.into()));
        }
        _ => {}
    }
    if found.duration.is_finite() { Ok(()) } else { Err(MediaError::Malformed("duration is no number")) }
}

fn number(reading: &mut Reading<'_>, at: u64, length: u64) -> Result<u64, MediaError> {
    if length > 8 {
        return Err(MediaError::Malformed("a number is too long"));
    }
    let bytes = reading.some(at, usize::try_from(length).unwrap_or(8))?;
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// How many bytes a number of variable length has, by its first.
fn vint_bytes(first: u8) -> u64 {
    u64::from(first.leading_zeros()) + 1
}

/// The header of an element; `None` where the file ends within it.
fn element(reading: &mut Reading<'_>, at: u64) -> Result<Option<Element>, MediaError> {
    let bytes = reading.some(at, 12)?;
    let Some(first) = bytes.first() else { return Ok(None) };
    let id_bytes = first.leading_zeros() as usize + 1;
    if id_bytes > 4 {
        return Err(MediaError::Malformed("an element has no id"));
    }
    let Some(first) = bytes.get(id_bytes) else { return Ok(None) };
    let length_bytes = first.leading_zeros() as usize + 1;
    if length_bytes > 8 {
        return Err(MediaError::Malformed("an element has no length"));
    }
    let Some(length) = bytes.get(id_bytes..id_bytes + length_bytes) else { return Ok(None) };
    let id = bytes[..id_bytes].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let ones = (1_u64 << (7 * length_bytes)) - 1;
    let value = length.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) & ones;
    let content = at + (id_bytes + length_bytes) as u64;
    Ok(Some(Element { id, content, length: (value != ones).then_some(value) }))
}
