#!/bin/sh
# Fuzzes every parser with libFuzzer: fuzz/run.sh SECONDS [TARGET ...]
#
# Needs the Rust toolchain of the workspace and a C++ compiler; no nightly, no cargo-fuzz: the flags are those
# that `cargo fuzz run --sanitizer none` sets (cargo-fuzz works on this folder too). Inputs worth keeping are
# gathered in fuzz/corpus/TARGET; one that fails is left in fuzz/artifacts/TARGET and replayed with
# `fuzz/run.sh 0 TARGET`.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
if ! command -v c++ >/dev/null 2>&1; then
    echo "fuzz: no C++ compiler (libFuzzer is C++); install g++ or clang++," \
        "or run: cargo run --release -p stonechat-fuzz-targets --bin fuzz-stable -- --seconds $seconds" >&2
    exit 1
fi
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With --target the flags do not reach build scripts and macros, which have no counters to report to.
cargo build --release --quiet --target "$triple" --bins
targets=${*:-$(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)}
seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
(cd .. && env -u RUSTFLAGS cargo run --quiet -p stonechat-fuzz-targets --bin fuzz-stable -- --write-seeds "$seeds")
for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target"
    program="target/$triple/release/$target"
    if [ "$seconds" -eq 0 ]; then
        find "artifacts/$target" -type f -exec "$program" {} +
        continue
    fi
    echo "fuzz: $target for $seconds s"
    "$program" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "$seeds/$target" 2>&1 |
        grep -E 'stat::|ERROR|SUMMARY|panicked|Test unit' || true
    if [ -n "$(find "artifacts/$target" -type f)" ]; then
        echo "fuzz: $target failed; see fuzz/artifacts/$target" >&2
        exit 1
    fi
done
