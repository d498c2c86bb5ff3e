//! The logs that an owner has in memory, and how they get there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures::future::try_join_all;
use prost::Message;
use stonechat_model::{ConversationId, LogId, LogKey, Position, TenantId, UserId, limits};
use stonechat_proto::{
    internal::v1::HeadRow,
    v1::{ConversationKind, Event, event},
};
use stonechat_rows::{Row, Rows, RowsError, tables};

use crate::{
    Rules,
    fanout::present_users,
    machine::{Derived, Facts, Need, apply, needs_of_event},
};

/// A log as of its newest event.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Its head; `None` while it has no event.
    pub head: Option<HeadRow>,
    /// What is known beside the head.
    pub facts: Facts,
    /// Who gets its events, where they go by route; `None` when it must be gathered anew.
    audience: Option<Arc<[UserId]>>,
    used: u64,
}

/// An event with the position of its command.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// The log.
    pub log: LogKey,
    /// The position.
    pub position: Position,
    /// The event.
    pub event: Arc<Event>,
}

/// What an interrupted attempt had left to do.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Its events, in order, log by log.
    pub events: Vec<Placed>,
    /// The rows that derive from them, with their positions.
    pub derived: Vec<(LogKey, Derived, Position)>,
}

/// Commands that an earlier owner decided, by log the lowest of their positions.
pub(super) type DecidedBefore = BTreeMap<LogKey, Position>;
/// The events of such commands.
pub(super) type EventsByPosition = HashMap<(LogKey, Position), Arc<Event>>;

/// The logs in memory.
pub(super) struct Logs {
    rows: Arc<dyn Rows>,
    rules: Rules,
    loaded: HashMap<LogKey, Loaded>,
    batch: u64,
    /// Those that this batch is about.
    in_batch: Vec<LogKey>,
}

impl Loaded {
    /// The position of the newest event's command.
    pub fn position(&self) -> Position {
        Position::from_u64(self.head.as_ref().map_or(0, |head| head.position))
    }

    /// The log's kind.
    pub fn kind(&self) -> ConversationKind {
        self.head.as_ref().map(HeadRow::kind).unwrap_or_default()
    }

    /// Takes an event: the next head, and the rows that derive from it.
    pub fn apply(&mut self, event: &Event, position: Position) -> Vec<Derived> {
        let (head, derived) = apply(self.head.as_ref(), event, position, &self.facts);
        for row in &derived {
            self.facts.learn(row, position.get());
            if matches!(row, Derived::Member(..)) {
                self.audience = None;
            }
        }
        self.head = Some(head);
        derived
    }

    /// The members, where the log is delivered by route; a user log's is its user.
    pub fn audience(&mut self, log: &LogId) -> Arc<[UserId]> {
        let Self { audience, facts, .. } = self;
        let gather = || match log {
            LogId::User(user) => Arc::from([user.clone()]),
            LogId::Conversation(_) => facts.present_members().cloned().collect(),
        };
        Arc::clone(audience.get_or_insert_with(gather))
    }

    /// From now on members are asked for one by one.
    pub fn become_channel(&mut self) {
        self.facts.forget_completeness();
        self.audience = None;
    }
}

impl Logs {
    /// None yet.
    pub fn new(rows: Arc<dyn Rows>, rules: Rules) -> Self {
        Self { rows, rules, loaded: HashMap::new(), batch: 0, in_batch: Vec::new() }
    }

    /// A log; it must be loaded.
    pub fn get(&self, log: &LogKey) -> Option<&Loaded> {
        self.loaded.get(log)
    }

    /// A log; it must be loaded.
    pub fn get_mut(&mut self, log: &LogKey) -> Option<&mut Loaded> {
        self.loaded.get_mut(log)
    }

