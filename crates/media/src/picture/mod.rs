//! Pictures: the same one without metadata, how large it is, and small ones made of it.

mod blurhash;
mod exif;
mod gif;
mod jpeg;
mod png;
#[cfg(test)]
mod tests;
mod webp;

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, Limits,
    codecs::{
        gif::GifDecoder,
        jpeg::{JpegDecoder, JpegEncoder},
        png::PngDecoder,
        webp::{WebPDecoder, WebPEncoder},
    },
};
use stonechat_model::limits;

use self::exif::Orientation;
use crate::{Deadline, Description, Kind, MediaError, Source, Thumbnail, source};

/// Quality of thumbnails in JPEG.
const QUALITY: u8 = 80;
/// Longest side of what a blurhash is made of.
const BLUR_PIXELS: u32 = 32;

/// A picture without metadata.
struct Stripped {
    bytes: Vec<u8>,
    orientation: Orientation,
    is_animated: bool,
}

fn ended() -> MediaError {
    MediaError::Malformed("it ends too early")
}

/// Bytes that stop coming when the deadline has passed: the only hold on a decoder that runs.
struct Until<'a> {
    data: Cursor<&'a [u8]>,
    deadline: Deadline,
}

impl Until<'_> {
    fn check(&self) -> std::io::Result<()> {
        self.deadline.check().map_err(|error| std::io::Error::new(std::io::ErrorKind::TimedOut, error))
    }
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.check()?;
        let most = into.len().min(Self::STEP_BYTES);
        self.data.read(&mut into[..most])
    }
}

impl Until<'_> {
    /// A thousand times as much may come out of it.
    const STEP_BYTES: usize = 16_384;
}

impl BufRead for Until<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.check()?;
        let bytes = self.data.fill_buf()?;
        Ok(&bytes[..bytes.len().min(Self::STEP_BYTES)])
    }

    fn consume(&mut self, amount: usize) {
        self.data.consume(amount);
    }
}

impl Seek for Until<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.data.seek(to)
    }
}

/// What decoding may allocate, by its header: `(width, height, bytes)`.
fn promise(kind: Kind, decoder: &dyn ImageDecoder) -> Result<(u32, u32, u64), MediaError> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits::PICTURE_PIXELS || width == 0 || height == 0 {
        return Err(MediaError::TooManyPixels { width, height });
    }
    // Progressive JPEG holds coefficients, WebP a canvas, beside the pixels.
    let times = if matches!(kind, Kind::Jpeg | Kind::Webp) { 3 } else { 2 };
    Ok((width, height, decoder.total_bytes().saturating_mul(times)))
}

fn decoder<'a>(kind: Kind, data: &'a [u8], deadline: Deadline) -> Result<Box<dyn ImageDecoder + 'a>, MediaError> {
    let until = Until { data: Cursor::new(data), deadline };
    let mut most = Limits::no_limits();
    most.max_alloc = Some(limits::MEDIA_MEMORY_BYTES as u64);
    let mut decoder: Box<dyn ImageDecoder + 'a> = match kind {
        Kind::Jpeg => Box::new(JpegDecoder::new(until)?),
        Kind::Png => Box::new(PngDecoder::with_limits(until, most.clone())?),
        Kind::Gif => Box::new(GifDecoder::new(until)?),
        Kind::Webp => Box::new(WebPDecoder::new(until)?),
        _ => return Err(MediaError::NotDescribed),
    };
    decoder.set_limits(most)?;
    Ok(decoder)
}

/// What describing a picture allocates at most, in bytes, by its header.
pub(crate) fn cost_bytes(kind: Kind, source: &dyn Source) -> Result<u64, MediaError> {
    // JPEG's dimensions may stand behind any number of segments, so the whole file is read.
    let data = source::all(source, limits::PICTURE_BYTES)?;
    let stripped = strip(kind, &data)?;
    let (.., bytes) = promise(kind, decoder(kind, &stripped.bytes, Deadline::NEVER)?.as_ref())?;
    Ok(bytes + 2 * data.len() as u64)
}

fn strip(kind: Kind, data: &[u8]) -> Result<Stripped, MediaError> {
    match kind {
        Kind::Jpeg => jpeg::strip(data),
        Kind::Png => png::strip(data),
        Kind::Gif => gif::strip(data),
        Kind::Webp => webp::strip(data),
        _ => Err(MediaError::NotDescribed),
    }
}

/// Describes a picture.
pub(crate) fn describe(kind: Kind, source: &dyn Source, deadline: Deadline) -> Result<Description, MediaError> {
    let data = source::all(source, limits::PICTURE_BYTES)?;
    let stripped = strip(kind, &data)?;
    let decoder = decoder(kind, &stripped.bytes, deadline)?;
    let (width, height, _) = promise(kind, decoder.as_ref())?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| late(error, deadline))?;
    deadline.check()?;
    let mut thumbnails = Vec::new();
    let mut smaller = picture;
    for side in [limits::THUMBNAIL_LARGE_PIXELS, limits::THUMBNAIL_SMALL_PIXELS] {
        let is_larger = smaller.width().max(smaller.height()) > side;
        if is_larger {
            smaller = smaller.thumbnail(side, side);
        }
        // A picture that is small itself needs no large thumbnail.
        if is_larger || side == limits::THUMBNAIL_SMALL_PIXELS {
            thumbnails.push(thumbnail(&smaller, stripped.orientation)?);
        }
        deadline.check()?;
    }
    let mut tiny = smaller.thumbnail(BLUR_PIXELS, BLUR_PIXELS);
    tiny.apply_orientation(stripped.orientation.to_image());
    let is_sideways = stripped.orientation.is_sideways();
    let (width, height) = if is_sideways { (height, width) } else { (width, height) };
    Ok(Description {
        kind: Some(kind),
        width,
        height,
        is_animated: stripped.is_animated,
        blurhash: blurhash::encode(&on_white(&tiny), 4, 3),
        thumbnails,
        stripped: Some(stripped.bytes),
        ..Description::default()
    })
}

/// Says that it was too late where a decoder says that it could not read on.
fn late(error: ImageError, deadline: Deadline) -> MediaError {
    deadline.check().err().unwrap_or(MediaError::Decode(error))
}

/// A thumbnail: JPEG, or lossless WebP where one sees through it.
fn thumbnail(picture: &DynamicImage, orientation: Orientation) -> Result<Thumbnail, MediaError> {
    let mut picture = picture.clone();
    picture.apply_orientation(orientation.to_image());
    let (width, height) = (picture.width(), picture.height());
    let mut bytes = Vec::new();
    let rgba = picture.color().has_alpha().then(|| picture.to_rgba8());
    let media_type = match rgba {
        Some(rgba) if rgba.pixels().any(|pixel| pixel.0[3] < 255) => {
            WebPEncoder::new_lossless(&mut bytes).write_image(&rgba, width, height, ExtendedColorType::Rgba8)?;
            "image/webp"
        }
        _ => {
            let rgb = picture.to_rgb8();
            JpegEncoder::new_with_quality(&mut bytes, QUALITY).write_image(
                &rgb,
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
            "image/jpeg"
        }
    };
    Ok(Thumbnail { bytes, media_type, width, height })
}

/// What is seen through is white.
fn on_white(picture: &DynamicImage) -> image::RgbImage {
    let rgba = picture.to_rgba8();
    image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        let over = |value: u8| {
            let mixed = u32::from(value) * u32::from(a) + 255 * (255 - u32::from(a));
            u8::try_from(mixed / 255).unwrap_or(u8::MAX)
        };
        image::Rgb([over(r), over(g), over(b)])
    })
}
