//! A batch of commands on its way through the owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_log::CommandItem;
use stonechat_model::{ClientId, LogKey, Position, TimeUs, UserId, limits};
use stonechat_proto::{
    internal::v1::{ClientIdRow, CommandRecord, Origin, StreamRecord},
    v1::{ConversationKind, Event, event},
};
use stonechat_rows::{Put, tables};
use stonechat_rpc::{Done, Outcome};

use tracing::Span;

use super::{
    OwnerError,
    delivery::{Run, RunAudience},
    logs::{DecidedBefore, EventsByPosition, Finished, Loaded, Logs, Placed},
};
use crate::{
    Rules,
    machine::{Derived, Need, Parsed, Place, Verdict, decide},
};

/// How long a sender waits before it sends again what another owner decided.
const RETRY_AFTER: Duration = Duration::from_millis(50);

struct Item {
    position: Position,
    time_us: TimeUs,
    parsed: Parsed,
}

/// A batch of commands, and what came of them so far.
pub(super) struct Batch {
    items: Vec<Item>,
    logs: Vec<LogKey>,
    /// What will be written, in the order of writing.
    events: Vec<Put>,
    derived: Vec<Put>,
    touched: BTreeSet<LogKey>,
    /// What will be delivered, in order.
    runs: Vec<Run>,
    records: Vec<(LogKey, Bytes)>,
    outcomes: Vec<Outcome>,
    /// Of the commands that are traced.
    spans: Vec<Span>,
}

