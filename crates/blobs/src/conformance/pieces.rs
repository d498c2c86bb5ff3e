//! One blob after the other.

use std::ops::Range;

use bytes::Bytes;
use stonechat_model::limits;

use super::{Place, bytes, get_whole, key, put, tenant};
use crate::{BlobError, BlobKey};

/// Bytes come back as they were, none of them too.
pub async fn what_was_put_is_got(place: &Place) {
    for (number, length) in [0, 1, 4_095, 4_096, 70_000].into_iter().enumerate() {
        let key = key(&format!("a{number}"));
        put(place, &key, bytes(length, number)).await;
        assert_eq!(place.blobs.size(&key).await.unwrap(), Some(length as u64));
        assert_eq!(get_whole(place, &key).await.unwrap(), bytes(length, number));
    }
}

/// Ranges at every edge.
pub async fn every_range_is_got_alone(place: &Place) {
    let (key, whole) = (key("a"), bytes(10_000, 1));
    put(place, &key, whole.clone()).await;
    for range in [0..1, 0..10_000, 1..2, 4_096..8_192, 9_999..10_000, 0..0, 5_000..5_000, 10_000..10_000] {
        let got = place.blobs.get(&key, range.clone()).await.unwrap();
        assert_eq!(got, whole.slice(range.start as usize..range.end as usize), "{range:?}");
    }
}

/// Never fewer bytes than were asked for.
pub async fn a_range_beyond_the_blob_is_refused(place: &Place) {
    let key = key("a");
    put(place, &key, bytes(100, 1)).await;
    let backwards = Range { start: 3, end: 2 };
    for range in [0..101, 99..101, 100..101, 200..300, 101..101, 0..u64::MAX, u64::MAX - 1..u64::MAX, backwards] {
        let got = place.blobs.get(&key, range.clone()).await;
        assert_eq!(got, Err(BlobError::OutOfRange { size_bytes: 100 }), "{range:?}");
    }
}

/// Absence has an error of its own, which is not worth a repetition.
pub async fn what_is_not_there_is_not_found(place: &Place) {
    let key = key("a");
    assert_eq!(place.blobs.size(&key).await.unwrap(), None);
    for range in [0..0, 0..1, 5..10] {
        let error = place.blobs.get(&key, range).await.unwrap_err();
        assert_eq!(error, BlobError::NotFound);
        assert!(!error.is_retryable());
    }
}

/// Longer, shorter and empty ones in turn.
pub async fn the_same_key_again_replaces(place: &Place) {
    let key = key("a");
    for (seed, length) in [5, 5_000, 3, 0, 7].into_iter().enumerate() {
        put(place, &key, bytes(length, seed)).await;
        assert_eq!(get_whole(place, &key).await.unwrap(), bytes(length, seed));
    }
}

/// The limit is met on both sides.
pub async fn the_largest_blob_is_kept_and_a_larger_one_refused(place: &Place) {
    let (key, other) = (key("a"), key("b"));
    let largest = bytes(limits::BLOB_BYTES, 1);
    put(place, &key, largest.clone()).await;
    assert!(get_whole(place, &key).await.unwrap() == largest, "bytes differ");
    let larger = place.blobs.put(&other, vec![bytes(limits::BLOB_BYTES + 1, 1)]).await;
    assert_eq!(larger, Err(BlobError::TooLarge));
    assert_eq!(place.blobs.size(&other).await.unwrap(), None);
}

/// Deleting what is not there is no error, and what is there goes.
pub async fn deleting_twice_is_fine(place: &Place) {
    let (key, beside) = (key("a"), key("ab"));
    place.blobs.delete(&key).await.unwrap();
    put(place, &key, bytes(5, 1)).await;
    put(place, &beside, bytes(5, 2)).await;
    for _ in 0..2 {
        place.blobs.delete(&key).await.unwrap();
        assert_eq!(place.blobs.size(&key).await.unwrap(), None);
    }
    assert_eq!(get_whole(place, &beside).await.unwrap(), bytes(5, 2));
    put(place, &key, bytes(6, 3)).await;
    assert_eq!(get_whole(place, &key).await.unwrap(), bytes(6, 3));
}

/// The same name in two tenants is two blobs, also where one id begins like the other.
pub async fn tenants_are_apart(place: &Place) {
    let tenants = ["acme", "acme-2", "acm", "Acme", "ACME"];
    let keys: Vec<BlobKey> = tenants.iter().map(|id| BlobKey::new(&tenant(id), "a").unwrap()).collect();
    for (seed, key) in keys.iter().enumerate() {
        put(place, key, bytes(10, seed)).await;
    }
    for (seed, key) in keys.iter().enumerate() {
        assert_eq!(get_whole(place, key).await.unwrap(), bytes(10, seed));
        assert_eq!(place.blobs.list(key.tenant(), None, 10).await.unwrap().len(), 1);
    }
}

/// Ids that are paths elsewhere are none here.
pub async fn hostile_tenants_stay_in_their_place(place: &Place) {
    let ids = ["..", ".", "...", "a:b", "a@b", "-", "_", "con", "=2e", "a.", ".a"];
    let ids: Vec<&str> = ids.into_iter().filter(|id| stonechat_model::TenantId::parse(id).is_ok()).collect();
    for (seed, id) in ids.iter().enumerate() {
        put(place, &BlobKey::new(&tenant(id), "a").unwrap(), bytes(10, seed)).await;
    }
    for (seed, id) in ids.iter().enumerate() {
        let of_it = tenant(id);
        assert_eq!(get_whole(place, &BlobKey::new(&of_it, "a").unwrap()).await.unwrap(), bytes(10, seed), "{id}");
        let found = place.blobs.list(&of_it, None, 10).await.unwrap();
        assert_eq!(found.iter().map(|found| found.key.name()).collect::<Vec<_>>(), ["a"], "{id}");
    }
    place.blobs.delete_tenant(&tenant("..")).await.unwrap();
    let left = BlobKey::new(&tenant("."), "a").unwrap();
    assert_ne!(get_whole(place, &left).await.unwrap(), Bytes::new());
}
