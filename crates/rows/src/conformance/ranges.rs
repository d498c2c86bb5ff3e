//! Ranges and pages.

use std::collections::BTreeMap;

use stonechat_model::limits;

use super::{Engine, Random, conversation_id, log, member, put, tenant, text, write};
use crate::{Key, KeyPart, Put, Range, Row, tables};

/// Worlds of rows that are compared with a model.
const SEEDS: u64 = 60;
/// Batches and ranges of each.
const STEPS: u64 = 40;
/// Ids whose order is easily had wrong.
const USERS: [&str; 16] =
    ["-", ".", "0", "00", "1", "10", "9", "A", "Z", "_", "a", "a-", "a.b", "aa", "b", "~not-an-id"];

fn key(conversation: &str, user: &str) -> Key {
    Key::new(&tables::MEMBERS, ["acme".into(), conversation.into(), user.into()])
}

fn range(conversation: &str) -> Range {
    tables::members(&tenant("acme"), &conversation_id(conversation), None, limits::RANGE_ROWS)
}

type Model = BTreeMap<&'static str, (u64, String)>;

fn random_put(random: &mut Random, conversation: &str, model: &mut Model) -> Put {
    let user = USERS[random.below(USERS.len() as u64) as usize];
    let version = random.below(30);
    // The same for the same version, of which engines keep one or the other.
    let value = format!("{:x}", Random(version).next());
    let present = model.get(user).map(|(version, _)| *version);
    if present.is_none_or(|present| present <= version) {
        model.insert(user, (version, value.clone()));
    }
    put(key(conversation, user), version, &value)
}

fn random_range(random: &mut Random, conversation: &str) -> Range {
    let mut bound = |count| {
        let user = USERS[random.below(USERS.len() as u64) as usize];
        (!random.is_one_in(count)).then(|| vec![KeyPart::from(user)])
    };
    let (from, until) = (bound(3), bound(3));
    let limit = if random.is_one_in(2) { limits::RANGE_ROWS } else { random.below(8) as usize };
    Range { from, until, reverse: random.is_one_in(2), limit, ..range(conversation) }
}

fn of_model(model: &Model, range: &Range) -> Vec<(String, u64, String)> {
    let text_of = |parts: &Option<Vec<KeyPart>>| match parts.as_deref() {
        Some([KeyPart::Text(text)]) => Some(text.to_string()),
        _ => None,
    };
    let (from, until) = (text_of(&range.from), text_of(&range.until));
    let is_within =
        |user: &str| from.as_deref().is_none_or(|from| user >= from) && until.as_deref().is_none_or(|u| user < u);
    let rows = model.iter().filter(|(user, _)| is_within(user));
    let rows = rows.map(|(user, (version, value))| ((*user).to_owned(), *version, value.clone()));
    let mut rows: Vec<_> = rows.collect();
    if range.reverse {
        rows.reverse();
    }
    rows.truncate(range.limit);
    rows
}

fn seen(row: &Row) -> (String, u64, String) {
    let (version, value) = text(row);
    (row.key.text(2).to_owned(), version, value.to_owned())
}

/// After each of many random batches, random ranges give what a sorted map with the version rule gives.
pub async fn ranges_agree_with_a_model(engine: &Engine) {
    for seed in 0..SEEDS {
        let conversation = format!("seed{seed}");
        let (mut random, mut model) = (Random(seed), Model::new());
        for step in 0..STEPS {
            let puts = (0..random.below(6)).map(|_| random_put(&mut random, &conversation, &mut model));
            let puts: Vec<Put> = puts.collect();
            write(engine, puts).await;
            let range = random_range(&mut random, &conversation);
            let rows = engine.rows.range(range.clone()).await.unwrap();
            let found: Vec<_> = rows.iter().map(seen).collect();
            assert_eq!(found, of_model(&model, &range), "seed {seed}, step {step}, {range:?}");
        }
    }
}

/// Rows that several parts order: ranges from and until any prefix of them, in both directions, give what a sorted map
/// gives; and each row is read by its key.
pub async fn ranges_of_several_parts_agree_with_a_model(engine: &Engine) {
    const TENANTS: [&str; 4] = ["a", "a-", "aa", "b"];
    let partition = vec![KeyPart::Number(7)];
    let (mut random, mut model) = (Random(5), BTreeMap::new());
    for _ in 0..60 {
        let due = random.below(4);
        let (tenant, what) = (TENANTS[random.below(4) as usize], format!("w{}", random.below(5)));
        let parts = [KeyPart::Number(7), due.into(), tenant.into(), what.as_str().into()];
        write(engine, vec![put(Key::new(&tables::FILE_DUES, parts), 1, &what)]).await;
        model.insert((due, tenant.to_owned(), what), ());
    }
    let keys: Vec<(u64, String, String)> = model.into_keys().collect();
    let mut prefix = |count: u64| {
        let all = [random.below(5).into(), TENANTS[random.below(4) as usize].into(), "w2".into()];
        (count > 0).then(|| all[..count as usize].to_vec())
    };
    // Below zero: the key is before the prefix; a key that begins with it is not.
    let compared = |(due, tenant, what): &(u64, String, String), prefix: &[KeyPart]| {
        let key = [(*due).into(), tenant.as_str().into(), what.as_str().into()];
        key[..prefix.len()].cmp(prefix)
    };
    for (from, until) in (0..4).flat_map(|from| (0..4).map(move |until| (from, until))) {
        for reverse in [false, true] {
            let (from, until) = (prefix(from), prefix(until));
            let mut wanted: Vec<_> = keys
                .iter()
                .filter(|key| from.as_deref().is_none_or(|from| compared(key, from).is_ge()))
                .filter(|key| until.as_deref().is_none_or(|until| compared(key, until).is_lt()))
                .collect();
            if reverse {
                wanted.reverse();
            }
            let range =
                Range { table: &tables::FILE_DUES, partition: partition.clone(), from, until, reverse, limit: 500 };
            let rows = engine.rows.range(range.clone()).await.unwrap();
            let of_key = |key: &Key| (key.number(1), key.text(2).to_owned(), key.text(3).to_owned());
            let found: Vec<_> = rows.iter().map(|row| of_key(&row.key)).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{range:?}");
            let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
            let read = engine.rows.get(&keys).await.unwrap();
            assert_eq!(
                read.iter().flatten().map(seen_value).collect::<Vec<_>>(),
                rows.iter().map(seen_value).collect::<Vec<_>>()
            );
        }
    }
}