    /// Loads those logs that are not in memory, and rolls forward what an interrupted attempt left of them.
    pub async fn load(&mut self, logs: &[LogKey]) -> Result<Finished, RowsError> {
        self.batch += 1;
        self.in_batch = logs.to_vec();
        let batch = self.batch;
        let mut missing = Vec::new();
        for log in logs {
            match self.loaded.get_mut(log) {
                Some(loaded) => loaded.used = batch,
                None => missing.push(log.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(Finished::default());
        }
        let keys: Vec<_> = missing.iter().map(tables::head).collect();
        let heads = self.rows.get(&keys).await?;
        let rows = &self.rows;
        let rules = self.rules;
        let loads = missing.into_iter().zip(heads).map(|(log, head)| load_one(rows, log, head, rules));
        let mut finished = Finished::default();
        for (log, mut loaded, mut part) in try_join_all(loads).await? {
            loaded.used = batch;
            finished.events.append(&mut part.events);
            finished.derived.append(&mut part.derived);
            self.loaded.insert(log, loaded);
        }
        Ok(finished)
    }

    /// Reads facts that are not known yet, all at once.
    pub async fn fetch_facts(&mut self, mut needs: Vec<(LogKey, Need)>) -> Result<(), RowsError> {
        needs.sort_unstable();
        needs.dedup();
        needs.retain(|(log, need)| self.loaded.get(log).is_some_and(|loaded| !loaded.facts.has(need)));
        let mut keys = Vec::with_capacity(needs.len());
        needs.retain(|(log, need)| need.key(log).map(|key| keys.push(key)).is_some());
        for (needs, keys) in needs.chunks(limits::GET_KEYS).zip(keys.chunks(limits::GET_KEYS)) {
            let rows = self.rows.get(keys).await?;
            for ((log, need), row) in needs.iter().zip(rows) {
                if let Some(loaded) = self.loaded.get_mut(log) {
                    loaded.facts.insert(need.clone(), row)?;
                }
            }
        }
        Ok(())
    }

    /// The events of commands that were decided before, back to the given positions.
    pub async fn decided_before(&self, logs: DecidedBefore) -> Result<EventsByPosition, RowsError> {
        let mut found = EventsByPosition::new();
        for (log, from) in logs {
            let mut until = self.get(&log).and_then(|loaded| loaded.head.as_ref()).map_or(0, |head| head.last_seq) + 1;
            'log: while until > 1 {
                let start = (until - 1) / limits::EVENTS_PER_BUCKET * limits::EVENTS_PER_BUCKET;
                let range = tables::bucket_range(&tables::EVENTS, &log, start, until, true, limits::BATCH_COMMANDS);
                let page = self.rows.range(range).await?;
                let is_last_of_bucket = page.len() < limits::BATCH_COMMANDS;
                for row in page {
                    let position = Position::from_u64(row.version);
                    until = row.key.number(3);
                    let event: Event = decode(&row)?;
                    if position < from {
                        break 'log;
                    }
                    // An event that was changed when a user was erased stands at the position of that command, which
                    // has an event of its own.
                    found.entry((log.clone(), position)).or_insert_with(|| Arc::new(event));
                }
                if is_last_of_bucket {
                    until = start;
                }
            }
        }
        Ok(found)
    }

    /// Gathers the members of channels whose upgrade is told again: it goes to members by route, since most of them
    /// do not know yet that there is a channel to be interested in. It was the newest but for a batch, so there are
    /// about as many as a group has.
    pub async fn gather_audiences(&mut self, logs: Vec<LogKey>) -> Result<(), RowsError> {
        for log in logs {
            let LogId::Conversation(id) = &log.log else { continue };
            let rows = all_members(&self.rows, &log.tenant, id).await?;
            if let Some(loaded) = self.loaded.get_mut(&log) {
                loaded.audience = Some(present_users(&rows).into());
            }
        }
        Ok(())
    }

    /// Forgets what only this batch needed, and the logs that were not used for longest when there are too many.
    pub fn end_batch(&mut self) {
        // Not by looking at all that are in memory, of which there are many more.
        for log in std::mem::take(&mut self.in_batch) {
            let Some(loaded) = self.loaded.get_mut(&log) else { continue };
            loaded.facts.end_batch(limits::STATE_MEMBERS);
            if loaded.kind() == ConversationKind::Channel {
                loaded.audience = None;
            }
        }
        if self.loaded.len() > limits::STATE_CONVERSATIONS {
            let mut used: Vec<u64> = self.loaded.values().map(|loaded| loaded.used).collect();
            let middle = used.len() / 2;
            let (_, median, _) = used.select_nth_unstable(middle);
            let median = *median;
            self.loaded.retain(|_, loaded| loaded.used > median);
        }
    }
}

fn decode<T: Message + Default>(row: &Row) -> Result<T, RowsError> {
    T::decode(row.value.clone()).map_err(|e| RowsError::Corrupt(format!("{}: {e}", row.key.table.name)))
}

async fn load_one(
    rows: &Arc<dyn Rows>,
    log: LogKey,
    head: Option<Row>,
    rules: Rules,
) -> Result<(LogKey, Loaded, Finished), RowsError> {
    let head = head.as_ref().map(decode::<HeadRow>).transpose()?;
    let mut loaded = Loaded { head, ..Loaded::default() };
    let left = if rules.roll_forward { unfinished(rows, &log, loaded.head.as_ref()).await? } else { Vec::new() };
    load_members(rows, &log, &mut loaded, !left.is_empty()).await?;
    let mut finished = Finished::default();
    for placed in left {
        let needs = needs_of_event(loaded.head.as_ref(), &placed.event);
        let needs: Vec<_> = needs.into_iter().filter(|need| !loaded.facts.has(need)).collect();
        let keyed: Vec<_> = needs.into_iter().filter_map(|need| Some((need.key(&log)?, need))).collect();
        let keys: Vec<_> = keyed.iter().map(|(key, _)| key.clone()).collect();
        if !keys.is_empty() {
            for ((_, need), row) in keyed.into_iter().zip(rows.get(&keys).await?) {
                loaded.facts.insert(need, row)?;
            }
        }
        let derived = loaded.apply(&placed.event, placed.position);
        finished.derived.extend(derived.into_iter().map(|row| (log.clone(), row, placed.position)));
        finished.events.push(placed);
    }
    if !finished.events.is_empty() {
        metrics::counter!("stonechat_router_rolled_forward_events_total").increment(finished.events.len() as u64);
    }
    if loaded.kind() == ConversationKind::Channel {
        loaded.become_channel();
    }
    Ok((log, loaded, finished))
}

/// The events above a head: an attempt's that did not finish. They follow each other without a gap and at rising
/// positions; what does not is the remainder of an attempt that will never be finished, and will be written over.
async fn unfinished(rows: &Arc<dyn Rows>, log: &LogKey, head: Option<&HeadRow>) -> Result<Vec<Placed>, RowsError> {
    let mut seq = head.map_or(0, |head| head.last_seq) + 1;
    let mut newest = head.map_or(0, |head| head.position);
    let mut events = Vec::new();
    loop {
        let until = (seq / limits::EVENTS_PER_BUCKET + 1) * limits::EVENTS_PER_BUCKET;
        let limit = limits::ROLL_FORWARD_EVENTS;
        let page = rows.range(tables::bucket_range(&tables::EVENTS, log, seq, until, false, limit)).await?;
        for row in &page {
            if row.key.number(3) != seq || row.version <= newest {
                return Ok(events);
            }
            let event = Arc::new(decode(row)?);
            events.push(Placed { log: log.clone(), position: Position::from_u64(row.version), event });
            newest = row.version;
            seq += 1;
        }
        if seq != until && page.len() < limit {
            return Ok(events);
        }
    }
}

/// Every member of a conversation that is delivered by route, or whose creation was interrupted.
async fn load_members(
    rows: &Arc<dyn Rows>,
    log: &LogKey,
    loaded: &mut Loaded,
    has_unfinished: bool,
) -> Result<(), RowsError> {
    let LogId::Conversation(id) = &log.log else { return Ok(()) };
    match loaded.head.as_ref().map(HeadRow::kind) {
        None if !has_unfinished => {
            loaded.facts.complete_members();
            return Ok(());
        }
        None | Some(ConversationKind::Direct | ConversationKind::Group) => {}
        Some(_) => return Ok(()),
    }
    loaded.facts.insert_all_members(all_members(rows, &log.tenant, id).await?)
}

/// Every row of a conversation's members.
async fn all_members(rows: &Arc<dyn Rows>, tenant: &TenantId, id: &ConversationId) -> Result<Vec<Row>, RowsError> {
    let mut all = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let page = rows.range(tables::members(tenant, id, from.as_deref(), limits::RANGE_ROWS)).await?;
        let is_last = page.len() < limits::RANGE_ROWS;
        let seen = from.take();
        // A page begins at the row that ended the one before it.
        all.extend(page.into_iter().filter(|row| seen.as_deref() != Some(row.key.text(2))));
        if is_last {
            break;
        }
        from = all.last().map(|row| row.key.text(2).to_owned());
    }
    Ok(all)
}

/// The logs among whose events is their upgrade.
pub(super) fn upgraded(events: &EventsByPosition) -> Vec<LogKey> {
    let is_upgrade = |event: &Event| matches!(event.body, Some(event::Body::Upgraded(_)));
    let mut logs: Vec<LogKey> =
        events.iter().filter(|(_, event)| is_upgrade(event)).map(|((log, _), _)| log.clone()).collect();
    logs.sort_unstable();
    logs
}
