//! One row at a time: versions, time to live, deletion, compare-and-set, limits.

use std::time::{Duration, Instant};

use stonechat_model::{ClientId, limits};

use super::{Engine, assert_reads, expiring, log, member, put, read, text, write};
use crate::{Column, ColumnKind, Key, KeyPart, Range, RowsError, Table, tables};

/// How long a row may take to expire.
const PATIENCE: Duration = Duration::from_secs(30);

/// A row is read as it was written; before that there is none.
pub async fn what_was_written_is_read(engine: &Engine) {
    let key = tables::head(&log("acme", "general"));
    assert_reads(engine, &key, None).await;
    write(engine, [put(key.clone(), 7, "value")]).await;
    assert_reads(engine, &key, Some((7, "value"))).await;
    write(engine, [put(key.clone(), 8, "newer")]).await;
    assert_reads(engine, &key, Some((8, "newer"))).await;
    write(engine, []).await;
}

/// Bulk reads answer in the order of the keys, with gaps, repetitions and tables mixed.
pub async fn bulk_reads_keep_the_keys_order(engine: &Engine) {
    let of = log("acme", "general");
    write(engine, (1..=50).map(|seq| put(tables::event(&of, seq), seq, &seq.to_string()))).await;
    write(engine, [put(tables::head(&of), 50, "head")]).await;
    let seqs = [50, 1, 51, 7, 7, 0, 23];
    let mut keys: Vec<Key> = seqs.iter().map(|seq| tables::event(&of, *seq)).collect();
    keys.insert(3, tables::head(&of));
    let rows = engine.rows.get(&keys).await.unwrap();
    let values: Vec<Option<String>> =
        rows.iter().map(|row| row.as_ref().map(|row| String::from_utf8(row.value.to_vec()).unwrap())).collect();
    let expected = [Some("50"), Some("1"), None, Some("head"), Some("7"), Some("7"), None, Some("23")];
    assert_eq!(values, expected.map(|value| value.map(str::to_owned)));
    for (key, row) in keys.iter().zip(&rows) {
        assert!(row.as_ref().is_none_or(|row| row.key == *key));
    }
    assert!(engine.rows.get(&[]).await.unwrap().is_empty());
}

/// Rows of many partitions, alike but for one part of it, are read at once in the order of their keys.
pub async fn bulk_reads_span_partitions(engine: &Engine) {
    const CONVERSATIONS: usize = 70;
    let written = |number: usize| !number.is_multiple_of(7);
    let keys: Vec<Key> = (0..CONVERSATIONS)
        .flat_map(|number| {
            let name = format!("c{number}");
            [tables::head(&log("acme", &name)), member(&name, "alice"), member(&name, "bob")]
        })
        .collect();
    let number_of = |place: usize| place / 3;
    let puts = keys.iter().enumerate().filter(|(place, _)| written(number_of(*place)));
    write(engine, puts.map(|(place, key)| put(key.clone(), 1, &place.to_string()))).await;
    let rows = engine.rows.get(&keys).await.unwrap();
    for (place, (key, row)) in keys.iter().zip(rows).enumerate() {
        let expected = written(number_of(place)).then(|| (1, place.to_string()));
        assert!(row.as_ref().is_none_or(|row| row.key == *key));
        assert_eq!(row.as_ref().map(text).map(|(version, value)| (version, value.to_owned())), expected, "{key:?}");
    }
}

/// A key of a table, in the partition of this number: its last column is the number, every other part is made of its
/// column's name.
fn key(table: &'static Table, number: u64) -> Key {
    let last = table.partition.len() - 1;
    let columns = table.partition.iter().chain(table.clustering).enumerate();
    let part = |(place, column): (usize, &Column)| match column.kind {
        ColumnKind::Text if place == last => KeyPart::from(number.to_string().as_str()),
        ColumnKind::Number if place == last => KeyPart::from(number),
        ColumnKind::Text => KeyPart::from(column.name),
        ColumnKind::Number => KeyPart::from(column.name.len() as u64),
    };
    Key::new(table, columns.map(part))
}

