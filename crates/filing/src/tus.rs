//! Headers of the tus protocol, version 1.0.0: <https://tus.io/protocols/resumable-upload>.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha1::Digest as _;
use stonechat_model::{FileId, limits};

/// The version that is spoken.
pub const VERSION: &str = "1.0.0";
/// The extensions that are spoken.
pub const EXTENSIONS: &str = "creation,creation-with-upload,expiration,checksum,termination,concatenation";
/// The checksums that are understood.
pub const CHECKSUMS: &str = "sha1,sha256,md5";

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not of its form.
    #[error("{0} is not of its form")]
    Malformed(&'static str),
    /// It is longer than it may be.
    #[error("{0} is longer than it may be")]
    TooLong(&'static str),
    /// A checksum of a kind that is not understood.
    #[error("checksums are sha1, sha256 or md5")]
    UnknownChecksum,
}

/// What a client says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The name: `filename`, or `name`.
    pub name: String,
    /// The file that shows a video: `poster`.
    pub poster: Option<FileId>,
    /// For whom a server uploads: `owner`.
    pub owner: String,
}

/// Reads `Upload-Metadata`: pairs of a key and, after a space, a value in base64, with commas between them.
pub fn metadata(header: &str) -> Result<Metadata, HeaderError> {
    const NAME: &str = "Upload-Metadata";
    let malformed = HeaderError::Malformed(NAME);
    if header.len() > limits::UPLOAD_METADATA_BYTES {
        return Err(HeaderError::TooLong(NAME));
    }
    let mut found = Metadata::default();
    let mut keys: Vec<&str> = Vec::new();
    for pair in header.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if !key.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) || keys.contains(&key) {
            return Err(malformed);
        }
        keys.push(key);
        let value = BASE64_STANDARD.decode(value.trim()).map_err(|_| malformed)?;
        let text = || String::from_utf8_lossy(&value).into_owned();
        match key {
            "filename" => found.name = text(),
            "name" if found.name.is_empty() => found.name = text(),
            "poster" => found.poster = Some(FileId::parse(&text()).map_err(|_| malformed)?),
            "owner" => found.owner = text(),
            _ => {}
        }
    }
    Ok(found)
}

/// What an upload is for: `Upload-Concat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concat {
    /// A part.
    Partial,
    /// What these parts make, in their order.
    Final(Vec<FileId>),
}

/// Reads `Upload-Concat`. Parts are URLs whose path is that of an upload here.
pub fn concat(header: &str) -> Result<Concat, HeaderError> {
    const NAME: &str = "Upload-Concat";
    let header = header.trim();
    if header == "partial" {
        return Ok(Concat::Partial);
    }
    let parts = header.strip_prefix("final;").ok_or(HeaderError::Malformed(NAME))?;
    let mut ids = Vec::new();
    for url in parts.split(' ').filter(|url| !url.is_empty()) {
        if ids.len() == limits::UPLOAD_PARTS {
            return Err(HeaderError::TooLong(NAME));
        }
        let id = url.rsplit_once("/v1/uploads/").and_then(|(_, id)| FileId::parse(id).ok());
        ids.push(id.ok_or(HeaderError::Malformed(NAME))?);
    }
    if ids.is_empty() { Err(HeaderError::Malformed(NAME)) } else { Ok(Concat::Final(ids)) }
}

/// A checksum of what a request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    kind: ChecksumKind,
    expected: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChecksumKind {
    Sha1,
    Sha256,
    Md5,
}

/// Reads `Upload-Checksum`: a kind, a space, and the sum in base64.
pub fn checksum(header: &str) -> Result<Checksum, HeaderError> {
    let malformed = HeaderError::Malformed("Upload-Checksum");
    let (kind, sum) = header.trim().split_once(' ').ok_or(malformed)?;
    let (kind, length) = match kind {
        "sha1" => (ChecksumKind::Sha1, 20),
        "sha256" => (ChecksumKind::Sha256, 32),
        "md5" => (ChecksumKind::Md5, 16),
        _ => return Err(HeaderError::UnknownChecksum),
    };
    let expected = BASE64_STANDARD.decode(sum.trim()).map_err(|_| malformed)?;
    if expected.len() == length { Ok(Checksum { kind, expected }) } else { Err(malformed) }
}

