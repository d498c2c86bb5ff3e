//! A session that loses its gateway and comes back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng as _;
use stonechat_model::limits;
use stonechat_proto::v1::{Cursor, server_frame};
use tokio::time::{sleep, timeout};

use super::{Shared, failed, setup};
use crate::cli::{
    CliError,
    bench::{connection::Connection, report::record},
};

/// What a client waits at first before it connects again, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// How long a client waits for its connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client bears with a server that says nothing, as it may while others open.
const SILENCE: Duration = Duration::from_secs(limits::HEARTBEAT_S);

/// A session that is about to lose its gateway.
pub(super) struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    cursors: Vec<Cursor>,
    user_log_seq: u64,
}

impl Session {
    /// Opens it and waits until it knows all its conversations.
    pub async fn open(shared: Arc<Shared>, index: usize) -> Result<Self, CliError> {
        let mut connection = Connection::dial(&shared.server.hosts[0], setup::user(index)).await?;
        connection.hello(&shared.server, Vec::new(), 0).await?;
        let mut session = Self { shared, connection, cursors: Vec::new(), user_log_seq: 0 };
        let (mut seen, mut is_synced) = (BTreeMap::new(), false);
        while !is_synced || seen.len() < session.shared.conversations {
            match session.heard().await? {
                server_frame::Kind::Page(page) => {
                    seen.extend(page.conversations.into_iter().map(|it| (it.id, it.last_seq)));
                }
                server_frame::Kind::Synced(it) => {
                    session.user_log_seq = it.user_log_seq;
                    is_synced = true;
                }
                _ => {}
            }
        }
        session.cursors = seen.into_iter().map(|(conversation, seq)| Cursor { conversation, seq }).collect();
        Ok(session)
    }

    /// Reads until the connection is lost, then comes back as a client does: with full jitter, to another gateway.
    pub async fn live(mut self) {
        while self.connection.next_alive().await.is_ok() {}
        if self.shared.lost_early() {
            return;
        }
        let mut backoff = BACKOFF.0;
        loop {
            let pause = backoff.mul_f64(rand::rng().random_range(0.0..=1.0));
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF.1);
            match self.back().await {
                Ok(()) => break,
                Err(_) => drop(self.shared.failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            }
        }
        let killed = *self.shared.killed.lock();
        record(&mut self.shared.took.lock(), killed.map_or(Duration::ZERO, |killed| killed.elapsed()));
        self.shared.in_sync.add_permits(1);
        let reading = async { while self.connection.next_alive().await.is_ok() {} };
        self.shared.over.run_until_cancelled(reading).await;
    }

    /// Until the session is in sync.
    async fn back(&mut self) -> Result<(), CliError> {
        let others = &self.shared.server.hosts[1..];
        let host = &others[rand::rng().random_range(0..others.len())];
        let connecting = Connection::dial(host, self.connection.user.clone());
        self.connection = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| failed("no connection in time"))??;
        self.connection.hello(&self.shared.server, self.cursors.clone(), self.user_log_seq).await?;
        while !matches!(self.heard().await?, server_frame::Kind::Synced(_)) {}
        Ok(())
    }

    /// A frame, within the time after which a client gives a silent server up.
    async fn heard(&mut self) -> Result<server_frame::Kind, CliError> {
        let heard = timeout(SILENCE, self.connection.next_alive()).await;
        heard.map_err(|_| failed("server is silent"))?
    }
}
