//! placeholder
/// placeholder
pub struct EmbeddedRows; /// placeholder
pub struct EmbeddedRowsConfig;
