//! A history comes in through the tenant's import, goes out by its export, and is compared; then pages are read at both
//! ends of the largest conversation. Lines are made as they are sent: neither side holds them.

mod compare;
mod history;
mod memory;
mod tenant;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use futures::stream;
use hyper::body::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use stonechat_model::limits;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _},
    time::sleep,
};

use self::{
    compare::Comparison,
    history::{History, conversation_id},
    memory::Peak,
    tenant::Tenant,
};
use super::{
    report::{float, latencies, lines, quantile_ms, record},
    server::{Server, Watched, Window},
};
use crate::cli::{CliError, output};

/// Bytes of lines that are sent as one piece.
const PIECE_BYTES: usize = 64 << 10;
/// Reads of pages before those that count.
const WARM_UP_READS: u64 = 50;
/// Different pages at each end.
const PAGES: u64 = 10;
/// A server is quiet that uses less CPU time than this, in microseconds each second.
const QUIET_CPU_US: u64 = 30_000;
const QUIET_LOOK: Duration = Duration::from_secs(1);
/// How long it may take to become quiet.
const QUIET_PATIENCE: Duration = Duration::from_secs(120);

/// How to measure it.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Start a server of its own in a temporary folder.
    #[arg(long, conflicts_with = "url")]
    spawn: bool,
    /// A server that runs. What is imported stays there, and may be imported again with the same sizes.
    #[arg(long, required_unless_present = "spawn", requires = "key")]
    url: Option<String>,
    /// A server key of a tenant of it.
    #[arg(long, env = "STONECHAT_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The process ids of that server, for their CPU time and memory: PID, or NAME=PID by commas.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<Watched>,
    /// Messages, edits and reactions among them; a tenth is in one conversation.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Conversations.
    #[arg(long, default_value_t = 1_000)]
    conversations: u64,
    /// Conversations whose lines come in turn; one after the other, as an export has them, when not given.
    #[arg(long, default_value_t = 1)]
    interleaved: u64,
    /// Reads of a page at each end of the largest conversation.
    #[arg(long, default_value_t = 500)]
    reads: u64,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct ImportReport {
    bench: &'static str,
    messages: u64,
    conversations: u64,
    /// Lines: users, events, memberships.
    items: u64,
    bytes_per_item: f64,
    import_items_per_second: f64,
    import_cpu_us_per_item: Option<f64>,
    /// From the answer until the server has done what follows from it.
    import_quiet_after_s: f64,
    /// With what follows from it.
    import_cpu_us_per_item_until_quiet: Option<f64>,
    export_items_per_second: f64,
    export_cpu_us_per_item: Option<f64>,
    resident_bytes_before: Option<u64>,
    /// After each tenth of the lines was sent.
    resident_bytes_by_tenths_of_import: Vec<u64>,
    resident_bytes_import_peak: Option<u64>,
    resident_bytes_between: Option<u64>,
    resident_bytes_export_peak: Option<u64>,
    page_at_start: Page,
    page_at_end: Page,
    is_equal: bool,
    differences: u64,
    /// Exported items that are none of this history.
    others: u64,
}

