//! Sound: how long it is and, where it is not compressed, how loud over time. Compressed sound is not decoded; a
//! voice message's waveform comes from the client that recorded it.

mod mpeg;
mod ogg;
#[cfg(test)]
mod tests;
mod wav;

pub(crate) use mpeg::{adts, mp3};
pub(crate) use ogg::ogg;
pub(crate) use wav::wav;

/// Milliseconds of so many samples at a rate; 0 where the rate is none.
fn milliseconds(samples: u64, rate: u32) -> u64 {
    let exact = u128::from(samples) * 1000;
    exact.checked_div(u128::from(rate)).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)
}
