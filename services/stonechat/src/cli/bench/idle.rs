//! Connections that do nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    BenchArgs,
    connection::open_all,
    report::{Report, float},
    server::Server,
};
use crate::cli::CliError;

/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(3);
const USERS: usize = 10_000;

/// Measures.
pub(super) async fn idle(args: &BenchArgs, server: &Server) -> Result<Report, CliError> {
    let users = args.users.unwrap_or(USERS);
    // The first connections pay for what is made once.
    let first = open_all(server, 100).await?;
    drop(first);
    sleep(SETTLE).await;
    let before = server.resident_bytes();
    let mut connections = open_all(server, users).await?;
    sleep(SETTLE).await;
    let after = server.resident_bytes();
    for connection in &mut connections {
        connection.ping().await?;
    }
    let per_connection = before.zip(after).map(|(before, after)| {
        let grown = after.saturating_sub(before);
        float(grown) / float(users as u64)
    });
    Ok(Report {
        bench: "idle".to_owned(),
        users,
        server_bytes_per_connection: per_connection,
        server_resident_bytes: after,
        ..Report::default()
    })
}
