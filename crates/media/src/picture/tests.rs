//! Pictures made here, good and hostile.

use image::{
    DynamicImage, Frame, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::{
        gif::{GifEncoder, Repeat},
        jpeg::JpegEncoder,
        png::PngEncoder,
        webp::WebPEncoder,
    },
};
use proptest::prelude::*;

use super::*;
use crate::{cost_bytes, describe, sniff};

/// A place, as a camera writes it, and a word to look for.
const SECRET: &[u8] = b"48.8584N 2.2945E";

fn scene(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let value = |v: u32, most: u32| u8::try_from(v * 255 / most.max(1)).unwrap();
        Rgb([value(x, width), value(y, height), 64])
    })
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new(&mut bytes).encode_image(&scene(width, height)).unwrap();
    bytes
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(picture.as_bytes(), picture.width(), picture.height(), picture.color().into())
        .unwrap();
    bytes
}

fn webp(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    WebPEncoder::new_lossless(&mut bytes)
        .encode(&scene(width, height), width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

fn gif(frames: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        encoder.set_repeat(Repeat::Infinite).unwrap();
        for frame in 0..frames {
            let picture = RgbaImage::from_pixel(24, 16, Rgba([frame * 40, 10, 200, 255]));
            encoder.encode_frame(Frame::new(picture)).unwrap();
        }
    }
    bytes
}

/// Exif with an orientation and a place.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II\x2a\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend_from_slice(&[0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    // GPS: a directory elsewhere.
    tiff.extend_from_slice(&[0x25, 0x88, 4, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0, 0, 0, 0]);
    tiff.extend_from_slice(SECRET);
    tiff
}

fn with_segment(jpeg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, content, &jpeg[2..]].concat()
}

fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    // Behind the header chunk.
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let body = [kind.as_slice(), content].concat();
    let sum = png::crc_of(&body).to_be_bytes();
    [&png[..33], &length, &body, &sum, &png[33..]].concat()
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn read(bytes: &[u8]) -> Result<Description, MediaError> {
    describe(&bytes.to_vec(), Deadline::NEVER)
}

fn pixels(bytes: &[u8]) -> DynamicImage {
    image::load_from_memory(bytes).unwrap()
}

