//! Containers of video and sound: what they say of size and duration. Nothing in them is decoded or run.

mod mp4;
#[cfg(test)]
mod tests;
mod webm;

pub(crate) use mp4::mp4;
pub(crate) use webm::webm;
