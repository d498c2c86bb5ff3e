//! How long answers took: of the whole storm, and of each part of it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

/// The longest time that is told apart, in milliseconds.
const LONGEST_MS: u64 = 3_600_000;

/// Counts times, shared by all devices, by the parts of a storm.
#[derive(Debug)]
pub struct Latencies(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// The first one, between blows, has no beginning.
    parts: Vec<Part>,
    last: Instant,
}

#[derive(Debug)]
struct Part {
    begin: Instant,
    is_blow: bool,
    times: Histogram<u64>,
    silence: Duration,
}

/// A part of a storm, in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// What happened in it.
    pub what: String,
    /// Answers.
    pub answers: u64,
    /// Half of them took no longer.
    pub p50_ms: u64,
    /// Of a hundred, 99 took no longer.
    pub p99_ms: u64,
    /// The longest.
    pub longest_ms: u64,
    /// The longest time in which nobody was answered.
    pub silence_ms: u64,
    /// From the beginning of what repaired it until everything was well.
    pub recovery_ms: u64,
}

/// The figures of all parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartFigures {
    /// Right before the first blow.
    pub before: Figures,
    /// Of each blow, in order.
    pub blows: Vec<Figures>,
    /// After the last blow.
    pub after: Figures,
    /// Of all that was not in a blow.
    pub between: Figures,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_MS, 3).unwrap_or_else(|_| unreachable!("three digits of an hour"))
}

impl Part {
    fn new(begin: Instant, is_blow: bool) -> Self {
        Self { begin, is_blow, times: histogram(), silence: Duration::ZERO }
    }

    fn figures(&self) -> Figures {
        Figures {
            what: String::new(),
            answers: self.times.len(),
            p50_ms: self.times.value_at_quantile(0.5),
            p99_ms: self.times.value_at_quantile(0.99),
            longest_ms: self.times.max(),
            silence_ms: u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX),
            recovery_ms: 0,
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        let last = Instant::now();
        Self(Mutex::new(Inner { parts: vec![Part::new(last, false)], last }))
    }
}

impl Latencies {
    /// Counts the answer, which comes now, to what was sent at that time. It belongs to the first blow that struck in
    /// between, else to the part in which it was sent.
    pub fn record(&self, sent: Instant) {
        let now = Instant::now();
        let ms = u64::try_from((now - sent).as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.0.lock();
        inner.hear(now);
        let after = inner.parts.partition_point(|part| part.begin <= sent);
        let blow = inner.parts.iter().skip(after).position(|part| part.is_blow);
        let place = blow.map_or(after.saturating_sub(1), |offset| after + offset);
        if let Some(part) = inner.parts.get_mut(place) {
            part.times.saturating_record(ms);
        }
    }

    /// Begins another part: of a blow, or between blows.
    pub fn begin(&self, is_blow: bool) {
        let now = Instant::now();
        let mut inner = self.0.lock();
        // Silence that goes on counts as far as it got.
        inner.hear(now);
        inner.parts.push(Part::new(now, is_blow));
    }

    /// Of all parts, a time that so many of a thousand do not exceed, in milliseconds.
    pub fn at_most_ms(&self, per_mille: u32) -> u64 {
        let mut all = histogram();
        for part in &self.0.lock().parts {
            // The same bounds.
            let _ = all.add(&part.times);
        }
        all.value_at_quantile(f64::from(per_mille) / 1000.0)
    }

    /// The figures of all parts.
    pub fn figures(&self) -> PartFigures {
        let inner = self.0.lock();
        let mut between = Part::new(inner.last, false);
        for part in inner.parts.iter().filter(|part| !part.is_blow) {
            let _ = between.times.add(&part.times);
            between.silence = between.silence.max(part.silence);
        }
        let first = inner.parts.iter().position(|part| part.is_blow).and_then(|at| inner.parts.get(at.checked_sub(1)?));
        let last = inner.parts.last().filter(|part| !part.is_blow);
        PartFigures {
            before: first.map(Part::figures).unwrap_or_default(),
            blows: inner.parts.iter().filter(|part| part.is_blow).map(Part::figures).collect(),
            after: last.map(Part::figures).unwrap_or_default(),
            between: between.figures(),
        }
    }
}

impl Inner {
    fn hear(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.last);
        if let Some(part) = self.parts.last_mut() {
            part.silence = part.silence.max(silence);
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_times_is_below_the_answer() {
        let latencies = Latencies::default();
        let now = Instant::now() + Duration::from_secs(2);
        for ms in 0..1000 {
            // Never sent after now, however slow this is.
            latencies.record(now - Duration::from_secs(60) - Duration::from_millis(ms));
        }
        let (half, all) = (latencies.at_most_ms(500), latencies.at_most_ms(1000));
        assert!(half > 58_000 && half < all && all >= 58_990, "{half} {all}");
        assert_eq!(Latencies::default().at_most_ms(500), 0);
    }

    #[test]
    fn an_answer_belongs_to_the_blow_that_struck_before_it_came() {
        let latencies = Latencies::default();
        let before = Instant::now();
        latencies.record(before);
        latencies.begin(true);
        let during = Instant::now();
        latencies.begin(false);
        let after = Instant::now();
        // Late: sent before the blow, and in it.
        latencies.record(before);
        latencies.record(during);
        latencies.record(after);
        latencies.begin(true);
        latencies.record(after);
        let PartFigures { before, blows, after, between } = latencies.figures();
        assert_eq!(blows.iter().map(|blow| blow.answers).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((between.answers, before.answers), (2, 1));
        assert_eq!(after, Figures::default(), "the last blow goes on");
    }
}
