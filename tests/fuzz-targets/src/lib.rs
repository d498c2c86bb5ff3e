//! What every parser of input from outside must withstand, as plain functions.
//!
//! They are called by libFuzzer (`fuzz/`, nightly), by `fuzz-stable` (any toolchain, mutations without
//! coverage) and, over a share of seeds, by `cargo test`. A target panics when it finds a fault.

mod commands;
mod configuration;
mod few_rows;
mod frames;
mod imports;
mod media;
mod mutate;
mod scans;
mod sealed;
mod seeds;
mod tokens;
mod uploads;
mod webhooks;

pub use mutate::Mutator;

/// One parser.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, the same as the libFuzzer target's.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// Good input to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    Target { name: "frame_protobuf", run: frames::protobuf, seeds: seeds::protobuf },
    Target { name: "frame_json", run: frames::json, seeds: seeds::json },
    Target { name: "command", run: commands::command, seeds: seeds::protobuf },
    Target { name: "token", run: tokens::user_token, seeds: tokens::seeds },
    Target { name: "configuration", run: configuration::file, seeds: seeds::configuration },
    Target { name: "environment", run: configuration::environment, seeds: seeds::environment },
    Target { name: "media", run: media::file, seeds: media::seeds },
    Target { name: "upload_headers", run: uploads::headers, seeds: uploads::seeds },
    Target { name: "webhook", run: webhooks::texts, seeds: webhooks::seeds },
    Target { name: "sealed_blob", run: sealed::blob, seeds: sealed::seeds },
    Target { name: "scan_answer", run: scans::answer, seeds: scans::seeds },
    Target { name: "import_line", run: imports::line, seeds: imports::seeds },
];

/// Runs the target of a name; panics when there is none.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(data);
}
