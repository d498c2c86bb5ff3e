//! The most memory that a server had in a span of time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::interval};
use tokio_util::sync::CancellationToken;

use super::super::server::Server;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A span of time that goes on.
pub(super) struct Peak {
    most: Arc<AtomicU64>,
    over: CancellationToken,
    looking: JoinHandle<()>,
}

impl Peak {
    /// Begins one.
    pub fn begin(server: &Server) -> Self {
        let (most, over) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let memory = server.memory();
        let looking = {
            let (most, over) = (Arc::clone(&most), over.clone());
            tokio::spawn(async move {
                let mut looks = interval(LOOK);
                while over.run_until_cancelled(looks.tick()).await.is_some() {
                    most.fetch_max(memory.resident_bytes().unwrap_or_default(), Ordering::Relaxed);
                }
            })
        };
        Self { most, over, looking }
    }

    /// Ends it; nothing where the server's processes are not known.
    pub async fn end(self) -> Option<u64> {
        self.over.cancel();
        // It only counts; there is nothing that it could fail with.
        let _ = self.looking.await;
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }
}
