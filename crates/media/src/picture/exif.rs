//! The one thing kept of what cameras write: which way is up (Exif 2.32, tag 0x0112).

/// Which of the eight ways a picture is turned; 1 is upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orientation(u8);

const TAG: u16 = 0x0112;
/// Most entries of a directory that are looked at. No other directory is followed, so none can lead in a circle.
const ENTRIES: usize = 512;

impl Orientation {
    /// Upright.
    pub const UPRIGHT: Self = Self(1);

    /// Whether width and height change places.
    pub fn is_sideways(self) -> bool {
        self.0 >= 5
    }

    /// As the decoders' crate names it.
    pub fn to_image(self) -> image::metadata::Orientation {
        image::metadata::Orientation::from_exif(self.0).unwrap_or(image::metadata::Orientation::NoTransforms)
    }

    /// Reads the first directory of a TIFF structure; upright where it does not say.
    pub fn read(tiff: &[u8]) -> Self {
        find(tiff).unwrap_or(Self::UPRIGHT)
    }

    /// A TIFF structure that says this and nothing else; `None` when upright.
    pub fn write(self) -> Option<[u8; 26]> {
        if self == Self::UPRIGHT {
            return None;
        }
        let mut tiff = [0; 26];
        tiff[..8].copy_from_slice(b"MM\0\x2a\0\0\0\x08");
        // One entry: the tag, a short, one of them, its value; then no further directory.
        tiff[8..20].copy_from_slice(&[0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, self.0]);
        Some(tiff)
    }
}

fn find(tiff: &[u8]) -> Option<Orientation> {
    let is_big = match tiff.get(..4)? {
        b"MM\0\x2a" => true,
        b"II\x2a\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at.checked_add(1)?)?];
        Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let offset: [u8; 4] = tiff.get(4..8)?.try_into().ok()?;
    let offset = if is_big { u32::from_be_bytes(offset) } else { u32::from_le_bytes(offset) } as usize;
    for entry in 0..usize::from(short(offset)?).min(ENTRIES) {
        let at = offset.checked_add(2 + entry * 12)?;
        if short(at)? == TAG && short(at + 2)? == 3 {
            return match short(at + 8)? {
                value @ 1..=8 => u8::try_from(value).ok().map(Orientation),
                _ => None,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in 2..=8 {
            let orientation = Orientation(value);
            assert_eq!(Orientation::read(&orientation.write().unwrap()), orientation);
        }
        assert_eq!(Orientation::UPRIGHT.write(), None);
    }

    #[test]
    fn a_directory_that_leads_in_a_circle_or_nowhere_is_upright() {
        // The next directory is the first again, and an entry points to itself.
        let circle = b"MM\0\x2a\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08";
        for tiff in [&circle[..], b"MM\0\x2a\xff\xff\xff\xff", b"II\x2a\0\x08\0\0\0\xff\xff", b"", b"II"] {
            assert_eq!(Orientation::read(tiff), Orientation::UPRIGHT, "{tiff:02x?}");
        }
        let nine = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0";
        assert_eq!(Orientation::read(nine), Orientation::UPRIGHT);
    }
}
