//! What the check found.

use std::fmt;

/// How many findings of one kind are described; all are counted.
const DESCRIBED: usize = 20;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A send was answered and is not on every member's device at the seq of the answer.
    Lost,
    /// One send is at two seqs, or a device showed one seq twice.
    Doubled,
    /// A device showed a seq after a greater one, or a send was put before what its sender had already seen.
    Reordered,
    /// A device ended with a hole.
    Gap,
    /// Two devices differ at a seq or in where they end, or show what nobody sent.
    Diverged,
    /// A device showed a message that refers to bytes that it cannot fetch, or to others than were uploaded.
    Missing,
}

/// One fault, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub fault: Fault,
    /// What was seen.
    pub what: String,
}

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Sends that were answered with a seq.
    pub acked: u64,
    /// Sends that were refused for good.
    pub refused: u64,
    /// Sends that were never answered.
    pub unanswered: u64,
    /// Events that devices showed.
    pub observed: u64,
    /// See [`Fault::Lost`].
    pub lost: u64,
    /// See [`Fault::Doubled`].
    pub doubled: u64,
    /// See [`Fault::Reordered`].
    pub reordered: u64,
    /// See [`Fault::Gap`].
    pub gaps: u64,
    /// See [`Fault::Diverged`].
    pub diverged: u64,
    /// See [`Fault::Missing`].
    pub missing: u64,
    /// Files that were uploaded.
    pub files: u64,
    /// Files of messages that devices showed, each as often as it was shown.
    pub attached: u64,
    /// The first findings of each kind.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many faults of a kind there are.
    pub fn count(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Lost => self.lost,
            Fault::Doubled => self.doubled,
            Fault::Reordered => self.reordered,
            Fault::Gap => self.gaps,
            Fault::Diverged => self.diverged,
            Fault::Missing => self.missing,
        }
    }

    /// Whether there is no fault at all.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.gaps + self.diverged + self.missing == 0
    }

    /// The line that a run ends with.
    pub fn closing_line(&self, kills: u64) -> String {
        format!(
            "acked={} kills={kills} lost={} doubled={} reordered={} gaps={} diverged={}",
            self.acked, self.lost, self.doubled, self.reordered, self.gaps, self.diverged
        )
    }

    pub(crate) fn add(&mut self, fault: Fault, what: impl FnOnce() -> String) {
        let count = match fault {
            Fault::Lost => &mut self.lost,
            Fault::Doubled => &mut self.doubled,
            Fault::Reordered => &mut self.reordered,
            Fault::Gap => &mut self.gaps,
            Fault::Diverged => &mut self.diverged,
            Fault::Missing => &mut self.missing,
        };
        *count += 1;
        if *count <= DESCRIBED as u64 {
            self.findings.push(Finding { fault, what: what() });
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.what)
    }
}
