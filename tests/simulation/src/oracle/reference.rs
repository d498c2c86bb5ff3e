//! The same commands decided once more, one owner per partition and nothing failing: the rows of any run must
//! come out as these, whatever happened to it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use stonechat_log::{CommandItem, CommandSource, EventStream, LogError, StreamSource};
use stonechat_model::{LogKey, Position};
use stonechat_presence::{MemoryPresence, PresenceConfig};
use stonechat_router::{Owner, OwnerDependencies, Rules};
use stonechat_rows::{Put, Table, tables};
use stonechat_rpc::Inboxes;

use crate::{
    executor::{Runtime, Step, WORLD},
    faults::{Faults, Mix},
    logs,
    partitioned::Partitioned,
    rows::SimRows,
};

struct Replay {
    partition: u32,
    items: Vec<CommandItem>,
}

#[async_trait]
impl CommandSource for Replay {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn next_batch(&mut self, max_items: usize, _: usize) -> Result<Option<Vec<CommandItem>>, LogError> {
        if self.items.is_empty() {
            return Ok(None);
        }
        let rest = self.items.split_off(max_items.min(self.items.len()));
        Ok(Some(std::mem::replace(&mut self.items, rest)))
    }

    async fn commit(&mut self, _: Position) -> Result<(), LogError> {
        Ok(())
    }
}

struct NoStream;

#[async_trait]
impl EventStream for NoStream {
    fn enlist(&self, _: u32, _: &[(LogKey, Bytes)]) -> Vec<Put> {
        Vec::new()
    }

    async fn publish(&self, _: u32, _: Vec<(LogKey, Bytes)>) -> Result<(), LogError> {
        Ok(())
    }

    async fn claim(&self, _: &str) -> Result<Box<dyn StreamSource>, LogError> {
        Err(LogError::Closed)
    }
}

const DECIDED: &[&Table] = &[
    &tables::EVENTS,
    &tables::OVERLAYS,
    &tables::HEADS,
    &tables::MEMBERS,
    &tables::MARKS,
    &tables::MEMBERSHIPS,
    &tables::HIDDEN,
    &tables::CLIENT_IDS,
    &tables::USERS,
    &tables::FILE_REFS,
];

/// Says where the rows differ from those of the reference.
pub fn differences(commands: &Partitioned, rows: &SimRows) -> Vec<String> {
    let runtime = Runtime::new(0, 0);
    let faults = Faults::new(runtime.clone(), Mix::none());
    let wanted = SimRows::new(0, faults);
    let clock = runtime.clone();
    let presence = MemoryPresence::new(PresenceConfig::default(), Arc::new(move || clock.now_us()));
    for partition in 0..commands.partitions() {
        let dependencies = OwnerDependencies {
            rows: Arc::new(wanted.clone()),
            stream: Arc::new(NoStream),
            presence: Arc::clone(&presence) as _,
            inboxes: Arc::new(Inboxes::default()),
            rules: Rules::default(),
        };
        let records = commands.records(partition).into_iter().enumerate();
        let items = records.map(|(offset, record)| logs::item(offset as u64, record)).collect();
        let mut source = Replay { partition, items };
        runtime.spawn(WORLD, async move {
            // What fails here fails in the comparison.
            let _ = Box::pin(Owner::new(partition, dependencies).run(&mut source)).await;
        });
    }
    while runtime.step() != Step::Idle {}
    runtime.end();
    let mut different = Vec::new();
    for table in DECIDED {
        let (wanted, found) = (wanted.dump(table), rows.dump(table));
        if wanted != found {
            let first = wanted.iter().zip(&found).find(|(a, b)| a != b).map(|(wanted, _)| &wanted.key);
            let (wanted, found) = (wanted.len(), found.len());
            different.push(format!("{}: not as the reference, {found} rows for {wanted}, first {first:?}", table.name));
        }
    }
    different
}
