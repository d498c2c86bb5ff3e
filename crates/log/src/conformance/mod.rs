//! What every command log and every event stream must do. `command_log_conformance!(make)` and
//! `event_stream_conformance!(make)` make a test of each case.
//!
//! `make` is an async function that gives a fresh one. No case needs a runtime of many threads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod stream;

use std::{
    any::Any,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use stonechat_model::{ConversationId, LogId, LogKey, TenantId};
use stonechat_rows::Rows;

use crate::{CommandLog, EventStream, QueueBounds};

pub use commands::*;
pub use stream::*;

/// How long anything may take before a case fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command log to be tested.
pub struct CommandLogUnderTest {
    /// The log; it has at least four partitions and nothing in them.
    pub log: Arc<dyn CommandLog>,
    /// What a partition holds at most, where that is bounded: at most some thousands of records.
    pub bounds: Option<QueueBounds>,
    /// What must live as long as the log; dropped after it.
    pub guard: Box<dyn Any + Send>,
}

/// Opens an event stream again.
pub type Reopen = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Arc<dyn EventStream>> + Send>> + Send + Sync>;

/// An event stream to be tested.
pub struct EventStreamUnderTest {
    /// The stream; it has nothing in its partitions.
    pub stream: Arc<dyn EventStream>,
    /// The rows that what it enlists is written to.
    pub rows: Arc<dyn Rows>,
    /// How many partitions it has; at least four.
    pub partitions: u32,
    /// Opens the same stream again, as another process would after this one ended.
    pub reopen: Reopen,
    /// What must live as long as the stream; dropped after it.
    pub guard: Box<dyn Any + Send>,
}

/// Makes a `#[tokio::test]` of every case; `$make` is an async function that gives a fresh `CommandLogUnderTest`.
#[macro_export]
macro_rules! command_log_conformance {
    ($make:path) => {
        $crate::log_conformance_cases!($make:
            commands_of_a_key_stay_in_its_partition,
            commands_of_a_key_keep_their_order,
            positions_and_times_grow_in_a_partition,
            a_batch_keeps_to_its_limits,
            each_partition_is_claimed_once,
            a_dropped_source_frees_its_partition,
            a_new_source_reads_again_what_was_not_committed,
            a_source_reads_nothing_twice,
            a_waiting_source_wakes,
            concurrent_appends_are_all_read_in_order,
            a_cancelled_read_loses_nothing,
            a_full_partition_refuses_until_it_is_committed,
        );
    };
}

/// Makes a `#[tokio::test]` of every case; `$make` is an async function that gives a fresh `EventStreamUnderTest`.
#[macro_export]
macro_rules! event_stream_conformance {
    ($make:path) => {
        $crate::log_conformance_cases!($make:
            records_of_a_key_keep_their_order,
            a_batch_of_records_keeps_to_its_limit,
            each_partition_is_claimed_once_per_consumer,
            a_consumer_resumes_after_its_position,
            consumers_are_independent,
            a_waiting_consumer_wakes,
            a_consumer_that_was_away_misses_nothing,
            a_consumer_keeps_up_with_its_publisher,
            a_cancelled_read_of_records_loses_nothing,
            a_reopened_stream_has_everything,
            positions_survive_a_restart,
        );
    };
}

/// A test of each case.
#[doc(hidden)]
#[macro_export]
macro_rules! log_conformance_cases {
    ($make:path: $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let under_test = $make().await;
                $crate::conformance::$case(&under_test).await;
            }
        )*
    };
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The log of a conversation.
fn key(number: u64) -> LogKey {
    let conversation = ConversationId::parse(&format!("conversation{number}")).unwrap();
    LogKey { tenant: TenantId::parse("acme").unwrap(), log: LogId::Conversation(conversation) }
}

/// The first key that goes to a partition.
fn key_of(partition: u32, partitions: u32) -> LogKey {
    (0..).map(key).find(|key| key.partition(partitions) == partition).unwrap()
}

/// A payload that tells its key and its number.
fn payload(key: &LogKey, number: u64) -> Bytes {
    format!("{} {number}", key.log).into()
}

/// The key and the number of a payload.
fn told(payload: &Bytes) -> (String, u64) {
    let (key, number) = std::str::from_utf8(payload).unwrap().split_once(' ').unwrap();
    (key.to_owned(), number.parse().unwrap())
}

/// Waits, though not for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

/// Polls a future so often, then drops it.
async fn poll_times<T>(times: u64, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
