//! Any bytes as JSON lines, plain, gzip or Zstandard.
#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;
mod start;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::jsonl::run(data));
