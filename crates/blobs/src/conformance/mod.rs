//! What every store must do. `blobs_conformance!(make)` makes a test of each case.
//!
//! `make` is an async function that gives a fresh [`Place`].
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod concurrency;
mod lists;
mod pieces;

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use stonechat_model::TenantId;

use crate::{BlobError, BlobKey, Blobs};

pub use concurrency::*;
pub use lists::*;
pub use pieces::*;

/// A store to be tested, which is empty.
pub struct Place {
    /// The store.
    pub blobs: Arc<dyn Blobs>,
    /// What must live as long as the store, a folder for example; dropped after it.
    pub guard: Box<dyn Any + Send>,
}

/// Makes a `#[tokio::test]` of every case; `$make` is an async function that gives a fresh `Place`.
#[macro_export]
macro_rules! blobs_conformance {
    ($make:path) => {
        $crate::blobs_conformance!(@cases $make:
            what_was_put_is_got,
            every_range_is_got_alone,
            a_range_beyond_the_blob_is_refused,
            what_is_not_there_is_not_found,
            the_same_key_again_replaces,
            the_largest_blob_is_kept_and_a_larger_one_refused,
            deleting_twice_is_fine,
            tenants_are_apart,
            hostile_tenants_stay_in_their_place,
            a_list_is_in_order_and_paged,
            a_big_list_misses_nothing,
            deleting_a_tenant_leaves_the_others,
            concurrent_puts_of_one_key_leave_one_whole,
            concurrent_puts_of_many_keys_are_all_there,
            a_reader_sees_a_whole_blob_while_it_is_replaced,
            deletions_and_puts_beside_each_other_lose_nothing,
        );
    };
    (@cases $make:path: $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let place: $crate::conformance::Place = $make().await;
                $crate::conformance::$case(&place).await;
            }
        )*
    };
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn key(name: &str) -> BlobKey {
    BlobKey::new(&tenant("acme"), name).unwrap()
}

/// Bytes that differ at each place, and from those of another seed.
fn bytes(length: usize, seed: usize) -> Bytes {
    (0..length).map(|at| ((at + seed * 31) % 251) as u8).collect()
}

async fn put(place: &Place, key: &BlobKey, bytes: Bytes) {
    place.blobs.put(key, vec![bytes]).await.unwrap();
}

async fn get_whole(place: &Place, key: &BlobKey) -> Result<Bytes, BlobError> {
    let size = place.blobs.size(key).await?.ok_or(BlobError::NotFound)?;
    place.blobs.get(key, 0..size).await
}
