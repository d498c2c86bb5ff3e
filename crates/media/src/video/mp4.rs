//! ISO base media (ISO/IEC 14496-12): boxes in boxes.

use crate::{Description, Kind, MediaError, source::Reading};

/// Boxes in boxes in boxes that are looked into.
const DEPTH: usize = 6;
/// Most boxes of one file.
const BOXES: usize = 4_096;

/// Describes a file by its `moov`; one that has no video is sound.
pub(crate) fn mp4(reading: &mut Reading<'_>) -> Result<Description, MediaError> {
    let mut found = Found::default();
    let size = reading.size();
    walk(reading, 0, size, 0, &mut found)?;
    if !found.has_movie {
        return Err(MediaError::Malformed("there is no movie"));
    }
    let kind = match (found.has_video, found.has_sound) {
        (false, true) => Some(Kind::M4a),
        _ => None,
    };
    let seconds = |units: u64, scale: u32| {
        let ms = (u128::from(units) * 1000).checked_div(u128::from(scale)).unwrap_or(0);
        u64::try_from(ms).unwrap_or(0)
    };
    Ok(Description {
        kind,
        width: found.width,
        height: found.height,
        duration_ms: seconds(found.duration.max(found.fragments), found.scale),
        ..Description::default()
    })
}

#[derive(Default)]
struct Found {
    boxes: usize,
    has_movie: bool,
    has_video: bool,
    has_sound: bool,
    scale: u32,
    duration: u64,
    /// Where the movie comes in fragments, their duration together.
    fragments: u64,
    width: u32,
    height: u32,
}

fn walk(reading: &mut Reading<'_>, mut at: u64, end: u64, depth: usize, found: &mut Found) -> Result<(), MediaError> {
    while at + 8 <= end {
        found.boxes += 1;
        if found.boxes > BOXES {
            return Err(MediaError::TooManySteps);
        }
        let [a, b, c, d, kind @ ..] = reading.exact::<8>(at)?;
        let (content, length) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (at + 8, end - at),
            1 => (at + 16, u64::from_be_bytes(reading.exact(at + 8)?)),
            length => (at + 8, u64::from(length)),
        };
        let next = at.checked_add(length).filter(|next| *next >= content);
        let next = next.ok_or(MediaError::Malformed("a box is shorter than its header"))?;
        // The last box may be cut off; a movie in it is not.
        let until = next.min(end);
        match &kind {
            b"moov" | b"trak" | b"mdia" | b"mvex" if depth < DEPTH => {
                found.has_movie |= &kind == b"moov";
                if next > end {
                    return Err(MediaError::Malformed("it ends too early"));
                }
                walk(reading, content, until, depth + 1, found)?;
            }
            b"mvhd" => (found.scale, found.duration) = movie_header(reading, content)?,
            b"mehd" => found.fragments = fragments(reading, content)?,
            b"tkhd" => track_header(reading, content, found)?,
            b"hdlr" => match &reading.exact::<12>(content)?[8..] {
                b"vide" => found.has_video = true,
                b"soun" => found.has_sound = true,
                _ => {}
            },
            _ => {}
        }
        at = next;
    }
    Ok(())
}

/// Time scale and duration; all ones are an unknown duration.
fn movie_header(reading: &mut Reading<'_>, at: u64) -> Result<(u32, u64), MediaError> {
    let long = |bytes: [u8; 8]| if bytes == [0xff; 8] { 0 } else { u64::from_be_bytes(bytes) };
    if reading.exact::<1>(at)? == [1] {
        return Ok((u32::from_be_bytes(reading.exact(at + 20)?), long(reading.exact(at + 24)?)));
    }
    let duration = reading.exact::<4>(at + 16)?;
    let duration = if duration == [0xff; 4] { 0 } else { u64::from(u32::from_be_bytes(duration)) };
    Ok((u32::from_be_bytes(reading.exact(at + 12)?), duration))
}

fn fragments(reading: &mut Reading<'_>, at: u64) -> Result<u64, MediaError> {
    Ok(match reading.exact::<1>(at)? {
        [1] => u64::from_be_bytes(reading.exact(at + 4)?),
        _ => u64::from(u32::from_be_bytes(reading.exact(at + 4)?)),
    })
}

/// Width and height as they are shown, in whole pixels; the largest track counts.
fn track_header(reading: &mut Reading<'_>, at: u64, found: &mut Found) -> Result<(), MediaError> {
    let matrix = at + if reading.exact::<1>(at)? == [1] { 52 } else { 40 };
    let upright = i32::from_be_bytes(reading.exact(matrix)?);
    let sideways = i32::from_be_bytes(reading.exact(matrix + 4)?);
    let width = u32::from_be_bytes(reading.exact(matrix + 36)?) >> 16;
    let height = u32::from_be_bytes(reading.exact(matrix + 40)?) >> 16;
    // Phones turn the track by its matrix: a quarter turn leaves nothing on the diagonal.
    let (width, height) = if upright == 0 && sideways != 0 { (height, width) } else { (width, height) };
    if u64::from(width) * u64::from(height) > u64::from(found.width) * u64::from(found.height) {
        (found.width, found.height) = (width, height);
    }
    Ok(())
}
