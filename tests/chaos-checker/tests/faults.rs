//! Each fault in a history is found, and a clean history has none.

mod story;

use stonechat_chaos_checker::{Device, Entry, History, NO_CONTENT, check};
use story::{Mutation, Story};

const SEEDS: u64 = 150;

fn observed(history: &mut History, device: usize, nth: usize) -> usize {
    let entries = &history.devices[device].entries;
    let mut places = (0..entries.len()).filter(|at| matches!(entries[*at], Entry::Observed(_)));
    places.nth(nth).expect("the device showed that many events")
}

#[test]
fn a_clean_history_with_repeats_and_lost_connections_has_no_fault() {
    for seed in 0..SEEDS {
        let history = Story::new(seed).clean();
        let report = check(&history);
        assert!(report.is_clean(), "seed {seed}: {:?}", report.findings);
        assert!(report.acked > 0 && report.unanswered == 0, "seed {seed}");
    }
}

#[test]
fn every_kind_of_damage_is_found_whatever_the_history() {
    for seed in 0..SEEDS {
        for mutation in Mutation::ALL {
            let mut story = Story::new(seed);
            let mut history = story.clean();
            let expected = story.damage(&mut history, *mutation);
            let report = check(&history);
            for fault in expected {
                assert!(
                    report.count(*fault) > 0,
                    "seed {seed}, {mutation:?}: no {fault:?} in {}; {:?}",
                    report.closing_line(0),
                    report.findings
                );
            }
        }
    }
}

#[test]
fn several_kinds_of_damage_at_once_never_make_a_history_look_clean() {
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        let mut history = story.clean();
        for _ in 0..1 + seed % 5 {
            let mutation = story.pick_mutation();
            story.damage(&mut history, mutation);
        }
        assert!(!check(&history).is_clean(), "seed {seed}");
    }
}

#[test]
fn an_answered_send_that_no_device_has_is_lost_once() {
    let mut history = Story::new(1).clean();
    let Some(Entry::Attempted { conversation, .. }) =
        history.devices[0].entries.iter().find(|e| matches!(e, Entry::Attempted { .. })).copied()
    else {
        panic!("device 0 sent nothing");
    };
    history.devices[0].entries.push(Entry::Attempted { client: 77, conversation, content: 5 });
    history.devices[0].entries.push(Entry::Acked { client: 77, seq: 1 << 40 });
    let report = check(&history);
    assert_eq!((report.lost, report.doubled, report.gaps, report.diverged), (1, 0, 0, 0));
}

#[test]
fn a_device_that_shows_nothing_at_all_loses_and_diverges() {
    let mut history = Story::new(2).clean();
    history.devices[1].entries.retain(|entry| !matches!(entry, Entry::Observed(_) | Entry::Ended { .. }));
    let report = check(&history);
    assert!(report.lost > 0 && report.diverged > 0, "{}", report.closing_line(0));
}

#[test]
fn an_unanswered_send_is_counted_and_is_no_fault() {
    let mut history = Story::new(3).clean();
    history.devices[0].entries.push(Entry::Attempted { client: 78, conversation: 0, content: 5 });
    let report = check(&history);
    assert!(report.is_clean());
    assert_eq!(report.unanswered, 1);
}

#[test]
fn a_refused_send_that_appears_all_the_same_is_a_divergence() {
    let mut history = Story::new(4).clean();
    let at = observed(&mut history, 0, 2);
    let Entry::Observed(event) = history.devices[0].entries[at] else { unreachable!() };
    for device in &mut history.devices {
        for entry in &mut device.entries {
            if matches!(*entry, Entry::Acked { client, .. } if client == event.client) {
                *entry = Entry::Refused { client: event.client };
            }
        }
    }
    assert_eq!(check(&history).diverged, 1);
}

#[test]
fn the_closing_line_has_the_form_that_scripts_read() {
    let report = check(&Story::new(5).clean());
    let line = report.closing_line(31);
    let rest = line.strip_prefix(&format!("acked={} ", report.acked)).expect("begins with acked");
    assert_eq!(rest, "kills=31 lost=0 doubled=0 reordered=0 gaps=0 diverged=0");
}

#[test]
fn the_checker_depends_on_nothing() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("manifest");
    assert!(manifest["dependencies"].as_table().expect("a table").is_empty());
}

#[test]
fn a_file_without_its_bytes_is_found() {
    let with = |uploaded: Option<u64>, fetched: Option<u64>| {
        let file = 7;
        let uploaded = uploaded.map(|content| Entry::Uploaded { file, content });
        let shown = Entry::Attached { conversation: 0, seq: 1, file };
        let fetched = fetched.map(|content| Entry::Fetched { file, content });
        let entries = |own: Option<Entry>| own.into_iter().chain([shown]).chain(fetched).collect();
        let device = |name: &str, own| Device { name: name.to_owned(), user: 0, entries: entries(own) };
        check(&History { devices: vec![device("sender", uploaded), device("other", None)], ..History::default() })
    };
    let good = with(Some(5), Some(5));
    assert!(good.is_clean() && (good.files, good.attached) == (1, 2), "{:?}", good.findings);
    for (uploaded, fetched) in [(Some(5), Some(6)), (Some(5), None), (Some(5), Some(NO_CONTENT)), (None, Some(5))] {
        let report = with(uploaded, fetched);
        assert!(!report.is_clean() && report.missing == 2, "{uploaded:?} {fetched:?}");
    }
}
