//! Containers made here.

use proptest::prelude::*;

use crate::{Deadline, Description, Kind, MediaError, describe};

fn read(bytes: &[u8]) -> Result<Description, MediaError> {
    describe(&bytes.to_vec(), Deadline::NEVER)
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap().to_be_bytes();
    [length.as_slice(), kind, content].concat()
}

fn track(handler: &[u8; 4], width: u32, height: u32, sideways: bool) -> Vec<u8> {
    let one = 0x0001_0000_u32.to_be_bytes();
    let (upright, turned) = if sideways { ([0; 4], one) } else { (one, [0; 4]) };
    let mut header = vec![0; 40];
    header.extend_from_slice(
        &[upright, turned, [0; 4], turned, upright, [0; 4], [0; 4], [0; 4], [0x40, 0, 0, 0]].concat(),
    );
    header.extend_from_slice(&(width << 16).to_be_bytes());
    header.extend_from_slice(&(height << 16).to_be_bytes());
    let handler = boxed(b"hdlr", &[[0; 8].as_slice(), handler, &[0; 12]].concat());
    boxed(b"trak", &[boxed(b"tkhd", &header), boxed(b"mdia", &handler)].concat())
}

fn mp4(brand: &[u8; 4], duration: u32, tracks: &[Vec<u8>]) -> Vec<u8> {
    let mut header = vec![0; 12];
    header.extend_from_slice(&600_u32.to_be_bytes());
    header.extend_from_slice(&duration.to_be_bytes());
    header.extend_from_slice(&[0; 80]);
    let movie = boxed(b"moov", &[boxed(b"mvhd", &header), tracks.concat()].concat());
    [boxed(b"ftyp", &[brand.as_slice(), &[0; 4]].concat()), boxed(b"mdat", &[9; 5_000]), movie].concat()
}

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let length = (0x1000_0000 | u32::try_from(content.len()).unwrap()).to_be_bytes();
    [id, &length, content].concat()
}

const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// As a browser records it: no duration, and clusters of unknown length.
fn webm(duration: Option<f64>) -> Vec<u8> {
    let mut info = element(&[0x2a, 0xd7, 0xb1], &1_000_000_u32.to_be_bytes());
    if let Some(duration) = duration {
        info.extend_from_slice(&element(&[0x44, 0x89], &duration.to_be_bytes()));
    }
    let video = element(&[0xe0], &[element(&[0xb0], &[2, 128]), element(&[0xba], &[1, 224])].concat());
    let tracks = element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &video));
    let mut bytes = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"webm"));
    bytes.extend_from_slice(&[0x18, 0x53, 0x80, 0x67]);
    bytes.extend_from_slice(&UNKNOWN);
    bytes.extend_from_slice(&element(&[0x15, 0x49, 0xa9, 0x66], &info));
    bytes.extend_from_slice(&tracks);
    for cluster in 0_u16..3 {
        bytes.extend_from_slice(&[0x1f, 0x43, 0xb6, 0x75]);
        bytes.extend_from_slice(&UNKNOWN);
        bytes.extend_from_slice(&element(&[0xe7], &(cluster * 1_000).to_be_bytes()));
        for block in 0_u16..50 {
            let time = (block * 20).to_be_bytes();
            bytes.extend_from_slice(&element(&[0xa3], &[0x81, time[0], time[1], 0x80, 1, 2, 3]));
        }
    }
    bytes
}

#[test]
fn a_movie_says_its_size_and_duration() {
    let described = read(&mp4(b"isom", 1_500, &[track(b"soun", 0, 0, false), track(b"vide", 1920, 1080, false)]));
    let described = described.unwrap();
    assert_eq!(described.kind, Some(Kind::Mp4));
    assert_eq!((described.width, described.height, described.duration_ms), (1920, 1080, 2_500));
    let turned = read(&mp4(b"qt  ", 600, &[track(b"vide", 1920, 1080, true)])).unwrap();
    assert_eq!((turned.width, turned.height), (1080, 1920));
    assert_eq!(turned.media_type(), "video/quicktime");
    let voice = read(&mp4(b"mp42", 600, &[track(b"soun", 0, 0, false)])).unwrap();
    assert_eq!((voice.media_type(), voice.duration_ms), ("audio/mp4", 1_000));
}

#[test]
fn a_browsers_recording_says_its_size_and_its_blocks_the_duration() {
    let described = read(&webm(None)).unwrap();
    assert_eq!((described.width, described.height, described.duration_ms), (640, 480, 2_980));
    assert_eq!(read(&webm(Some(7_250.0))).unwrap().duration_ms, 7_250);
}

#[test]
fn containers_that_lead_in_circles_or_nowhere_end() {
    let mut shorter = mp4(b"isom", 600, &[]);
    let at = shorter.len() - 108;
    shorter[at..at + 4].copy_from_slice(&4_u32.to_be_bytes());
    let deep =
        (0..40_000).fold(Vec::new(), |inner, _| if inner.len() > 60_000 { inner } else { boxed(b"moov", &inner) });
    let many = boxed(b"moov", &boxed(b"free", b"").repeat(6_000));
    let huge = [boxed(b"ftyp", b"isom\0\0\0\0"), b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()].concat();
    let ftyp = |rest: Vec<u8>| [boxed(b"ftyp", b"isom\0\0\0\0"), rest].concat();
    for bytes in [shorter, ftyp(many), huge] {
        assert!(read(&bytes).is_err());
    }
    // Boxes in boxes are looked into a few levels deep and no further.
    assert!(read(&ftyp(deep)).is_ok());
    let nan = webm(Some(f64::NAN));
    assert!(read(&nan).is_err());
    for duration in [f64::MAX, -5.0, f64::MIN_POSITIVE] {
        assert!(read(&webm(Some(duration))).is_ok_and(|described| described.duration_ms <= 1_000_000_000_000_000));
    }
    let empty = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"webm"));
    assert!(read(&empty).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_changed_or_cut_anywhere_harms(
        which in 0_usize..2,
        length in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut video = [mp4(b"isom", 600, &[track(b"vide", 9, 9, false)]), webm(None)][which].clone();
        for (at, byte) in changes {
            let at = at.index(video.len());
            video[at] = byte;
        }
        video.truncate(length.index(video.len()) + 1);
        let _ = read(&video);
    }
}