/// Of every declared table rows of two partitions are read at once, which differ in the last column of it.
pub async fn every_table_is_read_across_partitions(engine: &Engine) {
    let puts = |table| [put(key(table, 1), 1, table.name), put(key(table, 2), 2, table.name)];
    write(engine, tables::ALL.iter().copied().flat_map(puts)).await;
    for table in tables::ALL {
        let rows = engine.rows.get(&[2, 3, 1].map(|number| key(table, number))).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.as_ref().map(text)).collect();
        assert_eq!(found, [Some((2, table.name)), None, Some((1, table.name))]);
    }
}

/// Every declared table takes and gives rows by its own key.
pub async fn every_table_takes_rows(engine: &Engine) {
    let key = |table| key(table, 1);
    write(engine, tables::ALL.iter().map(|table| put(key(table), 1, table.name))).await;
    for table in tables::ALL {
        assert_reads(engine, &key(table), Some((1, table.name))).await;
        let partition = key(table).partition().to_vec();
        let range = Range { table, partition, from: None, until: None, reverse: false, limit: 10 };
        assert_eq!(engine.rows.range(range).await.unwrap().len(), 1, "{}", table.name);
    }
}

/// An empty value is not the same as no row.
pub async fn an_empty_value_is_a_row(engine: &Engine) {
    let key = member("general", "alice");
    write(engine, [put(key.clone(), 0, "")]).await;
    assert_reads(engine, &key, Some((0, ""))).await;
}

/// A value of a megabyte is kept, and so is the greatest version.
pub async fn a_large_value_is_kept(engine: &Engine) {
    let (key, value) = (member("general", "alice"), "x".repeat(1 << 20));
    let version = 1 << 50;
    write(engine, [put(key.clone(), version, &value)]).await;
    assert_reads(engine, &key, Some((version, &value))).await;
}

/// A lower version never replaces, in a write of its own, in one with others, or in the same batch.
pub async fn a_lower_version_never_replaces(engine: &Engine) {
    let (alice, bob) = (member("general", "alice"), member("general", "bob"));
    write(engine, [put(alice.clone(), 10, "ten")]).await;
    write(engine, [put(alice.clone(), 9, "nine")]).await;
    assert_reads(engine, &alice, Some((10, "ten"))).await;
    write(engine, [put(bob.clone(), 3, "bob"), put(alice.clone(), 2, "two")]).await;
    assert_reads(engine, &alice, Some((10, "ten"))).await;
    assert_reads(engine, &bob, Some((3, "bob"))).await;
    write(engine, [put(alice.clone(), 0, "zero")]).await;
    assert_reads(engine, &alice, Some((10, "ten"))).await;
}

/// The same version again replaces, or the greater bytes stay: a writer that repeats itself does no harm.
pub async fn an_equal_version_replaces(engine: &Engine) {
    let key = member("general", "alice");
    for (first, second) in [("first", "second"), ("b", "a"), ("same", "same")] {
        let key = member("general", first);
        write(engine, [put(key.clone(), 10, first)]).await;
        write(engine, [put(key.clone(), 10, second)]).await;
        let stays = if engine.equal_replaces { second } else { first.max(second) };
        assert_reads(engine, &key, Some((10, stays))).await;
    }
    assert_reads(engine, &key, None).await;
}

/// Two puts of one key in a batch: the greater version wins wherever it stands, the later of equal ones.
pub async fn within_a_batch_the_greater_version_wins(engine: &Engine) {
    let [a, b, c] = ["a", "b", "c"].map(|user| member("general", user));
    let puts = [
        put(a.clone(), 1, "low"),
        put(b.clone(), 2, "high"),
        put(a.clone(), 2, "high"),
        put(b.clone(), 1, "low"),
        put(c.clone(), 5, "first"),
        put(c.clone(), 5, "last"),
    ];
    write(engine, puts).await;
    assert_reads(engine, &a, Some((2, "high"))).await;
    assert_reads(engine, &b, Some((2, "high"))).await;
    assert_reads(engine, &c, Some((5, "last"))).await;
}

/// A row's version is its own: a high one elsewhere does not hold back a low one here.
pub async fn versions_are_compared_per_row(engine: &Engine) {
    for number in 0..200 {
        let version = if number % 2 == 0 { 1_000_000 - number } else { number };
        write(engine, [put(member("general", &format!("user{number}")), version, "first")]).await;
    }
    for number in 0..200 {
        let key = member("general", &format!("user{number}"));
        let version = if number % 2 == 0 { 1_000_000 - number } else { number };
        write(engine, [put(key.clone(), version - 1, "lower")]).await;
        assert_reads(engine, &key, Some((version, "first"))).await;
        write(engine, [put(key.clone(), version + 1, "higher")]).await;
        assert_reads(engine, &key, Some((version + 1, "higher"))).await;
    }
}