#[test]
fn a_place_is_taken_out_and_no_pixel_is_touched() {
    let plain = DynamicImage::ImageRgb8(scene(40, 20));
    let webp_with_exif = {
        let inner = webp(40, 20);
        let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
        bytes.extend_from_slice(&[0x0c, 0, 0, 0, 39, 0, 0, 19, 0, 0]);
        bytes.extend_from_slice(&inner[12..]);
        for kind in [b"EXIF", b"XMP "] {
            bytes.extend_from_slice(kind);
            bytes.extend_from_slice(&u32::try_from(exif(6).len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&exif(6));
        }
        let length = u32::try_from(bytes.len() - 8).unwrap();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let exif_segment = [b"Exif\0\0".as_slice(), &exif(6)].concat();
    let jpeg = with_segment(&with_segment(&jpeg(40, 20), 0xfe, SECRET), 0xe1, &exif_segment);
    let png = with_chunk(&with_chunk(&png(&plain), b"tEXt", SECRET), b"eXIf", &exif(6));
    for original in [jpeg, png, webp_with_exif] {
        assert!(holds(&original, SECRET));
        let trailing = [original.as_slice(), SECRET].concat();
        let described = read(&trailing).unwrap();
        let stripped = described.stripped.unwrap();
        assert!(!holds(&stripped, SECRET), "{:?}", described.kind);
        assert_eq!(pixels(&stripped).as_bytes(), pixels(&original).as_bytes(), "{:?}", described.kind);
        // Which way is up stays, and is applied to what is told and made.
        assert_eq!((described.width, described.height), (20, 40), "{:?}", described.kind);
        let small = &described.thumbnails[0];
        assert_eq!((small.width, small.height), (20, 40));
        assert_eq!(read(&stripped).unwrap().stripped.unwrap(), stripped, "what is clean stays as it is");
    }
}

#[test]
fn turning_by_orientation_brings_the_top_up() {
    // Red at the left; with orientation 6 (turn right by a quarter) the left comes to the top.
    let picture = RgbImage::from_fn(64, 32, |x, _| if x < 32 { Rgb([250, 0, 0]) } else { Rgb([0, 0, 250]) });
    let bytes = with_chunk(&png(&DynamicImage::ImageRgb8(picture)), b"eXIf", &exif(6));
    let thumbnail = pixels(&read(&bytes).unwrap().thumbnails[0].bytes).to_rgb8();
    assert!(thumbnail.get_pixel(16, 8)[0] > 200, "the top is red");
    assert!(thumbnail.get_pixel(16, 56)[2] > 200, "the bottom is blue");
}

#[test]
fn thumbnails_come_in_two_sizes_and_see_through_where_the_picture_does() {
    let large = read(&jpeg(2000, 1000)).unwrap();
    let sizes: Vec<_> = large.thumbnails.iter().map(|t| (t.width, t.height, t.media_type)).collect();
    assert_eq!(sizes, [(1280, 640, "image/jpeg"), (320, 160, "image/jpeg")]);
    assert_eq!((large.width, large.height, large.blurhash.len()), (2000, 1000, 28));
    for thumbnail in &large.thumbnails {
        let decoded = pixels(&thumbnail.bytes);
        assert_eq!((decoded.width(), decoded.height()), (thumbnail.width, thumbnail.height));
    }
    let clear = RgbaImage::from_pixel(400, 400, Rgba([255, 0, 0, 100]));
    let clear = read(&png(&DynamicImage::ImageRgba8(clear))).unwrap();
    assert_eq!(clear.thumbnails.len(), 1);
    assert_eq!(clear.thumbnails[0].media_type, "image/webp");
    assert_eq!(pixels(&clear.thumbnails[0].bytes).to_rgba8().get_pixel(5, 5)[3], 100);
}

#[test]
fn an_animated_picture_stays_animated() {
    let mut original = gif(3);
    // A comment and a block of another program before the trailer.
    original.pop();
    original.extend_from_slice(&[0x21, 0xfe, 16]);
    original.extend_from_slice(SECRET);
    original.extend_from_slice(b"\0\x21\xff\x0bXMP DataXMP\x10");
    original.extend_from_slice(SECRET);
    original.extend_from_slice(b"\0\x3b");
    let described = read(&original).unwrap();
    assert!(described.is_animated);
    let stripped = described.stripped.unwrap();
    assert!(!holds(&stripped, SECRET));
    assert!(holds(&stripped, b"NETSCAPE2.0"));
    let frames = |bytes: &[u8]| {
        let decoder = GifDecoder::new(Cursor::new(bytes.to_vec())).unwrap();
        image::AnimationDecoder::into_frames(decoder).collect_frames().unwrap().len()
    };
    assert_eq!((frames(&original), frames(&stripped)), (3, 3));
    assert!(!read(&gif(1)).unwrap().is_animated);
}

#[test]
fn an_animated_webp_keeps_its_frames_and_loses_what_is_hidden_in_them() {
    let still = webp(8, 8);
    let frame = |extra: &[u8]| {
        let mut content = vec![0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 100, 0, 0, 0];
        content.extend_from_slice(&still[12..]);
        content.extend_from_slice(extra);
        let mut chunk = b"ANMF".to_vec();
        chunk.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        chunk.extend_from_slice(&content);
        chunk
    };
    let hidden = [b"HIDE\x10\0\0\0".as_slice(), SECRET].concat();
    let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x07\0\0\x07\0\0ANIM\x06\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&frame(&hidden));
    bytes.extend_from_slice(&frame(b""));
    let length = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    let described = read(&bytes).unwrap();
    let stripped = described.stripped.unwrap();
    assert!(described.is_animated && !holds(&stripped, SECRET));
    let decoder = WebPDecoder::new(Cursor::new(&stripped)).unwrap();
    assert_eq!(image::AnimationDecoder::into_frames(decoder).collect_frames().unwrap().len(), 2);
    assert_eq!((described.width, described.height), (8, 8));
}

/// The header of a PNG of so many pixels.
fn png_header(side: u32) -> Vec<u8> {
    let mut header = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    let body = [b"IHDR".as_slice(), &side.to_be_bytes(), &side.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    header.extend_from_slice(&body);
    header.extend_from_slice(&png::crc_of(&body).to_be_bytes());
    header
}

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), content].concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [length.as_slice(), &body, &png::crc_of(&body).to_be_bytes()].concat()
}

