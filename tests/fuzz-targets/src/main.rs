//! Fuzzes without a nightly toolchain: mutations of good input, no coverage.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use stonechat_fuzz_targets::{Mutator, TARGETS};

/// Inputs between two looks at the clock.
const ROUND: u32 = 1000;

/// Feeds mutated input to the parsers; ends with an error when one of them panics.
#[derive(Parser)]
struct Arguments {
    /// The target; every one when not given.
    #[arg(long)]
    target: Option<String>,
    /// How long, for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the inputs begin; the same seed makes the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the good inputs to folders by target's name, and end.
    #[arg(long)]
    write_seeds: Option<PathBuf>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the result of a command")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.write_seeds {
        return match write_seeds(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("write seeds: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let chosen = |name: &str| arguments.target.as_ref().is_none_or(|target| target == name);
    let mut found = ExitCode::SUCCESS;
    for target in TARGETS.iter().filter(|target| chosen(target.name)) {
        let (seeds, begun) = ((target.seeds)(), Instant::now());
        let mut mutator = Mutator::new(arguments.seed);
        let mut inputs = 0_u64;
        while begun.elapsed() < Duration::from_secs(arguments.seconds) {
            for _ in 0..ROUND {
                let input = mutator.input(&seeds);
                if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
                    println!("{}: input {inputs} of seed {}: {input:02x?}", target.name, arguments.seed);
                    found = ExitCode::FAILURE;
                }
                inputs += 1;
            }
            if found == ExitCode::FAILURE {
                break;
            }
        }
        println!("{}: {inputs} inputs in {} s", target.name, begun.elapsed().as_secs());
    }
    found
}

fn write_seeds(folder: &Path) -> io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (nth, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{nth}")), seed)?;
        }
    }
    Ok(())
}
