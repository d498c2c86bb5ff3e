//! What a client has of one log.

use std::collections::BTreeMap;

use stonechat_proto::v1::Event;

/// Events held until what comes before them is there; beyond it the farthest are dropped and fetched later.
const HELD_EVENTS: usize = 1_000;

/// What a client has of one log: everything up to a seq, and perhaps some events beyond.
#[derive(Debug, Clone, Default)]
pub struct LogState {
    seq: u64,
    held: BTreeMap<u64, Event>,
    /// The newest seq that is known to be.
    expected: u64,
    is_fetching: bool,
    /// Whether the user is a member, and the seq that says so.
    is_member: bool,
    member_seq: u64,
}

impl LogState {
    /// One of which everything up to `seq` counts as had.
    pub(super) fn new(seq: u64) -> Self {
        Self { seq, expected: seq, is_member: true, ..Self::default() }
    }

    /// Everything up to this is had.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether the user is a member, as far as is known.
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    /// Whether events are missed that the user may have.
    pub fn is_behind(&self) -> bool {
        self.is_member && self.seq < self.expected
    }

    /// Takes an event; gives those that are next in order.
    pub(super) fn offer(&mut self, event: Event) -> Vec<Event> {
        if event.seq <= self.seq {
            return Vec::new();
        }
        self.expect(event.seq);
        self.held.insert(event.seq, event);
        if self.held.len() > HELD_EVENTS {
            self.held.pop_last();
        }
        let mut next = Vec::new();
        while let Some(event) = self.held.remove(&(self.seq + 1)) {
            self.seq += 1;
            next.push(event);
        }
        next
    }

    /// There is an event of this seq.
    pub(super) fn expect(&mut self, seq: u64) {
        self.expected = self.expected.max(seq);
    }

    /// There is no event beyond this seq but those held.
    pub(super) fn expect_only(&mut self, seq: u64) {
        let held = self.held.last_key_value().map_or(0, |(seq, _)| *seq);
        self.expected = seq.max(held).max(self.seq);
    }

    /// A membership as of a seq; what is older than what is known says nothing.
    pub(super) fn set_member(&mut self, at_seq: u64, is_member: bool) -> bool {
        if at_seq < self.member_seq {
            return false;
        }
        self.member_seq = at_seq;
        self.is_member = is_member;
        true
    }

    /// Nothing more is asked for, until the user is a member again.
    pub(super) fn stop(&mut self) {
        self.is_member = false;
    }

    /// Begins to fetch what comes after the seq that this gives, if something is missed and nothing is under way.
    pub(super) fn begin_fetch(&mut self) -> Option<u64> {
        if self.is_fetching || !self.is_behind() {
            return None;
        }
        self.is_fetching = true;
        Some(self.seq)
    }

    pub(super) fn forget_fetch(&mut self) {
        self.is_fetching = false;
    }
}
