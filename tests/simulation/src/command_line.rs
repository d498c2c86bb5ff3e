//! `simulate --seed N` or `simulate --seeds A..B`, with `--atomic true|false`, `--break RULE`, `--jobs N`, `--trace true`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::{
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use crate::run::{Broken, Options, Outcome, run};

const USAGE: &str =
    "usage: simulate (--seed N | --seeds A..B) [--atomic true|false] [--break RULE] [--jobs N] [--trace true]
rules: version roll-forward future-facts republish write-order user-log-idempotence
       register-before-sync recheck-after-unsure";
/// Faults of one seed that are printed.
const SHOWN: usize = 12;
/// Seeds between two lines of progress.
const PROGRESS: u64 = 1000;

struct Arguments {
    first: u64,
    until: u64,
    atomic: Option<bool>,
    broken: Option<Broken>,
    jobs: usize,
    is_traced: bool,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Option<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut parsed = Self { first: 0, until: 1000, atomic: None, broken: None, jobs: cores, is_traced: false };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return None };
            match name.as_str() {
                "--seed" => {
                    parsed.first = value.parse().ok()?;
                    parsed.until = parsed.first + 1;
                }
                "--seeds" => {
                    let (first, until) = value.split_once("..")?;
                    (parsed.first, parsed.until) = (first.parse().ok()?, until.parse().ok()?);
                }
                "--atomic" => parsed.atomic = Some(value.parse().ok()?),
                "--break" => parsed.broken = Some(Broken::from_name(value)?),
                "--trace" => parsed.is_traced = value.parse().ok()?,
                "--jobs" => parsed.jobs = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(parsed)
    }

    /// The one command that runs a seed again.
    fn replay(&self, seed: u64) -> String {
        let atomic = self.atomic.map(|atomic| format!(" --atomic {atomic}")).unwrap_or_default();
        let broken = self.broken.map(|rule| format!(" --break {}", rule.as_str())).unwrap_or_default();
        format!("cargo run --release -p stonechat-simulation -- --seed {seed}{atomic}{broken}")
    }
}

/// Runs the program.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let Some(arguments) = Arguments::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    let (mut seeds, mut failed, mut steps, mut acked, mut events) = (0, 0, 0, 0, 0);
    let next = AtomicU64::new(arguments.first);
    let (to, results) = mpsc::channel::<(u64, Outcome)>();
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (to, next, arguments) = (to.clone(), &next, &arguments);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.until {
                        break;
                    }
                    let Arguments { atomic, broken, is_traced, .. } = *arguments;
                    let options = Options { seed, atomic, broken, is_traced };
                    if to.send((seed, run(options))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(to);
        for (seed, outcome) in results {
            seeds += 1;
            steps += outcome.steps;
            acked += outcome.acked;
            events += outcome.events;
            if !outcome.faults.is_empty() {
                failed += 1;
                println!("seed {seed} failed: {} faults", outcome.faults.len());
                outcome.faults.iter().take(SHOWN).for_each(|fault| println!("  {fault}"));
                println!("  replay: {}", arguments.replay(seed));
            }
            if seeds % PROGRESS == 0 {
                let s = begin.elapsed().as_secs_f64();
                println!("{seeds} seeds, {failed} failed, {s:.1} s, {steps} polls, {acked} answers, {events} events");
            }
        }
    });
    if seeds == 1 {
        println!("polls={steps} answers={acked} events={events}");
    }
    println!("seeds={seeds} failed={failed}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
