//! See the target of the same name in `stonechat-fuzz-targets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stonechat_fuzz_targets::run("import_line", data));
