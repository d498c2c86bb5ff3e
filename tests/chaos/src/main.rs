//! Drives a crash storm.

fn main() {}
