//! What every engine must do. `rows_conformance!(make)` makes a test of each case.
//!
//! `make` is an async function that gives a fresh [`Engine`]. No case needs a runtime of many threads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod concurrency;
mod points;
mod ranges;

use std::{any::Any, collections::BTreeSet, sync::Arc, time::Duration};

use stonechat_model::{ConversationId, LogId, LogKey, TenantId, UserId};

use crate::{Key, Put, Row, Rows, tables};

pub use concurrency::*;
pub use points::*;
pub use ranges::*;

/// An engine to be tested.
pub struct Engine {
    /// The engine.
    pub rows: Arc<dyn Rows>,
    /// Whether it writes a batch whole or not at all.
    pub is_atomic: bool,
    /// Whether of two writes of one version the later one stays; else the one of the greater bytes.
    pub equal_replaces: bool,
    /// What must live as long as the engine, a folder for example; dropped after it.
    pub guard: Box<dyn Any + Send>,
}

/// Makes a `#[tokio::test]` of every case; `$make` is an async function that gives a fresh `Engine`.
#[macro_export]
macro_rules! rows_conformance {
    ($make:path) => {
        $crate::rows_conformance!(@cases $make:
            what_was_written_is_read,
            bulk_reads_keep_the_keys_order,
            bulk_reads_span_partitions,
            every_table_is_read_across_partitions,
            every_table_takes_rows,
            an_empty_value_is_a_row,
            a_large_value_is_kept,
            a_lower_version_never_replaces,
            an_equal_version_replaces,
            within_a_batch_the_greater_version_wins,
            versions_are_compared_per_row,
            an_expired_row_is_not_read,
            a_row_without_time_to_live_stays,
            a_deleted_row_is_gone,
            tenants_are_apart,
            ids_that_begin_alike_are_apart,
            compare_and_set_needs_the_expected_version,
            a_request_beyond_a_limit_is_refused,
            a_request_of_the_wrong_shape_is_refused,
            ranges_agree_with_a_model,
            ranges_of_several_parts_agree_with_a_model,
            paging_sees_every_row_once,
            a_range_stays_in_its_partition,
            a_range_keeps_to_its_limit,
            numbers_are_ordered_as_numbers,
            concurrent_writers_leave_the_greatest_version,
            concurrent_batches_are_all_written,
            one_of_many_compare_and_sets_wins,
            appending_by_compare_and_set_loses_nothing,
            a_cancelled_write_is_whole_or_absent,
            what_was_answered_is_read_at_once,
        );
    };
    (@cases $make:path: $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let engine: $crate::conformance::Engine = $make().await;
                $crate::conformance::$case(&engine).await;
            }
        )*
    };
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn log(tenant_id: &str, conversation: &str) -> LogKey {
    LogKey { tenant: tenant(tenant_id), log: LogId::Conversation(conversation_id(conversation)) }
}

fn conversation_id(id: &str) -> ConversationId {
    ConversationId::parse(id).unwrap()
}

fn member(conversation: &str, user: &str) -> Key {
    tables::member(&tenant("acme"), &conversation_id(conversation), &UserId::parse(user).unwrap())
}

fn put(key: Key, version: u64, value: &str) -> Put {
    Put { key, value: value.to_owned().into(), version, ttl: None }
}

fn expiring(key: Key, version: u64, value: &str, ttl: Duration) -> Put {
    Put { ttl: Some(ttl), ..put(key, version, value) }
}

fn text(row: &Row) -> (u64, &str) {
    (row.version, std::str::from_utf8(&row.value).unwrap())
}

async fn write(engine: &Engine, puts: impl IntoIterator<Item = Put>) {
    engine.rows.write(puts.into_iter().collect()).await.unwrap();
}

/// The row of a key.
async fn read(engine: &Engine, key: &Key) -> Option<Row> {
    let mut rows = engine.rows.get(std::slice::from_ref(key)).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row = rows.pop().unwrap();
    assert!(row.as_ref().is_none_or(|row| row.key == *key), "the row of another key: {row:?}");
    row
}

/// Asserts version and value of the row of a key.
async fn assert_reads(engine: &Engine, key: &Key, expected: Option<(u64, &str)>) {
    let row = read(engine, key).await;
    assert_eq!(row.as_ref().map(text), expected, "{key:?}");
}

/// Asserts that a set holds each of the numbers below `count`.
fn assert_all_below(count: u64, found: &BTreeSet<u64>) {
    let missing: Vec<u64> = (0..count).filter(|number| !found.contains(number)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}