fn seen_value(row: &Row) -> (Key, String) {
    (row.key.clone(), text(row).1.to_owned())
}

/// Pages in both directions, each beginning where the last ended, see every row once and in order.
pub async fn paging_sees_every_row_once(engine: &Engine) {
    const ROWS: usize = 1_234;
    let users: Vec<String> = (0..ROWS).map(|number| format!("user{number:05}")).collect();
    for users in users.chunks(100) {
        write(engine, users.iter().map(|user| put(member("large", user), 1, user))).await;
    }
    for page in [1, 7, 100, 617, 1_233, 1_234, 1_235, 5_000] {
        let (mut forth, mut from) = (Vec::new(), None);
        while forth.len() < ROWS {
            let range = Range { from: from.take(), limit: page + 1, ..range("large") };
            let mut rows = engine.rows.range(range).await.unwrap();
            // The row after the page is where the next page begins.
            from = (rows.len() > page).then(|| rows.pop()).flatten().map(|row| row.key.clustering().to_vec());
            forth.extend(rows.iter().map(|row| row.key.text(2).to_owned()));
            if from.is_none() {
                break;
            }
        }
        assert_eq!(forth, users, "pages of {page}");
        let (mut back, mut until) = (Vec::new(), None);
        loop {
            let range = Range { until: until.take(), limit: page, reverse: true, ..range("large") };
            let rows = engine.rows.range(range).await.unwrap();
            let Some(last) = rows.last() else { break };
            until = Some(last.key.clustering().to_vec());
            back.extend(rows.iter().map(|row| row.key.text(2).to_owned()));
        }
        back.reverse();
        assert_eq!(back, users, "pages of {page}, backwards");
    }
}

/// A range without bounds ends where its partition ends, in both directions.
pub async fn a_range_stays_in_its_partition(engine: &Engine) {
    let conversations = ["a", "a-", "a.", "aa", "b", "A"];
    for conversation in conversations {
        write(engine, ["x", "y"].map(|user| put(member(conversation, user), 1, conversation))).await;
    }
    for conversation in conversations {
        for reverse in [false, true] {
            let rows = engine.rows.range(Range { reverse, ..range(conversation) }).await.unwrap();
            let mut users: Vec<_> = rows.iter().map(|row| row.key.text(2)).collect();
            users.sort_unstable();
            assert_eq!(users, ["x", "y"], "{conversation}, reverse {reverse}");
            assert!(rows.iter().all(|row| row.key.text(1) == conversation));
        }
    }
    assert!(engine.rows.range(range("nobody")).await.unwrap().is_empty());
}

/// A range gives at most its limit, from its own end, and nothing when its bounds are the wrong way round.
pub async fn a_range_keeps_to_its_limit(engine: &Engine) {
    let of = log("acme", "general");
    write(engine, (1..=100).map(|seq| put(tables::event(&of, seq), seq, "event"))).await;
    let seqs = async |from: u64, until: u64, reverse: bool, limit: usize| {
        let range = tables::bucket_range(&tables::EVENTS, &of, from, until, reverse, limit);
        let rows = engine.rows.range(range).await.unwrap();
        rows.iter().map(|row| row.key.number(3)).collect::<Vec<_>>()
    };
    assert_eq!(seqs(10, 20, false, 3).await, [10, 11, 12]);
    assert_eq!(seqs(10, 20, true, 3).await, [19, 18, 17]);
    assert_eq!(seqs(98, 4_000, false, 10).await, [98, 99, 100]);
    assert!(seqs(20, 10, false, 3).await.is_empty());
    assert!(seqs(10, 10, true, 3).await.is_empty());
    assert!(seqs(10, 20, false, 0).await.is_empty());
}

/// Numbers in keys are ordered as numbers, up to the greatest.
pub async fn numbers_are_ordered_as_numbers(engine: &Engine) {
    let offsets = [0, 1, 9, 10, 255, 256, 65_535, 65_536, 1 << 40, i64::MAX as u64];
    let shuffled = [4, 9, 0, 7, 2, 5, 1, 8, 3, 6].map(|place: usize| offsets[place]);
    write(engine, shuffled.map(|offset| put(tables::stream(5, offset), 0, "record"))).await;
    for (place, from) in offsets.iter().enumerate() {
        let rows = engine.rows.range(tables::stream_range(5, *from, false, 100)).await.unwrap();
        let found: Vec<u64> = rows.iter().map(|row| row.key.number(1)).collect();
        assert_eq!(found, offsets[place..], "from {from}");
    }
}
