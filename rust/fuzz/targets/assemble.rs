//! Any pieces, assembled.
#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;
mod start;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::assemble::run(data));
