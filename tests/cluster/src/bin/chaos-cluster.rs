//! `chaos-cluster`: a storm over a cluster of real processes on real backends.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use serde_json::json;
use stonechat_chaos::{Settings, Summary, run};
use stonechat_chaos_checker::Report;
use stonechat_cluster_tests::{
    Plan,
    storm::{
        ClusterWorld, Fault, Memory, Probes, Seen, backends_away, every_fault, few_faults, rolling, slow_storage,
        upgrade,
    },
};

/// Which things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Everything that may.
    Every,
    /// A few that are different in kind.
    Few,
    /// Each process is restarted in order, one after the other.
    Rolling,
    /// Each process is restarted as one of a newer version, one after the other; see `--from`.
    Upgrade,
    /// Each backend stands still, for two minutes.
    BackendsAway,
    /// Every answer of storage comes 200 ms late, for half a minute, while more is sent than can be decided.
    SlowStorage,
}

/// Has things happen to a cluster under load and judges what its clients saw.
///
/// Ends with `acked=N kills=N lost=0 doubled=0 reordered=0 gaps=0 diverged=0`, and with an error unless all five
/// are zero, every send was answered and every device had everything at the end.
#[derive(Parser)]
#[command(name = "chaos-cluster")]
struct Arguments {
    /// Which things happen.
    #[arg(long, value_enum, default_value = "every")]
    faults: Kind,
    /// Of those only the ones whose descriptions have this text.
    #[arg(long)]
    only: Option<String>,
    /// Seconds from one thing that happens to the next.
    #[arg(long, default_value_t = 24)]
    every: u32,
    /// Users, with two devices each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    users: u32,
    /// Sends per second, all devices together.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Where chance begins; by the clock when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds that catching up may take.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Brokers of Kafka: one or three.
    #[arg(long, default_value_t = 3)]
    brokers: usize,
    /// The server's program, with the feature `cluster`; the one beside this program when not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// How long backends stay away, in seconds.
    #[arg(long, default_value_t = 120)]
    away: u64,
    /// Partitions of the command log.
    #[arg(long, default_value_t = 8)]
    partitions: u32,
    /// For upgrades: the program of the older version, with the feature `cluster`.
    #[arg(long, required_if_eq("faults", "upgrade"))]
    from: Option<PathBuf>,
    /// Print the summary as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// How long storage is slow, in seconds.
const SLOW_S: u64 = 30;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the result of a command")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What was started ends with its handles: an interrupted storm must run its destructors.
    tokio::select! {
        result = storm(&arguments) => match result {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("chaos-cluster: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("chaos-cluster: interrupted");
            ExitCode::FAILURE
        }
    }
}

async fn storm(arguments: &Arguments) -> Result<bool, Failure> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("stonechat"),
    };
    let plan = Plan {
        brokers: arguments.brokers,
        partitions: arguments.partitions,
        detours: true,
        presences: 2,
        upgraded_from: arguments.from.clone().filter(|_| arguments.faults == Kind::Upgrade),
        ..Plan::new(program)
    };
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = arguments.seed.unwrap_or_else(clock);
    let faults = match arguments.faults {
        Kind::Every => every_fault(seed, plan.brokers),
        Kind::Few => few_faults(),
        Kind::Rolling => rolling(|kind| plan.count(kind)),
        Kind::Upgrade => upgrade(|kind| plan.count(kind)),
        Kind::BackendsAway => backends_away(Duration::from_secs(arguments.away)),
        Kind::SlowStorage => slow_storage(Duration::from_secs(SLOW_S)),
    };
    let is_meant = |fault: &Fault| arguments.only.as_ref().is_none_or(|text| fault.to_string().contains(text));
    let faults: Vec<Fault> = faults.into_iter().filter(is_meant).collect();
    let settings = Settings {
        length: Duration::from_secs(u64::from(arguments.every)) * u32::try_from(faults.len())?,
        kills: faults.len(),
        is_awkward: false,
        // Senders keep on while it is slow: what they are told then is what is looked at.
        is_calm: arguments.faults != Kind::SlowStorage,
        users: usize::try_from(arguments.users)?,
        rate: arguments.rate,
        seed,
        patience: Duration::from_secs(arguments.patience),
    };
    let expected = Expected::of(arguments.faults, &faults);
    let mut world = ClusterWorld::start(&plan, faults).await?;
    let watch = if expected.same_processes { Some(world.watch().await?) } else { None };
    let (summary, report) = match run(&settings, &mut world).await {
        Ok(result) => result,
        Err(error) => {
            world.cluster().show_logs();
            return Err(error.into());
        }
    };
    let mut is_well = show(arguments, &summary, &report);
    if let Some(watch) = watch {
        let seen = watch.end().await;
        show_seen(&seen);
        is_well &= expected.is_met_by(&seen);
    }
    is_well &= expected.is_met(&summary);
    if !is_well {
        world.cluster().show_logs();
    }
    Ok(is_well)
}

