//! One partition of the event stream: what happened goes into the feeds, and lanes are run through them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use prost::Message as _;
use stonechat_errors::Error;
use stonechat_log::{LogError, StreamItem, StreamSource};
use stonechat_model::{TenantId, limits};
use stonechat_proto::internal::v1::StreamRecord;
use stonechat_webhooks::feed;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    directory::Known,
    lane::{LaneName, LaneTask},
    run::Shared,
};

/// Events that led to nothing and are read again after a restart, at most.
const COMMIT_EVERY: usize = 4_096;
/// How often lanes are looked for that should run and do not.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A partition at work.
pub(crate) struct Partition {
    number: u32,
    shared: Arc<Shared>,
    lanes: HashMap<LaneName, Running>,
    /// Ends the lanes with the partition.
    end: CancellationToken,
}

struct Running {
    head: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// Why a partition gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartitionError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Rows(#[from] stonechat_rows::RowsError),
    #[error(transparent)]
    Service(#[from] Error),
}

impl Partition {
    pub fn new(number: u32, shared: Arc<Shared>) -> Self {
        let end = shared.shutdown.child_token();
        Self { number, shared, lanes: HashMap::new(), end }
    }

    /// Works until shutdown, or until the partition is another's.
    pub async fn run(mut self, source: &mut dyn StreamSource) -> Result<(), PartitionError> {
        let worked = Box::pin(self.work(source)).await;
        // Whoever is given the partition next runs the lanes: they must have ended here.
        self.end.cancel();
        for (_, running) in self.lanes.drain() {
            // A lane that panicked was logged.
            let _ = running.task.await;
        }
        worked
    }

    async fn work(&mut self, source: &mut dyn StreamSource) -> Result<(), PartitionError> {
        let shutdown = self.shared.shutdown.clone();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut uncommitted = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = sweep.tick() => self.sweep().await?,
                batch = source.next_batch(limits::STREAM_BATCH) => {
                    let Some(items) = batch? else { return Ok(()) };
                    let Some(last) = items.last().map(|item| item.offset) else { continue };
                    uncommitted += items.len();
                    let is_nothing = self.take(items).await?;
                    if !is_nothing || uncommitted >= COMMIT_EVERY {
                        source.commit(last).await?;
                        uncommitted = 0;
                    } else {
                        source.pass(last).await?;
                    }
                }
            }
        }
    }

    /// Writes events into feeds; says whether there was nothing to write.
    async fn take(&mut self, items: Vec<StreamItem>) -> Result<bool, PartitionError> {
        let mut by_tenant: BTreeMap<TenantId, Vec<StreamRecord>> = BTreeMap::new();
        for item in items {
            let Ok(record) = StreamRecord::decode(item.payload) else {
                tracing::error!(stream.offset = item.offset, "event record cannot be read");
                continue;
            };
            if let Ok(tenant) = TenantId::parse(&record.tenant) {
                by_tenant.entry(tenant).or_default().push(record);
            }
        }
        let kept = self.shared.directory.look_up(by_tenant.keys().cloned().collect()).await?;
        let (mut entries, mut heads) = (Vec::new(), Vec::new());
        for tenant in kept {
            let mut head = 0;
            for record in by_tenant.remove(&tenant).unwrap_or_default() {
                let Some(row) = feed::entry_of(&record) else { continue };
                head = head.max(record.position);
                entries.push(feed::entry_put(&tenant, self.number, record.position, &row));
            }
            if head > 0 {
                heads.push((tenant, head));
            }
        }
        if entries.is_empty() {
            return Ok(true);
        }
        metrics::counter!("stonechat_webhooks_feed_events_total").increment(entries.len() as u64);
        self.shared.rows.write(entries).await?;
        let puts = heads.iter().map(|(tenant, head)| feed::head_put(tenant, self.number, *head));
        self.shared.rows.write(puts.collect()).await?;
        for (tenant, head) in heads {
            self.tell_lanes(&tenant, head);
        }
        Ok(false)
    }

    /// Tells a tenant's lanes how far the feed is; starts those that do not run.
    fn tell_lanes(&mut self, tenant: &TenantId, head: u64) {
        let Some(known) = self.shared.directory.of(tenant) else { return };
        for name in lanes_of(tenant, &known) {
            self.tell_lane(name, head);
        }
    }

    fn tell_lane(&mut self, name: LaneName, head: u64) {
        if let Some(running) = self.lanes.get(&name)
            && !running.task.is_finished()
        {
            running.head.send_if_modified(|known| {
                let is_news = head > *known;
                *known = head.max(*known);
                is_news
            });
            return;
        }
        let (sender, receiver) = watch::channel(head);
        let lane = LaneTask::new(name.clone(), self.number, Arc::clone(&self.shared), receiver);
        let task = self.shared.tasks.spawn(lane.run(self.end.child_token()));
        self.lanes.insert(name, Running { head: sender, task });
    }

    /// Starts lanes that are behind, for webhooks that were enabled, made or asked to replay, or after a start.
    async fn sweep(&mut self) -> Result<(), PartitionError> {
        self.lanes.retain(|_, running| !running.task.is_finished());
        for (tenant, known) in self.shared.directory.tenants() {
            let idle: Vec<_> = lanes_of(&tenant, &known).filter(|name| !self.lanes.contains_key(name)).collect();
            if idle.is_empty() {
                continue;
            }
            let head = feed::head(self.shared.rows.as_ref(), &tenant, self.number).await?;
            for name in idle {
                if head > 0 && name.is_behind(self.shared.rows.as_ref(), self.number, head).await? {
                    self.tell_lane(name, head);
                }
            }
        }
        Ok(())
    }
}

/// The lanes of a tenant: of each webhook that is enabled one for what happens, and one for each replay.
fn lanes_of<'a>(tenant: &'a TenantId, known: &'a Known) -> impl Iterator<Item = LaneName> + 'a {
    let enabled = known.webhooks.values().filter(|webhook| !webhook.row.disabled);
    enabled.flat_map(move |webhook| {
        let live = LaneName { tenant: tenant.clone(), webhook: webhook.id.clone(), replay: None };
        let replays = webhook.row.replays.iter().map(|job| Some(job.id.clone()));
        let replays = replays.map({
            let live = live.clone();
            move |replay| LaneName { replay, ..live.clone() }
        });
        std::iter::once(live.clone()).chain(replays)
    })
}