/// A row with a time to live is read before, and not after: neither by key nor in a range.
pub async fn an_expired_row_is_not_read(engine: &Engine) {
    let ttl = Duration::from_secs(2);
    let (short, long) = (tables::stream(1, 1), tables::stream(1, 2));
    let range = || tables::stream_range(1, 0, false, 10);
    let begun = Instant::now();
    write(engine, [expiring(short.clone(), 0, "short", ttl), expiring(long.clone(), 0, "long", ttl * 10_000)]).await;
    let rows = engine.rows.range(range()).await.unwrap();
    if begun.elapsed() < ttl {
        assert_eq!(rows.len(), 2);
    }
    while read(engine, &short).await.is_some() {
        assert!(begun.elapsed() < PATIENCE, "row did not expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= ttl, "row expired after {:?}", begun.elapsed());
    assert_reads(engine, &long, Some((0, "long"))).await;
    let rows = engine.rows.range(range()).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.key.number(1)).collect::<Vec<_>>(), [2]);
}

/// In a table that expires, a row may stay for good.
pub async fn a_row_without_time_to_live_stays(engine: &Engine) {
    let key = tables::client_id(&log("acme", "general"), "alice", ClientId::generate());
    write(engine, [expiring(key.clone(), 1, "expires", Duration::from_secs(1)), put(key.clone(), 2, "stays")]).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2_500) {
        assert_reads(engine, &key, Some((2, "stays"))).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A deleted row is gone, whatever its version; its neighbours stay.
pub async fn a_deleted_row_is_gone(engine: &Engine) {
    let of = log("acme", "general");
    write(engine, (1..=3).map(|seq| put(tables::event(&of, seq), seq << 40, "event"))).await;
    engine.rows.delete(&[tables::event(&of, 2), tables::event(&of, 9)]).await.unwrap();
    assert_reads(engine, &tables::event(&of, 2), None).await;
    let rows = engine.rows.range(tables::bucket_range(&tables::EVENTS, &of, 0, 100, false, 10)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.key.number(3)).collect::<Vec<_>>(), [1, 3]);
    engine.rows.delete(&[]).await.unwrap();
}

/// The same ids in two tenants are different rows.
pub async fn tenants_are_apart(engine: &Engine) {
    let (ours, theirs) = (log("acme", "general"), log("bolt", "general"));
    write(engine, [put(tables::event(&ours, 1), 5, "ours"), put(tables::event(&theirs, 1), 4, "theirs")]).await;
    write(engine, [put(tables::event(&ours, 2), 5, "ours")]).await;
    assert_reads(engine, &tables::event(&ours, 1), Some((5, "ours"))).await;
    assert_reads(engine, &tables::event(&theirs, 1), Some((4, "theirs"))).await;
    assert_reads(engine, &tables::event(&theirs, 2), None).await;
    let rows = engine.rows.range(tables::bucket_range(&tables::EVENTS, &theirs, 0, 100, false, 10)).await.unwrap();
    assert_eq!(rows.len(), 1);
    engine.rows.delete(&[tables::event(&ours, 1)]).await.unwrap();
    assert_reads(engine, &tables::event(&theirs, 1), Some((4, "theirs"))).await;
}

/// Ids that are prefixes of each other, or give the same text when put side by side, are different rows.
pub async fn ids_that_begin_alike_are_apart(engine: &Engine) {
    let logs = [("a", "ab"), ("aa", "b"), ("a", "a"), ("a", "abc"), ("aab", "c"), ("aab", "-c")];
    for (tenant, conversation) in logs {
        let of = log(tenant, conversation);
        let value = format!("{tenant}/{conversation}");
        write(engine, [put(tables::head(&of), 1, &value), put(tables::event(&of, 1), 1, &value)]).await;
    }
    for (tenant, conversation) in logs {
        let of = log(tenant, conversation);
        let value = format!("{tenant}/{conversation}");
        assert_reads(engine, &tables::head(&of), Some((1, &value))).await;
        let rows = engine.rows.range(tables::bucket_range(&tables::EVENTS, &of, 0, 100, true, 10)).await.unwrap();
        assert_eq!(rows.iter().map(super::text).collect::<Vec<_>>(), [(1, value.as_str())]);
    }
}

