//! What a record costs. Run with `--release`, `--ignored` and `--nocapture`.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use stonechat_log::{CommandLog, EventStream};
use tokio::task::JoinSet;

use super::{
    owners::{key, soon},
    world::World,
};

const RECORDS: u64 = 200_000;
const PAYLOAD: usize = 300;

/// CPU time of every thread of this process.
fn cpu() -> Duration {
    const TICKS_PER_S: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let mut fields = stat.rsplit(") ").next().unwrap().split(' ');
    // What follows the name: utime and stime are the 12th and the 13th.
    let user: u64 = fields.nth(11).unwrap().parse().unwrap();
    let system: u64 = fields.next().unwrap().parse().unwrap();
    Duration::from_millis((user + system) * 1_000 / TICKS_PER_S)
}

/// Runs something that takes so many records, and tells what each took.
#[expect(clippy::print_stdout, reason = "its purpose")]
async fn measure(what: &str, records: u64, run: impl Future<Output = ()>) {
    let (begun, cpu_before) = (Instant::now(), cpu());
    run.await;
    let (took, cpu_took) = (begun.elapsed(), cpu() - cpu_before);
    let per_second = records as f64 / took.as_secs_f64();
    let each_us = cpu_took.as_secs_f64() * 1e6 / records as f64;
    println!("{what}: {per_second:.0} records/s, {each_us:.1} us of CPU for each");
}

async fn append_all(log: &Arc<dyn CommandLog>, records: u64, in_flight: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..in_flight {
        let (log, next) = (Arc::clone(log), Arc::clone(&next));
        tasks.spawn(async move {
            let payload = Bytes::from(vec![b'x'; PAYLOAD]);
            while next.fetch_add(1, Ordering::Relaxed) < records {
                log.append(&key(task), payload.clone()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn what_a_record_costs() {
    let world = World::new().await;
    let log: Arc<dyn CommandLog> = world.commands().await;
    append_all(&log, 1_000, 10).await;
    for (in_flight, records) in [(1, 2_000), (64, RECORDS / 4), (1_024, RECORDS)] {
        measure(&format!("append, {in_flight} in flight"), records, append_all(&log, records, in_flight)).await;
    }
    let total = 1_000 + 2_000 + RECORDS / 4 + RECORDS;
    let read = Arc::new(AtomicU64::new(0));
    let mut owners = JoinSet::new();
    let reading = async {
        for _ in 0..log.partitions() {
            let (mut source, read) = (log.claim().await.unwrap(), Arc::clone(&read));
            owners.spawn(async move {
                while let Ok(Some(items)) = source.next_batch(512, 4 << 20).await {
                    read.fetch_add(items.len() as u64, Ordering::Relaxed);
                    source.commit(items.last().unwrap().position).await.unwrap();
                }
            });
        }
        soon("reading", async || read.load(Ordering::Relaxed) == total).await;
    };
    measure("read and commit", total, reading).await;
    let both = async {
        append_all(&log, RECORDS, 256).await;
        soon("reading", async || read.load(Ordering::Relaxed) == total + RECORDS).await;
    };
    measure("append and read, 256 in flight", RECORDS, both).await;
    let stream = world.events().await;
    let publish = async {
        let records = |partition: u32| {
            let key = (0..).map(key).find(|key| key.partition(4) == partition).unwrap();
            (0..64).map(|_| (key.clone(), Bytes::from(vec![b'x'; PAYLOAD]))).collect::<Vec<_>>()
        };
        for round in 0..RECORDS / 64 {
            let partition = u32::try_from(round % 4).unwrap();
            stream.publish(partition, records(partition)).await.unwrap();
        }
    };
    measure("publish, 64 at once", RECORDS / 64 * 64, publish).await;
    log.leave().await;
}
