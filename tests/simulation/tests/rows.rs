//! The simulated rows keep to the contract of rows, so that what is shown on them holds on others. Not among the
//! cases: expiry by the wall clock, for the simulated clock stands still here.

use std::{sync::Arc, time::Duration};

use stonechat_model::{ClientId, ConversationId, LogId, LogKey, TenantId};
use stonechat_rows::{Put, Rows, conformance::Engine, tables};
use stonechat_simulation::{
    executor::{Runtime, Step, WORLD},
    faults::{Faults, Mix},
    rows::SimRows,
};
use tokio::task::JoinHandle;

struct Stop(JoinHandle<()>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rows whose simulated time passes as long as the test yields.
fn engine(is_atomic: bool) -> Engine {
    let runtime = Runtime::new(7, 1_000_000);
    let rows = SimRows::new(7, Faults::new(runtime.clone(), Mix { rows_are_atomic: is_atomic, ..Mix::none() }));
    let driver = tokio::spawn(async move {
        loop {
            runtime.step();
            tokio::task::yield_now().await;
        }
    });
    Engine { rows: Arc::new(rows), is_atomic, equal_replaces: is_atomic, guard: Box::new(Stop(driver)) }
}

async fn atomic() -> Engine {
    engine(true)
}

async fn one_by_one() -> Engine {
    engine(false)
}

macro_rules! both {
    ($($case:ident,)*) => {
        mod atomic_rows {
            stonechat_rows::rows_conformance!(@cases super::atomic: $($case,)*);
        }
        mod rows_one_by_one {
            stonechat_rows::rows_conformance!(@cases super::one_by_one: $($case,)*);
        }
    };
}

both! {
    what_was_written_is_read,
    bulk_reads_keep_the_keys_order,
    every_table_takes_rows,
    an_empty_value_is_a_row,
    a_large_value_is_kept,
    a_lower_version_never_replaces,
    an_equal_version_replaces,
    within_a_batch_the_greater_version_wins,
    versions_are_compared_per_row,
    a_deleted_row_is_gone,
    tenants_are_apart,
    ids_that_begin_alike_are_apart,
    compare_and_set_needs_the_expected_version,
    a_request_beyond_a_limit_is_refused,
    a_request_of_the_wrong_shape_is_refused,
    ranges_agree_with_a_model,
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
}

#[test]
fn a_row_expires_by_the_simulated_clock() {
    let runtime = Runtime::new(1, 1_000_000);
    let rows = SimRows::new(1, Faults::new(runtime.clone(), Mix::none()));
    let inner = runtime.clone();
    runtime.spawn(WORLD, async move {
        let log = LogKey {
            tenant: TenantId::parse("acme").unwrap(),
            log: LogId::Conversation(ConversationId::parse("general").unwrap()),
        };
        let key = tables::client_id(&log, "alice", ClientId::from_name(b"1"));
        let put =
            Put { key: key.clone(), value: b"x".as_slice().into(), version: 1, ttl: Some(Duration::from_secs(5)) };
        rows.write(vec![put]).await.unwrap();
        assert!(rows.get(std::slice::from_ref(&key)).await.unwrap()[0].is_some());
        inner.sleep(5_000_000).await;
        assert!(rows.get(&[key]).await.unwrap()[0].is_none());
    });
    while runtime.step() != Step::Idle {}
}
