//! placeholder
/// placeholder
pub struct EmbeddedCommandLog;
