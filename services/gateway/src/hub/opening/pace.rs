//! The decision how many sessions open at once.

use std::time::Duration;

/// Sessions that open at once to begin with.
const AT_FIRST: f64 = 4.0;
/// One at least opens, in so much of the time; the rest of it belongs to those that are open.
const LEAST: f64 = 0.25;
/// So many at least open in a second, whatever that does to the others: whoever waits has no chat at all.
const LEAST_PER_S: f64 = 10.0;
/// As long as no more than so many at once are needed for that: rows that have no end to their trouble get no more.
const SURE: f64 = 8.0;
/// How much the time that a session took to open counts for what the next one is expected to take.
const RECENT: f64 = 0.2;
/// How much more of the time one opens in after each, where nothing is slow.
const LONGER: f64 = 0.1;
/// What is left of the number where something is slow.
const FEWER: f64 = 0.75;
/// A time counts for so many times the usual at most: one that waited for rows that were away would tell for long of what
/// is over.
const OUTLIER: f64 = 10.0;
/// Answers of which there are many tell of a new number.
const MANY: f64 = 20.0;

/// What is timed, how its usual and its present time follow from that, and when it is slow.
struct Watch {
    /// How much a time counts for what is usual: a shorter one, and a longer one while nobody else opens.
    faster: f64,
    slower: f64,
    /// How much a time counts for what it takes now.
    recent: f64,
    /// It is slow from so many times the usual on, and so much more.
    times: f64,
    slack_us: f64,
}

/// The first read of a session that opens. It is not in its own way: it is slow where others are.
const READS: Watch = Watch { faster: 0.1, slower: 0.02, recent: 0.2, times: 2.0, slack_us: 2_000.0 };
/// The outcomes of commands: what those who are open notice, each for itself and many a second.
const COMMANDS: Watch = Watch { faster: 0.01, slower: 0.005, recent: 0.05, times: 1.3, slack_us: 1_000.0 };

/// How long something takes.
struct Timed {
    watch: Watch,
    usual_us: f64,
    recent_us: f64,
    /// Times since the number became less: those from before tell nothing of it.
    since_fewer: f64,
}

impl Timed {
    fn new(watch: Watch) -> Self {
        Self { watch, usual_us: f64::NAN, recent_us: f64::NAN, since_fewer: 0.0 }
    }

    fn note(&mut self, took_us: f64, is_calm: bool) {
        if self.usual_us.is_nan() {
            (self.usual_us, self.recent_us) = (took_us, took_us);
        }
        let took_us = took_us.min(OUTLIER * self.usual_us + self.watch.slack_us);
        let weight = match took_us < self.usual_us {
            true => self.watch.faster,
            false if is_calm => self.watch.slower,
            false => 0.0,
        };
        self.usual_us += weight * (took_us - self.usual_us);
        self.recent_us += self.watch.recent * (took_us - self.recent_us);
        self.since_fewer += 1.0;
    }

    fn is_slow(&self) -> bool {
        self.recent_us > self.watch.times * self.usual_us + self.watch.slack_us
    }
}

/// How many sessions open at once: additive increase where all of them are used, multiplicative decrease. Below one it is
/// the part of the time in which one does.
pub(super) struct Pace {
    most: f64,
    limit: f64,
    reads: Timed,
    commands: Timed,
    /// How long a session takes to open.
    turn_us: f64,
}

