//! Lists, and deleting what is in them.

use std::collections::BTreeSet;

use stonechat_model::now_us;
use tokio::task::JoinSet;

use super::{Place, bytes, get_whole, key, put, tenant};
use crate::{BlobKey, Found};

/// Clocks of another machine may be off by so much.
const CLOCKS_US: i64 = 3_600_000_000;

fn names(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.key.name()).collect()
}

/// Pages of every size give the same.
pub async fn a_list_is_in_order_and_paged(place: &Place) {
    let acme = tenant("acme");
    assert_eq!(place.blobs.list(&acme, None, 10).await.unwrap(), []);
    let mut all = ["b", "abcdefg", "abcdefgh", "abcdef", "abcdefz", "a-", "a_", "abcdefg-", "z", "0"];
    for (seed, name) in all.iter().enumerate() {
        put(place, &key(name), bytes(seed + 1, seed)).await;
    }
    all.sort_unstable();
    for limit in [1, 2, 3, 9, 10, 11] {
        let mut seen: Vec<Found> = Vec::new();
        loop {
            let page = place.blobs.list(&acme, seen.last().map(|found| &found.key), limit).await.unwrap();
            assert!(page.len() <= limit);
            let is_last = page.len() < limit;
            seen.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(names(&seen), all, "pages of {limit}");
    }
    let after = key("abcdefga");
    let found = place.blobs.list(&acme, Some(&after), 2).await.unwrap();
    assert_eq!(names(&found), ["abcdefgh", "abcdefz"]);
    for found in place.blobs.list(&acme, None, 20).await.unwrap() {
        assert_eq!(Some(found.size_bytes), place.blobs.size(&found.key).await.unwrap());
        assert!((now_us() - found.modified_us).abs() < CLOCKS_US, "{found:?}");
    }
}

/// More than one page of a store's own.
pub async fn a_big_list_misses_nothing(place: &Place) {
    const COUNT: usize = 1_300;
    let acme = tenant("acme");
    let mut puts = JoinSet::new();
    for number in 0..COUNT {
        let blobs = std::sync::Arc::clone(&place.blobs);
        // As ids sorted by time: few folders, many names.
        puts.spawn(async move { blobs.put(&key(&format!("0193f2a{number:025}")), vec![bytes(3, number)]).await });
        if puts.len() >= 64 {
            puts.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    puts.join_all().await.into_iter().for_each(|put| put.unwrap());
    let (mut seen, mut after) = (BTreeSet::new(), None);
    loop {
        let page = place.blobs.list(&acme, after.as_ref(), 500).await.unwrap();
        after = page.last().map(|found| found.key.clone());
        let is_last = page.len() < 500;
        seen.extend(page.into_iter().map(|found| found.key));
        if is_last {
            break;
        }
    }
    assert_eq!(seen.len(), COUNT);
    place.blobs.delete_tenant(&acme).await.unwrap();
    assert_eq!(place.blobs.list(&acme, None, 10).await.unwrap(), []);
}

/// All of one and nothing of the others.
pub async fn deleting_a_tenant_leaves_the_others(place: &Place) {
    let (acme, beside) = (tenant("acme"), BlobKey::new(&tenant("acme-2"), "a1").unwrap());
    place.blobs.delete_tenant(&acme).await.unwrap();
    put(place, &beside, bytes(4, 9)).await;
    for number in 0..20 {
        put(place, &key(&format!("a{number}")), bytes(10, number)).await;
    }
    for _ in 0..2 {
        place.blobs.delete_tenant(&acme).await.unwrap();
        assert_eq!(place.blobs.list(&acme, None, 10).await.unwrap(), []);
        assert_eq!(place.blobs.size(&key("a1")).await.unwrap(), None);
    }
    assert_eq!(get_whole(place, &beside).await.unwrap(), bytes(4, 9));
}
