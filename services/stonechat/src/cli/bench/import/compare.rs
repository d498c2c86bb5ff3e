//! An export against the history that was imported, item by item, in memory that does not grow with it.

use stonechat_proto::v1::{DataItem, data_item::Item};

use super::history::{History, USERS, conversation_id, number_of, user_id};
use crate::cli::CliError;

/// Differences that are told; the others are counted.
const TOLD: usize = 3;

/// How far an export is like the history.
pub(super) struct Comparison {
    history: History,
    /// Of each conversation, the seq of the event that came last.
    seqs: Vec<u64>,
    users: u64,
    sides: u64,
    /// What is not of this history: the tenant had it before.
    pub others: u64,
    pub items: u64,
    pub differences: u64,
    pub told: Vec<String>,
}

impl Comparison {
    pub fn new(history: History) -> Self {
        let conversations = usize::try_from(history.conversations()).unwrap_or(usize::MAX);
        let (seqs, told) = (vec![0; conversations], Vec::new());
        Self { history, seqs, users: 0, sides: 0, others: 0, items: 0, differences: 0, told }
    }

    /// Takes a line.
    pub fn take_line(&mut self, line: &[u8]) -> Result<(), CliError> {
        let item: DataItem = serde_json::from_slice(line)
            .map_err(|error| CliError::Failed(format!("line {} of the export: {error}", self.items + 1)))?;
        self.items += 1;
        let Some(expected) = self.expected(&item) else {
            self.others += 1;
            return Ok(());
        };
        if item != expected {
            self.differs(format!("{item:?} instead of {expected:?}"));
        }
        Ok(())
    }

    /// What should stand there; `None` where the history has nothing by this name.
    fn expected(&mut self, item: &DataItem) -> Option<DataItem> {
        let of =
            |id: &str| number_of(id).filter(|nth| *nth < self.history.conversations() && conversation_id(*nth) == id);
        match item.item.as_ref()? {
            Item::User(user) => {
                let nth = number_of(&user.id).filter(|nth| *nth < USERS && user_id(*nth) == user.id)?;
                self.users += 1;
                Some(self.history.user(nth))
            }
            Item::Entry(entry) => {
                let nth = of(&entry.conversation)?;
                let seq = self.seqs.get_mut(usize::try_from(nth).ok()?)?;
                *seq += 1;
                let seq = *seq;
                Some(self.history.entry(nth, seq, true))
            }
            Item::Membership(side) => {
                let nth = of(&side.conversation)?;
                let mut sides = (0..self.history.sides()).map(|member| self.history.side(nth, member));
                let expected =
                    sides.find(|it| matches!(&it.item, Some(Item::Membership(expected)) if expected.user == side.user));
                self.sides += 1;
                // A member who has nothing to say is a difference, not somebody else's.
                Some(expected.unwrap_or_default())
            }
        }
    }

    fn differs(&mut self, what: String) {
        self.differences += 1;
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    /// Ends it: what did not come is a difference, too.
    pub fn finish(&mut self) {
        for nth in 0..self.history.conversations() {
            let came = usize::try_from(nth).ok().and_then(|nth| self.seqs.get(nth)).copied().unwrap_or_default();
            let last = self.history.last_seq(nth);
            if came != last {
                self.differs(format!("{} has {came} events instead of {last}", conversation_id(nth)));
            }
        }
        let sides = self.history.conversations() * self.history.sides();
        if self.users != USERS || self.sides != sides {
            let (users, came) = (self.users, self.sides);
            self.differs(format!("{users} users and {came} memberships instead of {USERS} and {sides}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of an export that is right.
    fn lines(history: History) -> Vec<String> {
        let exported = history.told(1).map(|mut item| {
            if let Some(Item::Entry(entry)) = &mut item.item {
                entry.event.as_mut().unwrap().imported = true;
            }
            serde_json::to_string(&item).unwrap()
        });
        exported.collect()
    }

    fn differences(history: History, lines: &[String]) -> u64 {
        let mut comparison = Comparison::new(history);
        lines.iter().for_each(|line| comparison.take_line(line.as_bytes()).unwrap());
        comparison.finish();
        comparison.differences
    }

    #[test]
    fn what_is_missing_twice_or_changed_is_seen() {
        let history = History::new(300, 5);
        let good = lines(history);
        assert_eq!(differences(history, &good), 0);
        let places = [0, usize::try_from(USERS).unwrap() + 20, good.len() - 1];
        for at in places {
            let mut missing = good.clone();
            missing.remove(at);
            assert_ne!(differences(history, &missing), 0, "without line {at}");
            let mut twice = good.clone();
            twice.insert(at, good[at].clone());
            assert_ne!(differences(history, &twice), 0, "line {at} twice");
        }
        let mut changed = good.clone();
        let last = changed.iter_mut().rfind(|line| line.contains("order")).unwrap();
        *last = last.replacen("order", "border", 1);
        assert_eq!(differences(history, &changed), 1);
    }
}