impl Batch {
    /// Takes commands apart. One that cannot be is dropped with an alarm: nobody knows whom to answer.
    pub fn parse(items: Vec<CommandItem>) -> Self {
        let mut seen = BTreeSet::new();
        let mut logs = Vec::new();
        let mut parsed = Vec::with_capacity(items.len());
        for CommandItem { position, time_us, payload } in items {
            let Some(command) = CommandRecord::decode(payload).ok().and_then(Parsed::from_record) else {
                metrics::counter!("stonechat_router_unreadable_commands_total").increment(1);
                tracing::error!(position = position.get(), "command record cannot be read");
                continue;
            };
            if seen.insert(command.log.clone()) {
                logs.push(command.log.clone());
            }
            parsed.push(Item { position, time_us, parsed: command });
        }
        Self {
            items: parsed,
            logs,
            events: Vec::new(),
            derived: Vec::new(),
            touched: BTreeSet::new(),
            runs: Vec::new(),
            records: Vec::new(),
            outcomes: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// The logs that the commands are for.
    pub fn logs(&self) -> &[LogKey] {
        &self.logs
    }

    /// The facts that the commands need.
    pub fn needs(&self, logs: &Logs) -> Vec<(LogKey, Need)> {
        let mut needs = Vec::with_capacity(self.items.len() * 2);
        for Item { parsed, .. } in &self.items {
            if let Ok(command) = &parsed.command {
                let head = logs.get(&parsed.log).and_then(|loaded| loaded.head.as_ref());
                needs.extend(command.needs(head).into_iter().map(|need| (parsed.log.clone(), need)));
            }
        }
        needs
    }

    /// The events that client ids seen before led to.
    pub fn needs_of_answers(&self, logs: &Logs) -> Vec<(LogKey, Need)> {
        let seen = |item: &Item| {
            let command = item.parsed.command.as_ref().ok()?;
            let facts = &logs.get(&item.parsed.log)?.facts;
            let row = facts.seen(&command.sender_text(), command.client_id?)?;
            Some((item.parsed.log.clone(), Need::Event(row.row.seq)))
        };
        self.items.iter().filter_map(seen).collect()
    }

    /// The logs with commands that an earlier owner decided, and the lowest of their positions.
    pub fn decided_before(&self, logs: &Logs) -> DecidedBefore {
        let mut lowest = BTreeMap::new();
        for item in self.items.iter().filter(|item| is_decided(item, logs)) {
            lowest.entry(item.parsed.log.clone()).or_insert(item.position);
        }
        lowest
    }

    /// Takes what loading finished: it is written, delivered and published like what is decided here.
    pub fn take_finished(&mut self, finished: Finished, logs: &mut Logs) {
        for (log, derived, position) in finished.derived {
            self.push_derived(&log, &derived, position);
        }
        for Placed { log, position, event } in finished.events {
            self.touched.insert(log.clone());
            self.push_again(log, position, event, logs);
        }
    }

    /// Delivers and publishes an event that an earlier owner decided, to whom the log as it is now says.
    fn push_again(&mut self, log: LogKey, position: Position, event: Arc<Event>, logs: &mut Logs) {
        let Some(loaded) = logs.get_mut(&log) else { return };
        let kind = loaded.kind();
        let was_upgraded = matches!(event.body, Some(event::Body::Upgraded(_)));
        let audience = match kind {
            ConversationKind::Channel if !was_upgraded => RunAudience::Interested,
            _ => RunAudience::Users(with_those_gone(loaded.audience(&log.log), &event)),
        };
        self.records.push(record(&log, kind, position, &event.encode_to_vec(), String::new()));
        if !event.imported {
            self.push_run(Run { log, kind, events: vec![event], audience, traceparent: String::new() });
        }
    }

    /// Decides the commands in order.
    pub fn decide(&mut self, logs: &mut Logs, again: &EventsByPosition, rules: Rules) -> Result<(), OwnerError> {
        for item in std::mem::take(&mut self.items) {
            let Item { position, time_us, parsed: Parsed { log, origin, traceparent, command } } = item;
            let traceparent = self.trace(traceparent);
            let command = match command {
                Ok(command) => command,
                Err(error) => {
                    self.answer(origin, Err(error));
                    continue;
                }
            };
            let decided = logs.get(&log).is_some_and(|loaded| position <= loaded.position());
            if decided {
                if rules.republish {
                    self.repeat(log, position, origin, again, logs);
                }
                continue;
            }
            let Some(loaded) = logs.get_mut(&log) else { continue };
            let place = Place { log: &log, position, log_time_us: time_us };
            let content_hash = command.content_hash;
            let (head, facts) = (loaded.head.as_ref(), &loaded.facts);
            let verdict = catch_unwind(AssertUnwindSafe(|| decide(place, head, command, facts, rules)));
            match verdict {
                Ok(Verdict::Event(event)) => {
                    let done = Done { seq: event.seq, time_us: event.time_us, log: log.log.clone() };
                    let placed = Placed { log, position, event: Arc::from(event) };
                    self.take_event(placed, loaded, content_hash, traceparent);
                    self.answer(origin, Ok(done));
                }
                Ok(Verdict::Done { seq, time_us }) => self.answer(origin, Ok(Done { seq, time_us, log: log.log })),
                Ok(Verdict::Refused(error)) => self.answer(origin, Err(error)),
                Ok(Verdict::FromFuture) => return Err(OwnerError::Lost),
                Err(_) => {
                    metrics::counter!("stonechat_router_failed_commands_total").increment(1);
                    tracing::error!(tenant.id = %log.tenant, log.id = %log.log, position = position.get(),
                        "state machine failed on a command; it was put aside");
                    self.answer(origin, Err(Error::internal()));
                }
            }
        }
        Ok(())
    }

    fn take_event(&mut self, placed: Placed, loaded: &mut Loaded, content_hash: u64, traceparent: String) {
        let Placed { log, position, event } = placed;
        let before = loaded.kind();
        let derived = loaded.apply(&event, position);
        let seen = ClientIdRow { seq: event.seq, time_us: event.time_us, content_hash };
        let version = position.get();
        loaded.facts.learn_event(&event, Some(seen), version);
        let encoded = Bytes::from(event.encode_to_vec());
        // Before the event: its content hash cannot be had from the event when that is all that an attempt left.
        if !event.imported
            && let Ok(id) = ClientId::parse(&event.client_id)
        {
            let key = tables::client_id(&log, &event.sender, id);
            let ttl = Some(Duration::from_secs(limits::CLIENT_ID_TTL_S));
            self.events.push(Put { key, value: seen.encode_to_vec().into(), version, ttl });
        }
        self.events.push(Put { key: tables::event(&log, event.seq), value: encoded.clone(), version, ttl: None });
        for row in &derived {
            self.push_derived(&log, row, position);
        }
        self.records.push(record(&log, loaded.kind(), position, &encoded, traceparent.clone()));
        let audience = match before {
            ConversationKind::Channel => RunAudience::Interested,
            _ => {
                let members = loaded.audience(&log.log);
                RunAudience::Users(with_those_gone(members, &event))
            }
        };
        let kind = loaded.kind();
        if before != ConversationKind::Channel && kind == ConversationKind::Channel {
            loaded.become_channel();
        }
        self.touched.insert(log.clone());
        if !event.imported {
            self.push_run(Run { log, kind, events: vec![event], audience, traceparent });
        }
    }

    /// Begins the span of a command that is traced; gives the context of what follows from it.
    fn trace(&mut self, traceparent: String) -> String {
        let span = stonechat_telemetry::step("router.decide", &traceparent);
        if span.is_disabled() {
            return traceparent;
        }
        let carried = stonechat_telemetry::traceparent_of(&span);
        self.spans.push(span);
        carried
    }

    /// The spans of the commands that are traced; each ends when it is dropped.
    pub fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    fn push_run(&mut self, mut next: Run) {
        match self.runs.last_mut() {
            Some(run) if run.log == next.log && run.audience.is_same(&next.audience) => {
                run.events.append(&mut next.events);
                run.kind = next.kind;
                if run.traceparent.is_empty() {
                    run.traceparent = next.traceparent;
                }
            }
            _ => self.runs.push(next),
        }
    }

    /// Delivers, publishes and answers again what an earlier owner decided.
    fn repeat(
        &mut self,
        log: LogKey,
        position: Position,
        origin: Option<Origin>,
        again: &EventsByPosition,
        logs: &mut Logs,
    ) {
        let Some(event) = again.get(&(log.clone(), position)) else {
            let error = Error::unavailable("the answer was lost with a router; send it again");
            self.answer(origin, Err(error.retry_after(RETRY_AFTER)));
            return;
        };
        let done = Done { seq: event.seq, time_us: event.time_us, log: log.log.clone() };
        self.push_again(log, position, Arc::clone(event), logs);
        self.answer(origin, Ok(done));
    }

    fn push_derived(&mut self, log: &LogKey, row: &Derived, position: Position) {
        let (value, version) = row.encode(position);
        if let Some(key) = row.key(log) {
            self.derived.push(Put { key, value: value.into(), version, ttl: None });
        }
    }

    fn answer(&mut self, origin: Option<Origin>, result: Result<Done, Error>) {
        if let Err(error) = &result {
            metrics::counter!("stonechat_router_refused_commands_total", "code" => error.code.as_str()).increment(1);
        }
        if let Some(origin) = origin {
            self.outcomes.push(Outcome { origin, result });
        }
    }

    /// What is to be written, in order: events with their client ids, what derives from them, heads.
    pub fn take_puts(&mut self, logs: &Logs, rules: Rules) -> Vec<Put> {
        metrics::counter!("stonechat_router_events_total").increment(self.records.len() as u64);
        let head = |log: LogKey| {
            let head = logs.get(&log)?.head.as_ref()?;
            let value = head.encode_to_vec().into();
            Some(Put { key: tables::head(&log), value, version: head.position, ttl: None })
        };
        let heads: Vec<Put> = std::mem::take(&mut self.touched).into_iter().filter_map(head).collect();
        let mut puts = std::mem::take(&mut self.events);
        puts.append(&mut self.derived);
        if rules.write_order {
            puts.extend(heads);
            return puts;
        }
        heads.into_iter().chain(puts.into_iter().rev()).collect()
    }

    /// What is to be delivered, in order.
    pub fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.runs)
    }

