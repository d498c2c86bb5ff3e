//! Many at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Place, bytes, get_whole, key};
use crate::BlobError;

/// One of them is there, and whole.
pub async fn concurrent_puts_of_one_key_leave_one_whole(place: &Place) {
    const WRITERS: usize = 16;
    let mut puts = JoinSet::new();
    for seed in 0..WRITERS {
        let blobs = Arc::clone(&place.blobs);
        puts.spawn(async move { blobs.put(&key("a"), vec![bytes(100_000 + seed, seed)]).await });
    }
    puts.join_all().await.into_iter().for_each(|put| put.unwrap());
    let left = get_whole(place, &key("a")).await.unwrap();
    let seed = left.len() - 100_000;
    assert!(left == bytes(left.len(), seed), "mixed with another");
    assert_eq!(place.blobs.list(key("a").tenant(), None, 10).await.unwrap().len(), 1);
}

/// None pushes another out.
pub async fn concurrent_puts_of_many_keys_are_all_there(place: &Place) {
    const COUNT: usize = 100;
    let mut puts = JoinSet::new();
    for seed in 0..COUNT {
        let blobs = Arc::clone(&place.blobs);
        puts.spawn(async move { blobs.put(&key(&format!("{seed:04}")), vec![bytes(1_000 + seed, seed)]).await });
    }
    puts.join_all().await.into_iter().for_each(|put| put.unwrap());
    for seed in 0..COUNT {
        let got = get_whole(place, &key(&format!("{seed:04}"))).await.unwrap();
        assert_eq!(got, bytes(1_000 + seed, seed));
    }
}

/// The one before or the one after, never some of both or less.
pub async fn a_reader_sees_a_whole_blob_while_it_is_replaced(place: &Place) {
    const LENGTH: usize = 200_000;
    place.blobs.put(&key("a"), vec![bytes(LENGTH, 0)]).await.unwrap();
    let blobs = Arc::clone(&place.blobs);
    let writing = tokio::spawn(async move {
        for seed in 1..20 {
            blobs.put(&key("a"), vec![bytes(LENGTH, seed)]).await.unwrap();
        }
    });
    let whole: Vec<_> = (0..20).map(|seed| bytes(LENGTH, seed)).collect();
    while !writing.is_finished() {
        let got = place.blobs.get(&key("a"), 0..LENGTH as u64).await.unwrap();
        assert!(whole.contains(&got), "neither the one before nor the one after");
    }
    writing.await.unwrap();
    assert!(get_whole(place, &key("a")).await.unwrap() == whole[19], "the last one is not there");
}

/// Folders that are removed as empty take nothing with them.
pub async fn deletions_and_puts_beside_each_other_lose_nothing(place: &Place) {
    const ROUNDS: usize = 40;
    let worker = |name: &'static str| {
        let blobs = Arc::clone(&place.blobs);
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let key = key(&format!("0193f2a{name}"));
                blobs.put(&key, vec![bytes(10, round)]).await.unwrap();
                assert_eq!(blobs.get(&key, 0..10).await.unwrap(), bytes(10, round));
                blobs.delete(&key).await.unwrap();
                assert_eq!(blobs.get(&key, 0..10).await, Err(BlobError::NotFound));
            }
        })
    };
    for working in ["a", "b", "c"].map(worker) {
        working.await.unwrap();
    }
}
