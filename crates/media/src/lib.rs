//! What a file is, by its content: type, dimensions, duration, waveform, blurhash, thumbnails, and the same picture
//! without what its camera wrote beside the pixels.
//!
//! Everything here takes bytes from strangers. Two bounds stand before every decoder, since none can be stopped from
//! outside: what the header promises is checked before anything of that size is allocated, and readers count their
//! steps and look at the clock. [`Pool`] bounds how many run at once and what they may allocate together.

mod audio;
mod describe;
mod error;
mod kind;
mod picture;
mod pool;
mod source;
mod video;

pub use describe::{Description, Thumbnail, cost_bytes, describe};
pub use error::MediaError;
pub use kind::{HEAD_BYTES, Kind, sniff};
pub use pool::{Pool, PoolConfig};
pub use source::{Deadline, Source};
