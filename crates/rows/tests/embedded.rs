//! The embedded engine passes the suite of every engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, conformance::Engine};

async fn fresh() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    Engine { rows, is_atomic: true, equal_replaces: true, guard: Box::new(folder) }
}

stonechat_rows::rows_conformance!(fresh);
