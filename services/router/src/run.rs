//! The router's tasks: an owner per partition, a follower per partition of the event stream.

use std::{sync::Arc, time::Duration};

use stonechat_log::{CommandLog, CommandSource, LogError, StreamSource};
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Inboxes, Presence};
use stonechat_telemetry::Trouble;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Fanout, FanoutDependencies, Owner, OwnerDependencies, OwnerError, Rules, fanout,
    troubles::{Troubles, WatchedCommands, WatchedEvents},
};

/// The pause before a partition is taken up again after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a router works with.
#[derive(Clone)]
pub struct Dependencies {
    /// The command log.
    pub log: Arc<dyn CommandLog>,
    /// The event stream.
    pub stream: Arc<dyn stonechat_log::EventStream>,
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The nodes that can be told.
    pub inboxes: Arc<Inboxes>,
    /// Submits the commands that follow from events.
    pub caller: Arc<CommandCaller>,
}

/// Owns what partitions it is given, until shutdown; then every task has ended.
pub async fn run(dependencies: Dependencies, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let owners = own_partitions(&dependencies, &tasks, &shutdown);
    let followers = follow_events(&dependencies, &tasks, &shutdown);
    tokio::join!(owners, followers);
    tasks.close();
    tasks.wait().await;
    // Others need not wait until the silence of this process tells them.
    tokio::join!(dependencies.log.leave(), dependencies.stream.leave());
}

async fn own_partitions(dependencies: &Dependencies, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let owner = OwnerDependencies {
        rows: Arc::clone(&dependencies.rows),
        stream: Arc::clone(&dependencies.stream),
        presence: Arc::clone(&dependencies.presence),
        inboxes: Arc::clone(&dependencies.inboxes),
        rules: Rules::default(),
    };
    let troubles = Arc::new(Troubles::new("owner goes on"));
    let claiming = Trouble::default();
    while let Some(claimed) = shutdown.run_until_cancelled(dependencies.log.claim()).await {
        match claimed {
            Ok(source) => {
                claiming.went_well();
                tasks.spawn(own(source, owner.clone(), Arc::clone(&troubles), shutdown.clone()));
            }
            Err(error) => {
                if claiming.failed() {
                    tracing::error!(%error, "command log gives no partitions");
                }
                shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        }
    }
}

async fn own(
    source: Box<dyn CommandSource>,
    dependencies: OwnerDependencies,
    troubles: Arc<Troubles>,
    shutdown: CancellationToken,
) {
    let partition = source.partition();
    let owner = Owner::new(partition, dependencies);
    let mut source = WatchedCommands::new(source, Arc::clone(&troubles));
    let run = Box::pin(owner.run(&mut source));
    match shutdown.run_until_cancelled(run).await {
        None | Some(Ok(())) => return,
        Some(Err(OwnerError::Lost | OwnerError::Log(LogError::Lost))) => {
            tracing::warn!(partition, "partition is owned by another")
        }
        Some(Err(error)) if troubles.failed(partition) => {
            tracing::error!(partition, %error, "owner gave its partition up; it is tried again until it goes on");
        }
        Some(Err(error)) => tracing::debug!(partition, %error, "owner gave its partition up again"),
    }
    metrics::counter!("stonechat_router_partitions_dropped_total").increment(1);
    // The partition is free again when its source is dropped.
    shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
}

async fn follow_events(dependencies: &Dependencies, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let follower = FanoutDependencies {
        rows: Arc::clone(&dependencies.rows),
        presence: Arc::clone(&dependencies.presence),
        inboxes: Arc::clone(&dependencies.inboxes),
        caller: Arc::clone(&dependencies.caller),
        sleep: Arc::new(|time| Box::pin(tokio::time::sleep(time))),
    };
    let claim = || dependencies.stream.claim(fanout::CONSUMER);
    let troubles = Arc::new(Troubles::new("follower of the event stream goes on"));
    let claiming = Trouble::default();
    while let Some(claimed) = shutdown.run_until_cancelled(claim()).await {
        match claimed {
            Ok(source) => {
                claiming.went_well();
                tasks.spawn(follow(source, follower.clone(), Arc::clone(&troubles), shutdown.clone()));
            }
            Err(error) => {
                if claiming.failed() {
                    tracing::error!(%error, "event stream gives no partitions");
                }
                shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        }
    }
}

async fn follow(
    source: Box<dyn StreamSource>,
    dependencies: FanoutDependencies,
    troubles: Arc<Troubles>,
    shutdown: CancellationToken,
) {
    let partition = source.partition();
    let fanout = Fanout::new(dependencies);
    let mut source = WatchedEvents::new(source, Arc::clone(&troubles));
    let run = Box::pin(fanout.run(&mut source));
    if let Some(Err(error)) = shutdown.run_until_cancelled(run).await {
        if troubles.failed(partition) {
            tracing::error!(partition, %error, "follower of the event stream gave up; it is tried again");
        }
        shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
    }
}
