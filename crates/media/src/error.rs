//! Why a file could not be described.

use std::io;

use thiserror::Error;

/// Why a file could not be described. None of these is a fault of the server but [`MediaError::Read`] and
/// [`MediaError::Busy`], which are worth another try.
#[derive(Debug, Error)]
pub enum MediaError {
    /// Nothing is known of files of its type.
    #[error("type is not described")]
    NotDescribed,
    /// The header promises more pixels than are decoded.
    #[error("picture of {width} x {height} pixels is beyond the limit")]
    TooManyPixels {
        /// As the header says.
        width: u32,
        /// As the header says.
        height: u32,
    },
    /// It is longer than what is read of its type.
    #[error("file of {0} bytes is beyond the limit")]
    TooLarge(u64),
    /// It is not what its first bytes say, or is cut off.
    #[error("file is malformed: {0}")]
    Malformed(&'static str),
    /// A decoder refused it.
    #[error("decode picture: {0}")]
    Decode(#[from] image::ImageError),
    /// Reading it takes more steps than one file may.
    #[error("file takes too many steps")]
    TooManySteps,
    /// It took longer than it may.
    #[error("deadline passed")]
    TimedOut,
    /// A decoder panicked.
    #[error("decoder failed")]
    Panicked,
    /// As much is worked on and waits as may.
    #[error("too much waits to be described")]
    Busy,
    /// The bytes could not be read.
    #[error("read file: {0}")]
    Read(#[from] io::Error),
}

impl MediaError {
    /// Whether the same file may be described at another time.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Busy)
    }
}
