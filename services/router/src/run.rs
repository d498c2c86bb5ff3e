//! The router's tasks: an owner per partition, a follower per partition of the event stream.

use std::{sync::Arc, time::Duration};

use stonechat_log::{CommandLog, CommandSource, LogError, StreamSource};
use stonechat_rows::Rows;
use stonechat_rpc::{CommandCaller, Inboxes, Presence};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Fanout, FanoutDependencies, Owner, OwnerDependencies, OwnerError, Rules, fanout};

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
    while let Some(claimed) = shutdown.run_until_cancelled(dependencies.log.claim()).await {
        match claimed {
            Ok(source) => {
                tasks.spawn(own(source, owner.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::error!(%error, "command log gives no partitions");
                shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        }
    }
}

async fn own(mut source: Box<dyn CommandSource>, dependencies: OwnerDependencies, shutdown: CancellationToken) {
    let partition = source.partition();
    let owner = Owner::new(partition, dependencies);
    let run = Box::pin(owner.run(source.as_mut()));
    match shutdown.run_until_cancelled(run).await {
        None | Some(Ok(())) => return,
        Some(Err(OwnerError::Lost | OwnerError::Log(LogError::Lost))) => {
            tracing::warn!(partition, "partition is owned by another")
        }
        Some(Err(error)) => tracing::error!(partition, %error, "owner gave its partition up"),
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
    while let Some(claimed) = shutdown.run_until_cancelled(claim()).await {
        match claimed {
            Ok(source) => {
                tasks.spawn(follow(source, follower.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::error!(%error, "event stream gives no partitions");
                shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        }
    }
}

async fn follow(mut source: Box<dyn StreamSource>, dependencies: FanoutDependencies, shutdown: CancellationToken) {
    let partition = source.partition();
    let fanout = Fanout::new(dependencies);
    let run = Box::pin(fanout.run(source.as_mut()));
    if let Some(Err(error)) = shutdown.run_until_cancelled(run).await {
        tracing::error!(partition, %error, "follower of the event stream gave up");
        shutdown.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
    }
}