/// Compare-and-set writes if and only if the expected version stands.
pub async fn compare_and_set_needs_the_expected_version(engine: &Engine) {
    let key = tables::counter("generation");
    let set = async |version: u64, expected: Option<u64>| {
        let value = version.to_string();
        engine.rows.compare_and_set(put(key.clone(), version, &value), expected).await.unwrap()
    };
    assert!(!set(1, Some(0)).await);
    assert_reads(engine, &key, None).await;
    assert!(set(1, None).await);
    assert!(!set(2, None).await);
    assert!(!set(3, Some(2)).await);
    assert_reads(engine, &key, Some((1, "1"))).await;
    assert!(set(2, Some(1)).await);
    assert_reads(engine, &key, Some((2, "2"))).await;
}

/// Reads beyond a limit are refused, and the engine goes on.
pub async fn a_request_beyond_a_limit_is_refused(engine: &Engine) {
    let key = member("general", "alice");
    let keys = vec![key.clone(); limits::GET_KEYS + 1];
    assert!(matches!(engine.rows.get(&keys).await, Err(RowsError::BadRequest(_))));
    assert_eq!(engine.rows.get(&keys[1..]).await.unwrap().len(), limits::GET_KEYS);
    let range = |limit| tables::stream_range(0, 0, false, limit);
    assert!(matches!(engine.rows.range(range(limits::RANGE_ROWS + 1)).await, Err(RowsError::BadRequest(_))));
    assert!(engine.rows.range(range(limits::RANGE_ROWS)).await.unwrap().is_empty());
    write(engine, [put(key.clone(), 1, "goes on")]).await;
    assert_reads(engine, &key, Some((1, "goes on"))).await;
}

/// Keys, ranges and times to live that do not fit the table are refused before anything of their batch is written.
pub async fn a_request_of_the_wrong_shape_is_refused(engine: &Engine) {
    let good = put(member("general", "alice"), 1, "good");
    let bad_keys = [
        Key::new(&tables::MEMBERS, ["acme".into(), "general".into()]),
        Key::new(&tables::MEMBERS, ["acme".into(), "general".into(), "alice".into(), "more".into()]),
        Key::new(&tables::MEMBERS, ["acme".into(), "general".into(), 7.into()]),
        Key::new(&tables::MEMBERS, ["acme".into(), "general".into(), "al\0ice".into()]),
    ];
    for key in bad_keys {
        let puts = vec![good.clone(), put(key.clone(), 1, "bad")];
        assert!(matches!(engine.rows.write(puts).await, Err(RowsError::BadRequest(_))), "{key:?}");
        assert!(matches!(engine.rows.get(std::slice::from_ref(&key)).await, Err(RowsError::BadRequest(_))));
        assert!(matches!(engine.rows.delete(std::slice::from_ref(&key)).await, Err(RowsError::BadRequest(_))));
        let set = engine.rows.compare_and_set(put(key, 1, "bad"), None).await;
        assert!(matches!(set, Err(RowsError::BadRequest(_))));
    }
    let expiring = expiring(member("general", "bob"), 1, "bad", Duration::from_secs(1));
    assert!(matches!(engine.rows.write(vec![good, expiring]).await, Err(RowsError::BadRequest(_))));
    assert_reads(engine, &member("general", "alice"), None).await;
    let range = |partition: Vec<KeyPart>, from: Option<Vec<KeyPart>>| Range {
        table: &tables::MEMBERS,
        partition,
        from,
        until: None,
        reverse: false,
        limit: 1,
    };
    let ranges = [
        range(vec!["acme".into()], None),
        range(vec!["acme".into(), 1.into()], None),
        range(vec!["acme".into(), "general".into()], Some(vec![1.into()])),
        range(vec!["acme".into(), "general".into()], Some(vec!["a".into(), "b".into()])),
    ];
    for range in ranges {
        assert!(matches!(engine.rows.range(range.clone()).await, Err(RowsError::BadRequest(_))), "{range:?}");
    }
}
