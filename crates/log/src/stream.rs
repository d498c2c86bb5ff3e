//! placeholder
/// placeholder
pub struct EmbeddedEventStream;
