//! `chaos`: a crash storm over the real server.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde_json::json;
use stonechat_chaos::{FullDiskWorld, RealWorld, Settings, Summary, World, run};
use stonechat_chaos_checker::Report;

/// Kills the server under load and judges what its clients saw.
///
/// Ends with `acked=N kills=N lost=0 doubled=0 reordered=0 gaps=0 diverged=0`, and with an error unless all five
/// are zero, every file of a message could be fetched as it was uploaded, every send was answered and every device had
/// everything at the end.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long everybody sends.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// How often the server is killed while they do.
    #[arg(long, default_value_t = 40)]
    kills: usize,
    /// Users, with two devices each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    users: u32,
    /// Sends per second, all devices together.
    #[arg(long, default_value_t = 2500)]
    rate: u32,
    /// Where chance begins; by the clock when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds that catching up may take.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// The server's program; the one beside this program when not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Keep the server's data and log in this folder instead of a temporary one.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Instead of only killing it, have its disk run full each time before: a small one, which this mounts. Where
    /// it may not, it says so and ends well.
    #[arg(long)]
    full_disk: bool,
    /// Print the summary as one line of JSON.
    #[arg(long)]
    json: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the result of a command")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The server is a child that dies with its handle: an interrupted storm must run its destructors.
    tokio::select! {
        result = storm(&arguments) => match result {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("chaos: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("chaos: interrupted");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "why there is no result")]
async fn storm(arguments: &Arguments) -> Result<bool, Failure> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("stonechat"),
    };
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let settings = Settings {
        length: Duration::from_secs(arguments.seconds),
        kills: arguments.kills,
        is_awkward: !arguments.full_disk,
        is_calm: false,
        users: usize::try_from(arguments.users)?,
        rate: arguments.rate,
        seed: arguments.seed.unwrap_or_else(clock),
        patience: Duration::from_secs(arguments.patience),
    };
    let mut world: Box<dyn World> = match arguments.full_disk {
        false => Box::new(RealWorld::new(program, folder)?),
        true => match FullDiskWorld::new(program, folder, arguments.kills) {
            Ok(world) => Box::new(world),
            Err(error) => {
                eprintln!("chaos: a small disk cannot be mounted here, its storm is left out: {error}");
                return Ok(true);
            }
        },
    };
    let outcome = run(&settings, world.as_mut()).await;
    let (summary, report) = match outcome {
        Ok(result) => result,
        Err(error) => {
            show_log(&folder.join("server.log"));
            return Err(error.into());
        }
    };
    Ok(show(arguments, &summary, &report))
}

/// Prints how it went; gives whether all is well.
#[expect(clippy::print_stdout, reason = "the result of a command")]
fn show(arguments: &Arguments, summary: &Summary, report: &Report) -> bool {
    if arguments.json {
        let mut line = json!(summary);
        for (name, count) in [
            ("acked", report.acked),
            ("refused", report.refused),
            ("unanswered", report.unanswered),
            ("lost", report.lost),
            ("doubled", report.doubled),
            ("reordered", report.reordered),
            ("gaps", report.gaps),
            ("diverged", report.diverged),
            ("missing", report.missing),
            ("files", report.files),
            ("attached", report.attached),
        ] {
            line[name] = json!(count);
        }
        println!("{line}");
    } else {
        let s = summary;
        println!("seed {}: {} devices in {} conversations", s.seed, s.devices, s.conversations);
        println!("storm: {} s, {} sends/s, {} answers/s", s.storm_s, s.sends_per_second, s.acks_per_second);
        println!("kills: {}, {} of them before the server had come to itself", s.kills, s.awkward_kills);
        let (first, usual, longest) = (s.first_start_ms, s.recovery_p50_ms, s.recovery_max_ms);
        println!("start to ready: {first} ms at first, then {usual} ms median, {longest} ms longest");
        println!("answers across kills: half within {} ms, 99.9 % within {} ms", s.answer_p50_ms, s.answer_p999_ms);
        let (files, shown, missing) = (report.files, report.attached, report.missing);
        println!(
            "files: {files} uploaded, shown {shown} times on devices that then fetched them, {missing} without its bytes"
        );
        println!("everybody had everything {} ms after the last send; {} events shown", s.settle_ms, s.observed);
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    if summary.unsettled_devices > 0 || report.unanswered > 0 || report.refused > 0 {
        println!(
            "{} devices did not have everything in time; {} sends were not answered, {} were refused {:?}",
            summary.unsettled_devices, report.unanswered, report.refused, summary.refusals
        );
    }
    println!("{}", report.closing_line(summary.kills));
    report.is_clean() && summary.unsettled_devices == 0 && report.unanswered == 0 && report.refused == 0
}

/// Shows the end of the server's log.
#[expect(clippy::print_stderr, reason = "the result of a command")]
fn show_log(path: &Path) {
    const LINES: usize = 20;
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        eprintln!("server: {line}");
    }
}
