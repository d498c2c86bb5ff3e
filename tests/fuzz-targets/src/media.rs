//! Files by their content.

use stonechat_media::{Deadline, Kind, cost_bytes, describe, sniff};
use stonechat_model::limits;

/// Longest file that is fed: what is longer takes time and finds nothing more.
const MOST_BYTES: usize = 65_536;

/// Any file is described or refused; what is told of it keeps to its bounds, and a picture that was cleaned is
/// taken again as it is.
pub fn file(data: &[u8]) {
    let data = data[..data.len().min(MOST_BYTES)].to_vec();
    let kind = sniff(&data);
    assert!(!kind.media_type().contains("html") && !kind.media_type().contains("svg"));
    let Ok(described) = describe(&data, Deadline::NEVER) else { return };
    assert!(described.waveform.len() <= limits::WAVEFORM_PEAKS);
    assert!(described.waveform.iter().all(|peak| *peak <= 100));
    assert!(described.thumbnails.len() <= 2);
    if let Some(stripped) = described.stripped {
        assert!(kind.is_picture() && kind != Kind::Text);
        assert!(u64::from(described.width) * u64::from(described.height) <= limits::PICTURE_PIXELS);
        assert!(cost_bytes(&stripped).is_ok(), "a cleaned picture has a cost");
        let again = describe(&stripped, Deadline::NEVER);
        assert!(again.is_ok_and(|again| again.stripped == Some(stripped)), "a cleaned picture is clean");
    }
}

/// One small file of every kind that is looked into.
pub fn seeds() -> Vec<Vec<u8>> {
    let scene = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 90]));
    let formats =
        [image::ImageFormat::Jpeg, image::ImageFormat::Png, image::ImageFormat::Gif, image::ImageFormat::WebP];
    let mut seeds = Vec::new();
    for format in formats {
        let mut bytes = std::io::Cursor::new(Vec::new());
        if scene.write_to(&mut bytes, format).is_ok() {
            seeds.push(bytes.into_inner());
        }
    }
    seeds.extend(CONTAINERS.iter().map(|container| container.concat()));
    seeds
}

/// WAVE, Ogg with Opus, MP3, AAC, MP4 and WebM, each as short as it may be.
const CONTAINERS: &[&[&[u8]]] = &[
    &[
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0",
        b"data\x08\0\0\0\0\0\xff\x7f\0\0\0\x80",
    ],
    &[
        b"OggS\0\x02\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0",
        b"OggS\0\x04\x80\xbb\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0\x01\x1eabcdefghijklmnopqrstuvwxyzabcd",
    ],
    &[b"ID3\x04\0\0\0\0\0\x02ab", &[0xff, 0xfb, 0x90, 0x64], &[0x11; 413], &[0xff, 0xfb, 0x90, 0x64], &[0x11; 413]],
    &[&[0xff, 0xf1, 0x50, 0x80, 0x01, 0x20, 0xfc, 0, 0, 0xff, 0xf1, 0x50, 0x80, 0x01, 0x20, 0xfc, 0, 0]],
    &[
        b"\0\0\0\x10ftypisom\0\0\0\0",
        b"\0\0\0\xd4moov\0\0\0\x28mvhd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x58\0\0\x04\xb0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\xa4trak\0\0\0\x5ctkhd\0\0\0\0",
        &[0; 36],
        &[
            0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0,
            0,
        ],
        &[2, 128, 0, 0, 1, 224, 0, 0],
        b"\0\0\0\x40mdia\0\0\0\x38hdlr\0\0\0\0\0\0\0\0vide",
        &[0; 36],
    ],
    &[
        b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
        b"\x15\x49\xa9\x66\x8e\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x84\x45\x83\x21\xff",
        b"\x16\x54\xae\x6b\x8a\xae\x88\xe0\x86\xb0\x81\x09\xba\x81\x07",
        b"\x1f\x43\xb6\x75\xff\xe7\x81\x05\xa3\x85\x81\0\x07\x80\0",
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_a_good_file() {
        let seeds = seeds();
        assert_eq!(seeds.len(), 10);
        for seed in seeds {
            let described = describe(&seed, Deadline::NEVER);
            assert!(described.is_ok(), "{:?}: {described:?}", sniff(&seed));
        }
    }
}