/// What is asked of a storm beside what is asked of every one.
struct Expected {
    /// No process may end.
    same_processes: bool,
    /// Senders must be told that it is too much.
    pushes_back: bool,
    /// A device may lose its connection so often, where gateways end in order only.
    disconnects: Option<usize>,
}

impl Expected {
    fn of(kind: Kind, faults: &[Fault]) -> Self {
        let in_order = matches!(kind, Kind::Rolling | Kind::Upgrade);
        Self {
            same_processes: faults.iter().all(Fault::spares_processes),
            pushes_back: kind == Kind::SlowStorage,
            disconnects: in_order.then(|| faults.iter().filter(|fault| fault.renews_gateway()).count()),
        }
    }

    #[expect(clippy::print_stdout, reason = "the result of a command")]
    fn is_met_by(&self, seen: &Seen) -> bool {
        let mut faults = seen.faults();
        if self.pushes_back && seen.shed == 0 {
            faults.push("nobody was told that it is too much".to_owned());
        }
        faults.iter().for_each(|fault| println!("{fault}"));
        faults.is_empty()
    }

    #[expect(clippy::print_stdout, reason = "the result of a command")]
    fn is_met(&self, summary: &Summary) -> bool {
        let most = self.disconnects.unwrap_or(usize::MAX);
        let is_met = summary.most_disconnects <= most;
        if !is_met {
            println!("a device lost its connection more often than gateways were restarted ({most})");
        }
        is_met
    }
}

/// Prints what was seen of memory, and of what senders were told.
#[expect(clippy::print_stdout, reason = "the result of a command")]
fn show_seen(seen: &Seen) {
    println!("| process | RSS before MiB | peak MiB | after MiB | the same process |");
    println!("|---|---|---|---|---|");
    for Memory { name, before_kib, peak_kib, after_kib, lives, .. } in &seen.memory {
        println!("| {name} | {} | {} | {} | {lives} |", before_kib / 1024, peak_kib / 1024, after_kib / 1024);
    }
    let Probes { done, again, longest, .. } = &seen.probes;
    println!("\none sender after the other by the api: {done} sends done, the longest wait {} ms", longest.as_millis());
    for (told, count) in again {
        println!("  {count} were told to send again: {told}");
    }
    println!("commands refused since others wait for too long: {}; not decided in time: {}\n", seen.shed, seen.late);
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
        ] {
            line[name] = json!(count);
        }
        println!("{line}");
    } else {
        let s = summary;
        println!("seed {}: {} devices in {} conversations", s.seed, s.devices, s.conversations);
        println!("storm: {} s, {} sends/s, {} answers/s", s.storm_s, s.sends_per_second, s.acks_per_second);
        println!("a device lost its connection {} times at most", s.most_disconnects);
        println!("everybody had everything {} ms after the last send; {} events shown\n", s.settle_ms, s.observed);
        println!(
            "| what happened | answers | p50 ms | p99 ms | longest ms | nobody answered for ms | all ready after ms |"
        );
        println!("|---|---|---|---|---|---|---|");
        for part in &s.parts {
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                part.what, part.answers, part.p50_ms, part.p99_ms, part.longest_ms, part.silence_ms, part.recovery_ms
            );
        }
        println!();
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