#[test]
fn a_picture_of_fifty_thousand_by_fifty_thousand_is_refused_by_its_header() {
    let huge = [png_header(50_000), chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]), chunk(b"IEND", b"")].concat();
    for result in [read(&huge).map(drop), cost_bytes(&huge).map(drop)] {
        assert!(matches!(result, Err(MediaError::TooManyPixels { width: 50_000, height: 50_000 })), "{result:?}");
    }
    let mut huge = gif(1);
    huge[6..10].copy_from_slice(&[0xff; 4]);
    assert!(matches!(read(&huge), Err(MediaError::TooManyPixels { .. })));
}

#[test]
fn a_small_picture_that_unpacks_to_gigabytes_stops_at_its_size() {
    // Stored as if a thousand times longer: what follows the promised pixels is not unpacked for long.
    let zeros = vec![0_u8; 32 << 20];
    let packed = png::deflated(&zeros);
    assert!(packed.len() < 1 << 20, "a bomb is small");
    let bomb = [png_header(4), chunk(b"IDAT", &packed), chunk(b"IEND", b"")].concat();
    // Whether it is taken for a picture or refused, no more than its sixteen pixels come out.
    if let Ok(described) = read(&bomb) {
        assert_eq!((described.width, described.height), (4, 4));
    }
    let text = [png_header(4), chunk(b"zTXt", &[b"Comment\0\0".as_slice(), &packed].concat())].concat();
    let text = [text, chunk(b"IDAT", &png::deflated(&[0; 68])), chunk(b"IEND", b"")].concat();
    let described = read(&text).unwrap();
    assert!(described.stripped.unwrap().len() < 200, "the packed text is gone before anything unpacks it");
}

#[test]
fn a_picture_that_is_another_file_too_is_cut_to_the_picture() {
    let zip = b"PK\x03\x04 then a whole archive <script>alert(1)</script>";
    for picture in [jpeg(16, 16), png(&DynamicImage::ImageRgb8(scene(16, 16))), gif(1), webp(16, 16)] {
        let both = [picture.as_slice(), zip].concat();
        let described = read(&both).unwrap();
        assert!(!holds(&described.stripped.unwrap(), b"<script>"), "{:?}", described.kind);
    }
    let script = with_segment(&jpeg(16, 16), 0xfe, b"*/=alert(1)//<html>");
    assert!(!holds(&read(&script).unwrap().stripped.unwrap(), b"alert"));
    // Only the first bytes are a picture's.
    for page in [b"GIF89a/*<svg onload=alert(1)>*/=0".as_slice(), b"\xff\xd8\xff<html>", b"\x89PNG\r\n\x1a\n<html>"] {
        assert!(sniff(page).is_picture());
        assert!(read(page).is_err(), "{page:?}");
    }
}

#[test]
fn a_truncated_picture_is_refused_wherever_it_is_cut() {
    for picture in [jpeg(16, 16), png(&DynamicImage::ImageRgb8(scene(16, 16))), gif(2), webp(16, 16)] {
        for length in 12..picture.len() {
            assert!(read(&picture[..length]).is_err(), "{:?} cut at {length}", sniff(&picture));
        }
    }
}

#[test]
fn a_decoder_stops_when_its_time_is_over() {
    let picture = png(&DynamicImage::ImageRgb8(scene(64, 64)));
    let over = Deadline::after(std::time::Duration::ZERO);
    assert!(matches!(describe(&picture, over), Err(MediaError::TimedOut | MediaError::Decode(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_changed_anywhere_harms(
        which in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut picture = match which {
            0 => jpeg(20, 12),
            1 => png(&DynamicImage::ImageRgb8(scene(20, 12))),
            2 => gif(2),
            _ => webp(20, 12),
        };
        for (at, byte) in changes {
            let at = at.index(picture.len());
            picture[at] = byte;
        }
        if let Ok(described) = read(&picture)
            && let Some(stripped) = described.stripped
        {
            let again = read(&stripped);
            prop_assert!(again.is_ok_and(|again| again.stripped == Some(stripped)), "what was taken once is taken again");
        }
    }

    #[test]
    fn dimensions_are_those_of_the_picture(width in 1_u32..80, height in 1_u32..80) {
        for bytes in [jpeg(width, height), png(&DynamicImage::ImageRgb8(scene(width, height))), webp(width, height)] {
            let described = read(&bytes).unwrap();
            prop_assert_eq!((described.width, described.height), (width, height));
        }
    }
}