    /// What is to be published, in order.
    pub fn records(&self) -> &[(LogKey, Bytes)] {
        &self.records
    }

    /// What is to be published, in order.
    pub fn take_records(&mut self) -> Vec<(LogKey, Bytes)> {
        std::mem::take(&mut self.records)
    }

    /// The answers.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }
}

fn is_decided(item: &Item, logs: &Logs) -> bool {
    logs.get(&item.parsed.log).is_some_and(|loaded| item.position <= loaded.position())
}

/// Members who go with an event still get that event.
fn with_those_gone(members: Arc<[UserId]>, event: &Event) -> Arc<[UserId]> {
    let gone: Vec<UserId> = match &event.body {
        Some(event::Body::MembersRemoved(it)) => it.users.iter().filter_map(|user| UserId::parse(user).ok()).collect(),
        Some(event::Body::MemberLeft(_)) => UserId::parse(&event.sender).into_iter().collect(),
        _ => return members,
    };
    members.iter().cloned().chain(gone).collect()
}

/// An encoded `StreamRecord`; the event, encoded already, is put behind its other fields as it is.
fn record(
    log: &LogKey,
    kind: ConversationKind,
    position: Position,
    event: &[u8],
    traceparent: String,
) -> (LogKey, Bytes) {
    const EVENT_FIELD: u32 = 5;
    let record = StreamRecord {
        tenant: log.tenant.to_string(),
        log: log.log.to_text().to_string(),
        kind: kind.into(),
        position: position.get(),
        event: None,
        traceparent,
    };
    let mut bytes = Vec::with_capacity(record.encoded_len() + event.len() + 8);
    record.encode_raw(&mut bytes);
    prost::encoding::encode_key(EVENT_FIELD, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(event.len() as u64, &mut bytes);
    bytes.extend_from_slice(event);
    (log.clone(), bytes.into())
}
