//! One file's description.

use crate::{Deadline, HEAD_BYTES, Kind, MediaError, Source, audio, picture, sniff, source::Reading, video};

/// What is known of a file by its content.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// What it is; `None` stands for nothing known.
    pub kind: Option<Kind>,
    /// Of a picture or video, turned as it is shown; 0 when unknown.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Of sound or video, in milliseconds; 0 when unknown.
    pub duration_ms: u64,
    /// Whether a picture has several frames.
    pub is_animated: bool,
    /// Of a picture; empty otherwise.
    pub blurhash: String,
    /// Loudness of sound over time, 0 to 100; empty where it is not decoded.
    pub waveform: Vec<u8>,
    /// Of a picture, the larger one first.
    pub thumbnails: Vec<Thumbnail>,
    /// A picture's bytes without metadata: what is served in its place.
    pub stripped: Option<Vec<u8>>,
}

/// A small picture of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their type.
    pub media_type: &'static str,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

impl Description {
    /// The media type to serve it with.
    pub fn media_type(&self) -> &'static str {
        self.kind.unwrap_or(Kind::Binary).media_type()
    }
}

fn kind_of(source: &dyn Source) -> Result<Kind, MediaError> {
    Ok(sniff(Reading::new(source, Deadline::NEVER).some(0, HEAD_BYTES)?))
}

/// What describing it allocates at most, in bytes.
///
/// # Errors
/// As [`describe`], where the header tells already.
pub fn cost_bytes(source: &dyn Source) -> Result<u64, MediaError> {
    match kind_of(source)? {
        kind if kind.is_picture() => picture::cost_bytes(kind, source),
        // A window of reading.
        _ => Ok(1 << 17),
    }
}

/// Describes a file by its content.
///
/// # Errors
/// It is not what its first bytes say, or beyond a limit; or it cannot be read.
pub fn describe(source: &dyn Source, deadline: Deadline) -> Result<Description, MediaError> {
    let kind = kind_of(source)?;
    let mut reading = Reading::new(source, deadline);
    let described = match kind {
        Kind::Jpeg | Kind::Png | Kind::Gif | Kind::Webp => return picture::describe(kind, source, deadline),
        Kind::Wav => audio::wav(&mut reading)?,
        Kind::Ogg => audio::ogg(&mut reading)?,
        Kind::Mp3 => audio::mp3(&mut reading)?,
        Kind::Aac => audio::adts(&mut reading)?,
        Kind::Mp4 | Kind::QuickTime | Kind::M4a => video::mp4(&mut reading)?,
        Kind::Webm => video::webm(&mut reading)?,
        Kind::Pdf | Kind::Zip | Kind::Gzip | Kind::Text | Kind::Binary => Description::default(),
    };
    Ok(Description { kind: Some(described.kind.unwrap_or(kind)), ..described })
}