impl Pace {
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { most, limit: AT_FIRST.min(most), reads: Timed::new(READS), commands: Timed::new(COMMANDS), turn_us: 0.0 }
    }

    /// How many open at once.
    pub fn at_once(&self) -> usize {
        self.limit.max(1.0) as usize
    }

    /// The number; below one, the part of the time in which one opens.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// How long nobody opens before the next one does.
    pub fn rest(&self) -> Duration {
        Duration::from_micros((self.turn_us * (1.0 / self.limit - 1.0).max(0.0)) as u64)
    }

    /// A session took so long to open.
    pub fn note_turn(&mut self, took_us: f64) {
        self.turn_us += RECENT * (took_us - self.turn_us);
        self.limit = self.limit.max(self.least());
    }

    /// What the number does not go below.
    fn least(&self) -> f64 {
        (LEAST_PER_S * self.turn_us / 1e6).clamp(LEAST, SURE).min(self.most)
    }

    /// The outcome of a command took so long; calm is that nobody opened meanwhile.
    pub fn note_command(&mut self, took_us: f64, is_calm: bool) {
        self.commands.note(took_us, is_calm);
    }

    /// The first read of a session took so long while so many opened.
    pub fn note_read(&mut self, took_us: f64, opening: usize) {
        self.reads.note(took_us, opening <= 1);
        let are_reads_slow = self.reads.is_slow();
        if are_reads_slow || self.commands.is_slow() {
            let knows =
                if are_reads_slow { self.reads.since_fewer >= self.limit } else { self.commands.since_fewer >= MANY };
            if knows {
                self.limit = (self.limit * FEWER).max(self.least());
                (self.reads.since_fewer, self.commands.since_fewer) = (0.0, 0.0);
            }
        } else if self.limit < 1.0 {
            self.limit = (self.limit + LONGER).min(1.0);
        } else if opening >= self.at_once() {
            self.limit = (self.limit + 1.0 / self.limit).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that bear so many sessions at once and are slower in proportion beyond.
    fn settled(bears: usize, most: usize, reads: usize) -> usize {
        let mut pace = Pace::new(most);
        // Some that open alone tell what is usual.
        (0..20).for_each(|_| pace.note_read(3_000.0, 1));
        for _ in 0..reads {
            let opening = pace.at_once();
            pace.note_read(3_000.0 * (opening as f64 / bears as f64).max(1.0), opening);
        }
        pace.at_once()
    }

    #[test]
    fn as_many_open_as_the_rows_bear() {
        assert_eq!(settled(1_000, 64, 10_000), 64, "no more than at most");
        assert!((10..=40).contains(&settled(12, 64, 10_000)));
        assert!((1..=4).contains(&settled(1, 64, 10_000)));
        assert_eq!(settled(1, 1, 1_000), 1);
    }

    #[test]
    fn what_many_at_once_wait_does_not_become_usual() {
        let mut pace = Pace::new(64);
        (0..20).for_each(|_| pace.note_read(3_000.0, 1));
        (0..5_000).for_each(|_| pace.note_read(500_000.0, 4));
        assert_eq!(pace.limit(), LEAST, "one at least goes on");
        (0..200).for_each(|_| pace.note_read(500_000.0, 1));
        assert!(pace.reads.usual_us > 100_000.0, "rows that are slow by themselves are usual in time");
    }

    #[test]
    fn those_who_wait_get_on_however_slow_it_is() {
        for (turn_us, at_least) in [(1_000.0, LEAST), (60_000.0, 0.6), (500_000.0, 5.0), (60_000_000.0, SURE)] {
            let mut pace = Pace::new(64);
            (0..20).for_each(|_| pace.note_read(3_000.0, 1));
            for _ in 0..200 {
                pace.note_turn(turn_us);
                pace.note_read(500_000.0, 4);
            }
            assert!((pace.limit() - at_least).abs() < 0.01, "{turn_us} us: {}", pace.limit());
            let a_second = 1e6 / (turn_us + pace.rest().as_micros() as f64) * pace.at_once() as f64;
            // Turns are whole.
            assert!(a_second >= 0.8 * LEAST_PER_S - 0.1 || pace.limit() == SURE, "{turn_us} us: {a_second} a second");
        }
        let mut pace = Pace::new(2);
        (0..100).for_each(|_| pace.note_turn(10_000_000.0));
        assert_eq!(pace.limit(), 2.0, "never more than at most");
    }

    #[test]
    fn rows_that_were_away_are_soon_forgotten() {
        let mut pace = Pace::new(64);
        (0..20).for_each(|_| pace.note_read(3_000.0, 1));
        (0..20).for_each(|_| pace.note_read(5_000_000.0, 4));
        assert_eq!(pace.limit(), LEAST);
        (0..20).for_each(|_| pace.note_read(3_000.0, pace.at_once()));
        assert!(pace.limit() > 2.0, "{}", pace.limit());
    }

    #[test]
    fn calm_times_do_not_make_room_for_a_storm() {
        let mut pace = Pace::new(64);
        (0..10_000).for_each(|_| pace.note_read(3_000.0, 1));
        assert_eq!(pace.at_once(), 4);
    }

    /// The part of the time in which one opens, where a command takes so many times as long meanwhile: ten outcomes for
    /// each session that opens, of which as many are calm as there is rest.
    fn share_where_commands_are(slower: f64) -> f64 {
        let mut pace = Pace::new(64);
        (0..500).for_each(|_| pace.note_command(10_000.0, true));
        let mut shares = 0.0;
        const SESSIONS: usize = 2_000;
        for _ in 0..SESSIONS {
            let busy = (10.0 * pace.limit().min(1.0)).round() as usize;
            for number in 0..10 {
                let is_calm = number >= busy;
                pace.note_command(if is_calm { 10_000.0 } else { 10_000.0 * slower }, is_calm);
            }
            pace.note_read(3_000.0, pace.at_once());
            shares += pace.limit();
        }
        shares / SESSIONS as f64
    }

    #[test]
    fn those_who_are_open_are_left_what_they_need() {
        assert!(share_where_commands_are(1.0) > 30.0, "nobody notices");
        let share = share_where_commands_are(2.0);
        assert!((0.3..1.0).contains(&share), "{share}");
        let share = share_where_commands_are(6.0);
        assert!((LEAST..0.4).contains(&share), "{share}");
    }

    #[test]
    fn one_opens_all_the_time_where_it_is_told_nothing() {
        let pace = Pace::new(1);
        assert_eq!((pace.at_once(), pace.rest()), (1, Duration::ZERO));
    }
}