/// Sums up bytes.
pub struct Summing {
    state: SumState,
    expected: Vec<u8>,
}

enum SumState {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Md5(md5::Md5),
}

impl Checksum {
    /// Begins to sum up.
    pub fn begin(self) -> Summing {
        let state = match self.kind {
            ChecksumKind::Sha1 => SumState::Sha1(sha1::Sha1::new()),
            ChecksumKind::Sha256 => SumState::Sha256(sha2::Sha256::new()),
            ChecksumKind::Md5 => SumState::Md5(md5::Md5::new()),
        };
        Summing { state, expected: self.expected }
    }
}

impl Summing {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            SumState::Sha1(sum) => sum.update(bytes),
            SumState::Sha256(sum) => sum.update(bytes),
            SumState::Md5(sum) => sum.update(bytes),
        }
    }

    /// Whether the sum is what was expected.
    pub fn is_right(self) -> bool {
        let sum = match self.state {
            SumState::Sha1(sum) => sum.finalize().to_vec(),
            SumState::Sha256(sum) => sum.finalize().to_vec(),
            SumState::Md5(sum) => sum.finalize().to_vec(),
        };
        sum == self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_pairs_in_base64() {
        let found = metadata("filename d29ybGQucGRm,is_confidential, owner YWxpY2U=").unwrap();
        assert_eq!((found.name.as_str(), found.owner.as_str()), ("world.pdf", "alice"));
        assert_eq!(metadata("").unwrap(), Metadata::default());
        for bad in ["filename !!!", "filename YQ==,filename YQ==", "poster Li4vLi4=", "file\u{e9} YQ=="] {
            assert_eq!(metadata(bad), Err(HeaderError::Malformed("Upload-Metadata")), "{bad}");
        }
        assert!(matches!(metadata(&"a,".repeat(5_000)), Err(HeaderError::TooLong(_))));
    }

    #[test]
    fn parts_are_uploads_of_this_server() {
        assert_eq!(concat("partial"), Ok(Concat::Partial));
        let made = concat("final;/v1/uploads/fl_1 https://chat.example/v1/uploads/fl_2").unwrap();
        assert_eq!(made, Concat::Final(vec![FileId::parse("fl_1").unwrap(), FileId::parse("fl_2").unwrap()]));
        for bad in ["", "final;", "final", "final;/v1/uploads/../x", "final;/other/fl_1", "partial;x"] {
            assert!(concat(bad).is_err(), "{bad}");
        }
        let many = format!("final;{}", "/v1/uploads/fl_1 ".repeat(limits::UPLOAD_PARTS + 1));
        assert_eq!(concat(&many), Err(HeaderError::TooLong("Upload-Concat")));
    }

    #[test]
    fn checksums_tell_right_bytes_from_wrong_ones() {
        for header in [
            "sha1 Lve95gjOVATpfV8EL5X4nxwjKHE=",
            "sha256 f4OxZX/x/FO5LcGBSKHWXfwtSx+j1ncoSt3SABJtkGk=",
            "md5 7Qdih1MuhjZehB6Sv8UNjA==",
        ] {
            let sum = checksum(header).unwrap();
            let mut right = sum.clone().begin();
            right.update(b"Hello ");
            right.update(b"World!");
            assert!(right.is_right(), "{header}");
            let mut wrong = sum.begin();
            wrong.update(b"Hello World?");
            assert!(!wrong.is_right(), "{header}");
        }
        assert_eq!(checksum("crc32 AAAA"), Err(HeaderError::UnknownChecksum));
        for bad in ["sha1", "sha1 !!", "sha1 AAAA", ""] {
            assert_eq!(checksum(bad), Err(HeaderError::Malformed("Upload-Checksum")), "{bad}");
        }
    }
}
