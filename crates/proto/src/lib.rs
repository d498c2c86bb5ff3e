//! The contracts of `proto/` as Rust types.
//!
//! The public types also carry the one JSON shape of REST, WebSocket and webhooks: `snake_case`,
//! RFC 3339 times, enums by their short names, one-ofs inline. See [`json`].

pub mod json;
pub mod shape;

/// The public contract, package `stonechat.v1`.
#[allow(clippy::all, clippy::too_many_lines, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("stonechat.v1");
}

/// The contract between roles, package `stonechat.internal.v1`.
#[allow(missing_docs, clippy::all, clippy::too_many_lines, reason = "generated")]
pub mod internal {
    pub mod v1 {
        tonic::include_proto!("stonechat.internal.v1");
    }
}

/// The first eight bytes of the SHA-256 of a message's encoding: what tells a command sent again from another one.
pub fn content_hash(message: &impl prost::Message) -> u64 {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(message.encode_to_vec());
    u64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// The descriptors of every contract, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
