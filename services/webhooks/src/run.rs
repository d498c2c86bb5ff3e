//! The role's tasks: one for each partition of the event stream that this process is given.

use std::{sync::Arc, time::Duration};

use stonechat_log::{EventStream, StreamSource};
use stonechat_rows::Rows;
use stonechat_webhooks::{Sender, Webhooks};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{WebhooksConfig, directory::Directory, partition::Partition};

/// The name of this consumer of the event stream.
const CONSUMER: &str = "webhooks";
/// The pause before a partition is taken up again after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How often changes of webhooks are looked for.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// What the role works with.
#[derive(Clone)]
pub struct Dependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// The event stream.
    pub stream: Arc<dyn EventStream>,
    /// Sends deliveries.
    pub sender: Sender,
}

/// What partitions and lanes share.
pub(crate) struct Shared {
    pub rows: Arc<dyn Rows>,
    pub sender: Sender,
    pub directory: Directory,
    pub config: WebhooksConfig,
    pub shutdown: CancellationToken,
    pub tasks: TaskTracker,
}

/// Delivers what partitions it is given, until shutdown; then every task has ended.
pub async fn run(config: WebhooksConfig, dependencies: Dependencies, shutdown: CancellationToken) {
    let Dependencies { rows, stream, sender } = dependencies;
    let directory = Directory::new(Webhooks::new(Arc::clone(&rows)));
    let tasks = TaskTracker::new();
    let shared = Arc::new(Shared { rows, sender, directory, config, shutdown: shutdown.clone(), tasks: tasks.clone() });
    tasks.spawn(refresh(Arc::clone(&shared)));
    while let Some(claimed) = shutdown.run_until_cancelled(stream.claim(CONSUMER)).await {
        match claimed {
            Ok(source) => {
                tasks.spawn(follow(source, Arc::clone(&shared)));
            }
            Err(error) => {
                tracing::error!(%error, "event stream gives no partitions");
                shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
    stream.leave().await;
}

async fn follow(mut source: Box<dyn StreamSource>, shared: Arc<Shared>) {
    let number = source.partition();
    let partition = Partition::new(number, Arc::clone(&shared));
    if let Err(error) = Box::pin(partition.run(source.as_mut())).await {
        tracing::error!(partition = number, %error, "webhooks of a partition gave up");
        shared.shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
    }
}

/// Keeps the directory alike with the rows.
async fn refresh(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(REFRESH_EVERY);
    while shared.shutdown.run_until_cancelled(every.tick()).await.is_some() {
        if let Err(error) = shared.directory.refresh().await {
            tracing::warn!(%error, "webhooks could not be read");
        }
    }
}
