//! A share of seeds for every target, and the plainest inputs.

use stonechat_fuzz_targets::{Mutator, TARGETS};

const INPUTS: u64 = 3_000;

#[test]
fn no_target_falls_over_mutated_input() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        for seed in &seeds {
            (target.run)(seed);
        }
        let mut mutator = Mutator::new(0);
        for nth in 0..INPUTS {
            let input = mutator.input(&seeds);
            let result = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(result.is_ok(), "{}: input {nth}: {input:02x?}", target.name);
        }
    }
}

#[test]
fn no_target_falls_over_plain_input() {
    let deep = [b"[".repeat(60_000), b"{\"a\":".repeat(10_000), b"\x0a".repeat(60_000), vec![0xff; 60_000]];
    for target in TARGETS {
        for input in deep.iter().map(Vec::as_slice).chain([&b""[..], b"\0", b"null", b"{}", b"[]", b"\"\""]) {
            (target.run)(input);
        }
    }
}

#[test]
fn every_target_has_its_libfuzzer_wrapper() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{}\"\n", target.name)), "{}", target.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
