//! The real binary as a child process, and hand-made clients that may break every rule.

pub mod cluster;
pub mod descriptors;
pub mod grpc;
pub mod http;
pub mod server;
pub mod session;
pub mod tenant;
pub mod token;
pub mod wire;

use std::{future::Future, time::Duration};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what must become true: those who ask without a pause use up the budget of their requests.
pub async fn look_again() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}
