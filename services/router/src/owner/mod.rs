//! The owner of a partition: takes commands in batches, decides, writes, delivers, publishes, commits.
//!
//! Nothing here knows of time or tasks: dropping the future of [`Owner::run`] at any await is a crash, after
//! which another owner reads from the last committed position and comes to the same result.

mod batch;
mod delivery;
mod logs;

use std::sync::Arc;

use stonechat_log::{CommandSource, EventStream, LogError};
use stonechat_model::limits;
use stonechat_rows::{Rows, RowsError};
use stonechat_rpc::{Inboxes, Presence};
use tracing::Span;

use crate::Rules;
use batch::Batch;
use delivery::Deliverer;
use logs::{Logs, upgraded};

/// Why an owner gave its partition up.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Somebody else decides this partition's commands now.
    #[error("partition is owned by another")]
    Lost,
    /// The rows did not answer.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The command log or the event stream did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What an owner works with.
#[derive(Clone)]
pub struct OwnerDependencies {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// The event stream.
    pub stream: Arc<dyn EventStream>,
    /// Where users are.
    pub presence: Arc<dyn Presence>,
    /// The nodes that can be told.
    pub inboxes: Arc<Inboxes>,
    /// The rules that hold.
    pub rules: Rules,
}

/// The owner of one partition.
pub struct Owner {
    dependencies: OwnerDependencies,
    partition: u32,
    logs: Logs,
    deliverer: Deliverer,
}

impl Owner {
    /// An owner that has loaded nothing yet.
    pub fn new(partition: u32, dependencies: OwnerDependencies) -> Self {
        let deliverer = Deliverer::new(Arc::clone(&dependencies.presence), Arc::clone(&dependencies.inboxes));
        let logs = Logs::new(Arc::clone(&dependencies.rows), dependencies.rules);
        Self { dependencies, partition, logs, deliverer }
    }

    /// Works until the partition is owned no more or something fails; then everything in memory is void.
    pub async fn run(mut self, source: &mut dyn CommandSource) -> Result<(), OwnerError> {
        while let Some(items) = source.next_batch(limits::BATCH_COMMANDS, limits::BATCH_BYTES).await? {
            let Some(last) = items.last().map(|item| item.position) else { continue };
            metrics::histogram!("stonechat_router_batch_commands").record(items.len() as f64);
            self.process(Batch::parse(items)).await?;
            source.commit(last).await?;
        }
        Ok(())
    }

    async fn process(&mut self, mut batch: Batch) -> Result<(), OwnerError> {
        let finished = self.logs.load(batch.logs()).await?;
        batch.take_finished(finished, &mut self.logs);
        self.logs.fetch_facts(batch.needs(&self.logs)).await?;
        self.logs.fetch_facts(batch.needs_of_answers(&self.logs)).await?;
        let again = self.logs.decided_before(batch.decided_before(&self.logs)).await?;
        self.logs.gather_audiences(upgraded(&again)).await?;
        batch.decide(&mut self.logs, &again, self.dependencies.rules)?;
        let spans = batch.take_spans();
        let writing = steps("storage.write", &spans);
        self.write(&mut batch).await?;
        drop(writing);
        let telling = steps("router.deliver", &spans);
        self.deliverer.tell(batch.take_runs(), batch.take_outcomes()).await;
        drop(telling);
        let records = batch.take_records();
        if !records.is_empty() {
            self.dependencies.stream.publish(self.partition, records).await?;
        }
        self.logs.end_batch();
        Ok(())
    }

    async fn write(&mut self, batch: &mut Batch) -> Result<(), OwnerError> {
        let mut puts = batch.take_puts(&self.logs, self.dependencies.rules);
        puts.extend(self.dependencies.stream.enlist(self.partition, batch.records()));
        if !puts.is_empty() {
            self.dependencies.rows.write(puts).await?;
        }
        Ok(())
    }
}

/// A step of each of these spans, until it is dropped.
fn steps(name: &'static str, spans: &[Span]) -> Vec<Span> {
    spans.iter().map(|span| stonechat_telemetry::step(name, &stonechat_telemetry::traceparent_of(span))).collect()
}