/// What reading a page costs.
#[derive(Debug, Default, Serialize)]
struct Page {
    cpu_us: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Measures; fails where the export is not what was imported.
pub(super) async fn import(args: &ImportArgs) -> Result<(), CliError> {
    let server = match (&args.url, &args.key) {
        (Some(url), Some(key)) => Server::of_tenant(url, args.server_pid.clone(), key.clone())?,
        _ => Server::spawn().await?,
    };
    let tenant = Tenant::of(&server)?;
    let history = History::new(args.messages, args.conversations);
    let mut report = ImportReport {
        bench: "import",
        messages: args.messages,
        conversations: history.conversations(),
        items: history.items(),
        ..ImportReport::default()
    };
    bring_in(args, &server, &tenant, history, &mut report).await?;
    let comparison = take_out(&server, &tenant, history, &mut report).await?;
    quiet(&server).await;
    let page = u64::try_from(limits::PAGE_EVENTS).unwrap_or(1);
    let last_seq = history.last_seq(0);
    report.page_at_start = pages(args, &server, &tenant, |nth| nth % PAGES * page).await?;
    report.page_at_end = pages(args, &server, &tenant, |nth| last_seq.saturating_sub((nth % PAGES + 1) * page)).await?;
    match args.json {
        true => output::json(&report),
        false => output::line(&lines(&report)),
    }
    match report.is_equal {
        true => Ok(()),
        false => {
            comparison.told.iter().for_each(|difference| output::note(difference));
            Err(CliError::Failed(format!("the export differs from what was imported {} times", report.differences)))
        }
    }
}

fn per_item(cpu_us: Option<u64>, items: u64) -> Option<f64> {
    cpu_us.map(|us| float(us) / float(items.max(1)))
}

async fn bring_in(
    args: &ImportArgs,
    server: &Server,
    tenant: &Tenant,
    history: History,
    report: &mut ImportReport,
) -> Result<(), CliError> {
    quiet(server).await;
    report.resident_bytes_before = server.resident_bytes();
    let (bytes, tenths) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (peak, window) = (Peak::begin(server), Window::begin(server));
    let until_quiet = Window::begin(server);
    let pieces = {
        let (bytes, tenths, memory) = (Arc::clone(&bytes), Arc::clone(&tenths), server.memory());
        let tenth = history.items().div_ceil(10);
        let mut told = history.told(args.interleaved);
        let mut sent = 0_u64;
        std::iter::from_fn(move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES + 4_096);
            while piece.len() < PIECE_BYTES {
                let Some(item) = told.next() else { break };
                // What is generated is an item, which JSON can say.
                serde_json::to_writer(&mut piece, &item).ok()?;
                piece.push(b'\n');
                sent += 1;
                if sent.is_multiple_of(tenth) {
                    tenths.lock().extend(memory.resident_bytes());
                }
            }
            bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            (!piece.is_empty()).then(|| Bytes::from(piece))
        })
    };
    let taken = tenant.import(stream::iter(pieces)).await?;
    let spent = window.end(server);
    if taken != report.items {
        return Err(CliError::Failed(format!("{taken} items were taken instead of {}", report.items)));
    }
    report.resident_bytes_import_peak = peak.end().await;
    report.import_items_per_second = float(taken) / spent.seconds;
    report.import_cpu_us_per_item = per_item(spent.cpu_us, taken);
    report.bytes_per_item = float(bytes.load(Ordering::Relaxed)) / float(taken.max(1));
    report.resident_bytes_by_tenths_of_import = std::mem::take(&mut tenths.lock());
    let answered = Instant::now();
    quiet(server).await;
    report.import_quiet_after_s = answered.elapsed().as_secs_f64();
    report.import_cpu_us_per_item_until_quiet = per_item(until_quiet.end(server).cpu_us, taken);
    Ok(())
}

async fn take_out(
    server: &Server,
    tenant: &Tenant,
    history: History,
    report: &mut ImportReport,
) -> Result<Comparison, CliError> {
    report.resident_bytes_between = server.resident_bytes();
    let (peak, window) = (Peak::begin(server), Window::begin(server));
    let mut comparison = Comparison::new(history);
    let mut body = tenant.get("/v1/export").await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = body.read_until(b'\n', &mut line).await;
        if read.map_err(|error| CliError::Failed(format!("read the export: {error}")))? == 0 {
            break;
        }
        comparison.take_line(&line)?;
    }
    let spent = window.end(server);
    comparison.finish();
    report.resident_bytes_export_peak = peak.end().await;
    report.export_items_per_second = float(comparison.items) / spent.seconds;
    report.export_cpu_us_per_item = per_item(spent.cpu_us, comparison.items);
    report.is_equal = comparison.differences == 0;
    (report.differences, report.others) = (comparison.differences, comparison.others);
    Ok(comparison)
}

/// Reads pages of the largest conversation, each after the seq that is given for it.
async fn pages(
    args: &ImportArgs,
    server: &Server,
    tenant: &Tenant,
    after: impl Fn(u64) -> u64,
) -> Result<Page, CliError> {
    let target = |nth| {
        let (conversation, after) = (conversation_id(0), after(nth));
        format!("/v1/conversations/{conversation}/messages?after={after}&page_size={}", limits::PAGE_EVENTS)
    };
    let read = async |nth| {
        let mut body = Vec::new();
        let read = tenant.get(&target(nth)).await?.read_to_end(&mut body).await;
        read.map(|_| ()).map_err(|error| CliError::Failed(format!("read a page: {error}")))
    };
    for nth in 0..WARM_UP_READS.min(args.reads) {
        read(nth).await?;
    }
    let (window, mut took) = (Window::begin(server), latencies());
    for nth in 0..args.reads {
        let asked = Instant::now();
        read(nth).await?;
        record(&mut took, asked.elapsed());
    }
    let spent = window.end(server);
    let (p50_ms, p99_ms) = (quantile_ms(&took, 0.5), quantile_ms(&took, 0.99));
    Ok(Page { cpu_us: per_item(spent.cpu_us, args.reads), p50_ms, p99_ms })
}

/// Waits until the server does next to nothing, if its CPU time is known.
async fn quiet(server: &Server) {
    let began = Instant::now();
    while began.elapsed() < QUIET_PATIENCE {
        let window = Window::begin(server);
        sleep(QUIET_LOOK).await;
        if window.end(server).cpu_us.is_none_or(|us| us < QUIET_CPU_US) {
            return;
        }
    }
}
