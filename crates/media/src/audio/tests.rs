//! Sound made here.

use proptest::prelude::*;

use crate::{Deadline, Description, Kind, MediaError, describe};

fn read(bytes: &[u8]) -> Result<Description, MediaError> {
    describe(&bytes.to_vec(), Deadline::NEVER)
}

/// A WAVE of 16-bit samples at 8 kHz, one channel.
fn wav(samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
    bytes.extend_from_slice(b"LIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&8_000_u32.to_le_bytes());
    bytes.extend_from_slice(&16_000_u32.to_le_bytes());
    bytes.extend_from_slice(&[2, 0, 16, 0]);
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

fn ogg_page(serial: u32, granule: u64, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend_from_slice(&granule.to_le_bytes());
    page.extend_from_slice(&serial.to_le_bytes());
    page.extend_from_slice(&[0; 8]);
    page.extend_from_slice(&[1, u8::try_from(packet.len()).unwrap()]);
    page.extend_from_slice(packet);
    page
}

fn opus(seconds: u64) -> Vec<u8> {
    let head = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0";
    let mut bytes = ogg_page(7, 0, head);
    bytes.extend_from_slice(&ogg_page(7, u64::MAX, &[1; 200]));
    bytes.extend_from_slice(&ogg_page(7, seconds * 48_000 + 312, &[2; 40]));
    // Another stream's page does not count.
    bytes.extend_from_slice(&ogg_page(8, 1 << 40, &[3; 40]));
    bytes
}

/// MPEG 1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes of 1152 samples each.
fn mp3(frames: usize) -> Vec<u8> {
    let mut bytes = b"ID3\x04\0\0\0\0\x01\x00".to_vec();
    bytes.extend_from_slice(&[0; 128]);
    for _ in 0..frames {
        bytes.extend_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
        bytes.extend_from_slice(&[0x11; 413]);
    }
    bytes
}

fn adts(frames: usize) -> Vec<u8> {
    // 44.1 kHz, 200 bytes a frame.
    let frame = [[0xff, 0xf1, 0x50, 0x80, 0x19, 0x00, 0xfc].as_slice(), &[0; 193]].concat();
    frame.repeat(frames)
}

#[test]
fn a_recording_has_a_duration_and_a_waveform() {
    // Two seconds: silence, then as loud as it gets.
    let samples: Vec<i16> = (0..16_000).map(|at| if at < 8_000 { 0 } else { i16::MAX }).collect();
    let described = read(&wav(&samples)).unwrap();
    assert_eq!((described.kind, described.duration_ms), (Some(Kind::Wav), 2_000));
    assert_eq!(described.waveform.len(), 64);
    assert!(described.waveform[..32].iter().all(|peak| *peak == 0));
    assert!(described.waveform[32..].iter().all(|peak| *peak == 100));
    let short = read(&wav(&[1; 10])).unwrap();
    assert_eq!((short.duration_ms, short.waveform.len()), (1, 64));
    assert!(read(&wav(&[])).unwrap().waveform.is_empty());
}

#[test]
fn compressed_sound_has_a_duration() {
    assert_eq!(read(&opus(5)).unwrap().duration_ms, 5_000);
    let described = read(&mp3(100)).unwrap();
    assert_eq!((described.kind, described.duration_ms), (Some(Kind::Mp3), 100 * 1_152 * 1_000 / 44_100));
    assert_eq!(read(&adts(43)).unwrap().duration_ms, 43 * 1_024 * 1_000 / 44_100);
}

#[test]
fn an_encoders_own_count_of_frames_is_believed() {
    let mut bytes = mp3(2);
    let frame = 138;
    bytes[frame + 36..frame + 48].copy_from_slice(b"Xing\0\0\0\x01\0\0\x03\xe8");
    assert_eq!(read(&bytes).unwrap().duration_ms, 1_000 * 1_152 * 1_000 / 44_100);
}

#[test]
fn what_is_no_sound_is_refused() {
    for bytes in [
        b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff".as_slice(),
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0data\0\0\0\0",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        &opus(1)[..60],
    ] {
        assert!(read(bytes).is_err(), "{bytes:02x?}");
    }
    // Chunks that never come to samples.
    let endless = [b"RIFF\0\0\0\0WAVE".as_slice(), &b"junk\0\0\0\0".repeat(2_000)].concat();
    assert!(matches!(read(&endless), Err(MediaError::TooManySteps)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_changed_anywhere_harms(
        which in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut sound = [wav(&[5; 300]), opus(2), mp3(4), adts(4)][which].clone();
        for (at, byte) in changes {
            let at = at.index(sound.len());
            sound[at] = byte;
        }
        if let Ok(described) = read(&sound) {
            prop_assert!(described.waveform.len() <= 64 && described.waveform.iter().all(|peak| *peak <= 100));
        }
    }
}
