//! What a durable message costs in the embedded engine: CPU by thread, in microseconds per message.
//!
//! `cargo run --release -p stonechat-rows --example write_cost -- [seconds] [tasks] [messages per batch] [dry]`
//!
//! A message is what the router writes for one: its event, its client id, its record of the event stream and,
//! once per batch and conversation, the head. With `dry` the batches are made and not written, which is what
//! to take off the result.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use stonechat_model::{ClientId, ConversationId, LogId, LogKey, TenantId};
use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Put, Rows, tables};

/// As the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Conversations that each task writes to in turn.
const CONVERSATIONS: u64 = 64;
/// The size of a value.
const VALUE_BYTES: usize = 250;
/// Clock ticks per second in `/proc` (USER_HZ, the same on every Linux).
const TICKS_PER_S: u64 = 100;

struct Conversation {
    log: LogKey,
    seq: u64,
}

struct Task {
    number: u64,
    conversations: Vec<Conversation>,
    next: usize,
    position: u64,
    value: Bytes,
}

impl Task {
    fn new(number: u64) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let tenant = TenantId::parse("bench")?;
        let conversation = |i: u64| {
            let id = ConversationId::parse(&format!("direct:{:024}", number * CONVERSATIONS + i))?;
            Ok(Conversation { log: LogKey { tenant: tenant.clone(), log: LogId::Conversation(id) }, seq: 0 })
        };
        let conversations = (0..CONVERSATIONS).map(conversation).collect::<Result<_, stonechat_model::InvalidId>>()?;
        // Half of it repeats itself, as text does.
        let value = (0..VALUE_BYTES).map(|i| if i % 2 == 0 { b'a' } else { (i * 37 % 251) as u8 }).collect();
        Ok(Self { number, conversations, next: 0, position: 0, value })
    }

    fn batch(&mut self, messages: usize) -> Vec<Put> {
        let mut puts = Vec::with_capacity(messages * 4);
        let mut heads = BTreeMap::new();
        let mut stream = Vec::with_capacity(messages);
        for _ in 0..messages {
            self.next = (self.next + 1) % self.conversations.len();
            self.position += 1;
            let conversation = &mut self.conversations[self.next];
            conversation.seq += 1;
            let (log, version) = (&conversation.log, self.position);
            let put = |key, ttl_s: u64| {
                let ttl = (ttl_s > 0).then(|| Duration::from_secs(ttl_s));
                Put { key, value: self.value.clone(), version, ttl }
            };
            let mut seen = put(tables::client_id(log, "alice", ClientId::generate()), 86_400);
            seen.value.truncate(20);
            puts.push(seen);
            puts.push(put(tables::event(log, conversation.seq), 0));
            stream.push(put(tables::stream(u32::try_from(self.number).unwrap_or(0), self.position), 86_400));
            heads.insert(self.next, put(tables::head(log), 0));
        }
        puts.extend(heads.into_values());
        puts.extend(stream);
        puts
    }
}

/// CPU microseconds by the names of this process's threads.
fn cpu_us() -> Result<BTreeMap<String, u64>, Box<dyn Error + Send + Sync>> {
    let mut by_name = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(entry?.path().join("stat"))?;
        let (name, rest) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).unwrap_or_default();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        *by_name.entry(name.to_owned()).or_default() += ticks * 1_000_000 / TICKS_PER_S;
    }
    Ok(by_name)
}

async fn work(
    mut task: Task,
    rows: Option<Arc<dyn Rows>>,
    messages: usize,
    until: Instant,
    done: Arc<AtomicU64>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    while Instant::now() < until {
        let puts = task.batch(messages);
        match &rows {
            Some(rows) => rows.write(puts).await?,
            None => tokio::task::yield_now().await,
        }
        done.fetch_add(messages as u64, Ordering::Relaxed);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program of the command line")]
#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| arguments.get(index).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (seconds, tasks, messages) = (number(0, 10), number(1, 8), number(2, 60));
    let folder = std::env::temp_dir().join(format!("stonechat-write-cost-{}", std::process::id()));
    let rows: Option<Arc<dyn Rows>> = match arguments.get(3) {
        Some(_) => None,
        None => Some(EmbeddedRows::open(&folder, EmbeddedRowsConfig::default())?),
    };
    let done = Arc::new(AtomicU64::new(0));
    let before = cpu_us()?;
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let batch = usize::try_from(messages)?;
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        running.spawn(work(Task::new(task)?, rows.clone(), batch, until, Arc::clone(&done)));
    }
    while let Some(result) = running.join_next().await {
        result??;
    }
    let written = done.load(Ordering::Relaxed).max(1);
    println!("{:.0} messages/s", written as f64 / started.elapsed().as_secs_f64());
    let mut total = 0;
    for (name, after) in cpu_us()? {
        let used = after.saturating_sub(before.get(&name).copied().unwrap_or(0));
        total += used;
        println!("{:>8.2} us per message in {name}", used as f64 / written as f64);
    }
    println!("{:>8.2} us per message", total as f64 / written as f64);
    drop(rows);
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}
